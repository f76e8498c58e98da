"""Which running runs have gone silent: told without any clock on the wall.

A heartbeat counts as new when it differs from the last one seen, whatever time it says, and silence is counted by
this process's own monotonic clock. So a clock that is set forward or back by an hour neither steals a run nor keeps a
dead one. Time in which nobody looked, because the whole machine slept, say, counts for little.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy.orm import Session

from app import runs
from app.runs import Beat


class Leases:
    """What one process has seen of all heartbeats."""

    def __init__(self, lease_s: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._lease_s, self._monotonic = lease_s, monotonic
        self._looked_at = monotonic()
        self._silent_s: dict[Beat, float] = {}

    def silent(self, session: Session) -> list[Beat]:
        """The heartbeats that have been the newest of their runs for a lease. Call it several times a lease."""
        now = self._monotonic()
        # One long gap between two looks must not be enough: the owner may have slept through it as this process did.
        passed, self._looked_at = min(now - self._looked_at, self._lease_s / 2), now
        before = self._silent_s
        self._silent_s = {beat: before[beat] + passed if beat in before else 0.0 for beat in runs.beats(session)}
        return [beat for beat, seconds in self._silent_s.items() if seconds >= self._lease_s]
