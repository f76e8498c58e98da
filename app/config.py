"""Settings: read once from `FITROOM_*` variables, frozen, and refused in words where they make no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: where templates/, static/ and migrations/ are."""


class SettingsError(Exception):
    """A `FITROOM_*` variable has a value that cannot be used; the message names it."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="FITROOM_", frozen=True, extra="ignore")

    home: Annotated[Path, Field(description="All data: database, data sets, checkpoints.")] = Path("var")
    host: Annotated[str, Field(description="Address that the server listens on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="Port of the server; 0 takes a free one.")] = 8000
    workers: Annotated[int, Field(ge=0, le=64, description="Worker processes that `fitroom serve` keeps running.")] = 1
    lease_s: Annotated[
        float, Field(ge=1, le=3600, description="Seconds without a heartbeat after which a run counts as abandoned.")
    ] = 15.0
    max_attempts: Annotated[
        int, Field(ge=1, le=100, description="How often a run may lose its worker before it counts as failed.")
    ] = 3
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$", description="How much the log tells.")] = (
        "info"
    )

    @property
    def database(self) -> Path:
        return self.home / "fitroom.db"

    @property
    def data_dir(self) -> Path:
        """Where data sets are, in torchvision's layout."""
        return self.home / "data"

    @property
    def cache_dir(self) -> Path:
        """What can be made again at any time."""
        return self.home / "cache"

    def run_dir(self, run_id: int) -> Path:
        """A run's own folder: its checkpoints."""
        return self.home / "runs" / str(run_id)

    def weights(self, run_id: int) -> Path:
        """The best epoch's weights, which trainer.checkpoint writes."""
        return self.run_dir(run_id) / "best.safetensors"


def load_settings() -> Settings:
    """Settings from the environment. Raises `SettingsError` naming each wrong variable."""
    try:
        settings = Settings()
    except ValidationError as error:
        lines = [f"FITROOM_{str(item['loc'][0]).upper()}: {item['msg']}" for item in error.errors()]
        raise SettingsError("\n".join(lines)) from error
    return settings.model_copy(update={"home": settings.home.absolute()})
