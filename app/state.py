"""What the routes share: settings, database, clock, and the wake-up of the streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from app.clock import Clock
from app.config import Settings
from app.data_sets.fetching import Fetching
from app.data_sets.intake import Intake
from app.data_sets.uploads import Uploads
from app.db import Database
from app.guarding.access import Gate
from app.live import Live
from app.sidecar import Sidecar
from app.watching.machine import Machine
from app.watching.readiness import Readiness
from app.watching.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class State:
    settings: Settings
    db: Database
    live: Live
    gate: Gate
    clock: Clock
    telemetry: Telemetry
    machine: Machine
    readiness: Readiness
    torch: Sidecar
    """`trainer.helper`: what only torch can answer."""
    exporter: Sidecar
    """Another of it, for what takes long: nobody else waits behind it."""
    uploads: Uploads
    imports: Uploads
    """Files with past runs of other tools, until they are imported."""
    intake: Intake
    """Reads what has been uploaded."""
    fetching: Fetching
    """Downloads well-known sets."""


def _state(request: Request) -> State:
    return cast("State", request.app.state.fitroom)


Shared = Annotated[State, Depends(_state)]
