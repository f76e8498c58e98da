"""Who counts as silent: told by what is seen, and by no clock on the wall."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from app import runs
from app.keeping.leases import Leases
from tests.app import factories

if TYPE_CHECKING:
    from app.db import Database
    from app.runs import Claim
    from tests.conftest import FakeClock

LEASE_S = 15.0


class Watcher:
    """Looks at the leases with a monotonic clock that the test moves."""

    def __init__(self, db: Database) -> None:
        self.db, self.seconds = db, 100.0
        self.leases = Leases(LEASE_S, monotonic=lambda: self.seconds)

    def look(self, after: float) -> list[int]:
        self.seconds += after
        with self.db.read() as session:
            return [beat.run_id for beat in self.leases.silent(session)]

    def watch(self, seconds: float) -> list[int]:
        """As an idle worker does, every two seconds."""
        for _ in range(int(seconds // 2)):
            found = self.look(2)
        return found


@pytest.fixture
def watcher(db: Database) -> Watcher:
    return Watcher(db)


@pytest.fixture
def held(db: Database, clock: FakeClock) -> Claim:
    return factories.claimed(db, clock)


def beat(db: Database, held: Claim, clock: FakeClock) -> None:
    with db.write() as session:
        runs.heartbeat(session, held, now=clock())


def test_an_owner_that_is_not_heard_of_for_a_lease_is_silent(watcher: Watcher, held: Claim):
    assert watcher.watch(16) == []
    assert watcher.watch(2) == [held.run_id]


def test_every_heartbeat_begins_the_lease_anew(watcher: Watcher, held: Claim, db: Database, clock: FakeClock):
    for _ in range(5):
        assert watcher.watch(14) == []
        clock.forward(14)
        beat(db, held, clock)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_by_an_hour_takes_no_run_from_a_living_owner(
    watcher: Watcher, held: Claim, db: Database, clock: FakeClock, hours: int
):
    assert watcher.watch(10) == []
    clock.now += timedelta(hours=hours)
    assert watcher.watch(4) == []
    beat(db, held, clock)
    assert watcher.watch(14) == []


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_by_an_hour_keeps_no_dead_owner(
    watcher: Watcher, held: Claim, db: Database, clock: FakeClock, hours: int
):
    clock.now += timedelta(hours=hours)
    beat(db, held, clock)
    clock.now -= timedelta(hours=hours)
    assert watcher.watch(18) == [held.run_id]


def test_a_machine_that_slept_takes_no_run_from_an_owner_that_slept_too(
    watcher: Watcher, held: Claim, db: Database, clock: FakeClock
):
    assert watcher.watch(4) == []
    assert watcher.look(8 * 3600) == [], "nobody looked in these hours"
    clock.forward(8 * 3600)
    beat(db, held, clock)
    assert watcher.watch(14) == []


def test_a_new_owner_of_the_same_run_has_a_lease_of_its_own(
    watcher: Watcher, held: Claim, db: Database, clock: FakeClock
):
    assert watcher.watch(14) == []
    with db.write() as session:
        runs.requeue_lost(session, now=clock(), max_attempts=3, worker="w1")
        runs.claim(session, "w2", now=clock())
    assert watcher.watch(14) == []
