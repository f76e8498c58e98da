"""Can the server do its work now? Each check says what it found; all must hold."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.clock import Clock
from app.config import Settings
from app.db import Database
from app.models import WorkerRow
from app.schema import schema_state

LEAST_FREE = 256 << 20
"""Bytes: a checkpoint of a large network and the database's journal."""
LEAST_PATIENCE_S = 30.0
"""An idle worker says every ten seconds that it is there."""


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    ok: bool
    detail: str
    """For whoever asks: it names no path, no host and no person."""


class Readiness:
    def __init__(self, settings: Settings, db: Database, clock: Clock) -> None:
        self._settings, self._db, self._clock = settings, db, clock
        self._head = schema_state(settings.database).head

    def checks(self) -> list[Check]:
        steps: tuple[tuple[str, Callable[[], tuple[bool, str]]], ...] = (
            ("database", lambda: self._asked(self._answers)),
            ("migration", lambda: self._asked(self._migration)),
            ("disk", self._disk),
            ("workers", lambda: self._asked(self._workers)),
        )
        return [Check(name, *step()) for name, step in steps]

    def _asked(self, ask: Callable[[Session], tuple[bool, str]]) -> tuple[bool, str]:
        try:
            with self._db.read() as session:
                return ask(session)
        except SQLAlchemyError as error:
            return False, f"the database does not answer ({type(error).__name__})"

    def _answers(self, session: Session) -> tuple[bool, str]:
        # A row itself, not the index beside it, which may be whole where the table is not.
        newest = session.execute(text("SELECT name FROM runs ORDER BY id DESC LIMIT 1")).first()
        return True, "answers" if newest else "answers, no runs yet"

    def _migration(self, session: Session) -> tuple[bool, str]:
        found: str | None = session.scalar(text("SELECT version_num FROM alembic_version"))
        wanted = "" if found == self._head else f", this Fitroom wants {self._head}"
        return found == self._head, f"at {found}{wanted}"

    def _disk(self) -> tuple[bool, str]:
        try:
            free = shutil.disk_usage(self._settings.home).free
        except OSError as error:
            return False, f"cannot be looked at ({error.strerror})"
        return free >= LEAST_FREE, f"{free / 1e9:.1f} GB free"

    def _workers(self, session: Session) -> tuple[bool, str]:
        heard = session.scalar(select(func.max(WorkerRow.seen_at)))
        wanted = self._settings.workers > 0
        if heard is None:
            return not wanted, "none is registered" + ("" if wanted else ", and none is wanted here")
        age = max(0.0, (self._clock() - heard).total_seconds())
        patience = max(LEAST_PATIENCE_S, self._settings.lease_s)
        return age <= patience or not wanted, f"last heard of {age:.0f} s ago"
