"""Settings: read once from `FITROOM_*` variables, frozen, and refused in words where they make no sense."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: where templates/, static/ and migrations/ are."""


LEAST_TOKEN = 16


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
    queue_limit: Annotated[
        int,
        Field(ge=1, le=1_000_000, description="Runs that may wait at once; more are refused until some end."),
    ] = 10_000
    token: Annotated[
        str,
        Field(
            repr=False, description="What one signs in with: none, auto (made and printed at the start), or a secret."
        ),
    ] = "none"  # noqa: S105 - a word, no secret
    allowed_hosts: Annotated[
        str, Field(description="Further names that the server answers to, separated by commas; * for any.")
    ] = "none"
    upload_limit: Annotated[
        int, Field(ge=1, lt=2**53, description="Bytes that one upload of a data set may have, all its files together.")
    ] = 2_000_000_000
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$", description="How much the log tells.")] = (
        "info"
    )
    log_format: Annotated[
        str, Field(pattern="^(console|json)$", description="Lines for a terminal, or one JSON object a line.")
    ] = "console"

    @field_validator("token")
    @classmethod
    def _long_enough(cls, token: str) -> str:
        if token not in ("none", "auto") and len(token) < LEAST_TOKEN:
            raise ValueError(f"must be none, auto, or a secret of at least {LEAST_TOKEN} characters")
        return token

    @property
    def secret(self) -> str | None:
        """The token, None where there is none. Raises ValueError for one that is still to be made (`with_token`)."""
        if self.token == "auto":  # noqa: S105 - a word, no secret
            raise ValueError("the token has not been made yet")
        return None if self.token == "none" else self.token  # noqa: S105

    @property
    def further_hosts(self) -> list[str]:
        return [] if self.allowed_hosts == "none" else [part.strip().lower() for part in self.allowed_hosts.split(",")]

    @property
    def database(self) -> Path:
        return self.home / "fitroom.db"

    @property
    def serve_lock(self) -> Path:
        """Held by the one server of this home, with its process number in it."""
        return self.home / "serve.lock"

    @property
    def workers_lock(self) -> Path:
        """Held by every worker of this home, together."""
        return self.home / "workers.lock"

    @property
    def data_dir(self) -> Path:
        """Where data sets are, in torchvision's layout."""
        return self.home / "data"

    @property
    def uploads_dir(self) -> Path:
        """Files that are to become data sets: beside these, so that a finished one only has to be moved."""
        return self.data_dir / "uploads"

    @property
    def cache_dir(self) -> Path:
        """What can be made again at any time."""
        return self.home / "cache"

    @property
    def imports_dir(self) -> Path:
        """Files with past runs of other tools, while they are looked at."""
        return self.home / "imports"

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


def with_token(settings: Settings) -> Settings:
    """The settings with a random token of 256 bits where they ask for one."""
    if settings.token != "auto":  # noqa: S105
        return settings
    return settings.model_copy(update={"token": secrets.token_urlsafe(32)})
