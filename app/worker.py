"""The background worker: claim a run, train it, write down what it tells.

`Worker.step()` does one run from claim to end and is all there is to test; `Worker.work()` repeats it until it is
told to stop. While a run trains, a `Keeper` thread keeps the claim alive and listens for a cancel, so the training
loop itself never waits for the database. What cannot be written now, because the database is locked or the disk full,
is kept and written later.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app import recording, runs, workers
from app.clock import Clock, utc_now
from app.config import Settings
from app.db import ChangeDetector, Database
from app.keeping.leases import Leases
from app.runs import Claim, ClaimLost
from app.watching import logs
from trainer.config import TrainConfig
from trainer.errors import TrainerError
from trainer.events import Event, Finished

logger = logging.getLogger("fitroom.worker")

LOOK_FOR_CANCEL_S = 0.5
LOOK_FOR_RUN_S = 0.1
LOOK_ANYWAY_S = 2.0
RETRY_WRITE_S = 0.5
WRITE_WHILE_STOPPING_S = 10.0
"""How long a worker that is told to stop tries to write what it still holds."""
SAY_ALIVE_S = 10.0


class Train(Protocol):
    """The shape of `trainer.loop.train`."""

    def __call__(
        self, config: TrainConfig, *, data_dir: Path, run_dir: Path | None, should_stop: Callable[[], bool]
    ) -> Iterator[Event]: ...


class Keeper(threading.Thread):
    """Keeps one claim alive and tells when its run should stop: cancelled by a person, or lost to another worker."""

    def __init__(self, db: Database, held: Claim, *, worker: str, lease_s: float, clock: Clock) -> None:
        super().__init__(name=f"keeper-{held.run_id}", daemon=True)
        self.cancel = threading.Event()
        self.lost = threading.Event()
        self._done = threading.Event()
        self._db, self._held, self._worker, self._clock, self._lease_s = db, held, worker, clock, lease_s
        self._beat_every = max(1, round(lease_s / 5 / LOOK_FOR_CANCEL_S))
        self._looked_at = time.monotonic()

    def run(self) -> None:
        with logs.bound(run=self._held.run_id, attempt=self._held.attempt):
            self._keep()

    def _keep(self) -> None:
        looks = 0
        while not self._done.wait(LOOK_FOR_CANCEL_S) and not self.lost.is_set():
            looks += 1
            try:
                self._look(beat=looks % self._beat_every == 0)
            except ClaimLost:
                self.lost.set()
            except OperationalError:
                # A locked or full database is no reason to stop training; the lease outlasts several misses.
                logger.warning("could not look at the claim", exc_info=True)

    def _look(self, *, beat: bool) -> None:
        if beat:
            now = self._clock()
            with self._db.write(durable=False) as session:
                wanted = runs.heartbeat(session, self._held, now=now)
                workers.seen(session, self._worker, now=now)
        else:
            with self._db.read() as session:
                wanted = runs.cancel_wanted(session, self._held)
        self._looked_at = time.monotonic()
        if wanted:
            self.cancel.set()

    def should_stop(self) -> bool:
        """Whether a person has cancelled the run. Raises `ClaimLost` as soon as another worker may have it.

        When this process has been frozen, the thread may not have looked yet: then this looks itself.
        """
        if time.monotonic() - self._looked_at > self._lease_s / 2:
            try:
                self._look(beat=False)
            except OperationalError:
                # Who cannot read cannot know; nobody can take the run either from a database that does not answer.
                logger.warning("could not look at the claim", exc_info=True)
        if self.lost.is_set():
            raise ClaimLost(f"run {self._held.run_id}, attempt {self._held.attempt}")
        return self.cancel.is_set()

    def __enter__(self) -> Keeper:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()


class Worker:
    def __init__(self, db: Database, settings: Settings, *, name: str, train: Train, clock: Clock = utc_now) -> None:
        self.stop = threading.Event()
        self.name = name
        self._db, self._settings, self._train, self._clock = db, settings, train, clock
        self._leases = Leases(settings.lease_s)
        self._look_anyway_s = min(LOOK_ANYWAY_S, settings.lease_s / 4)
        self._said_alive = time.monotonic()

    def work(self, *, orphaned: Callable[[], bool] = lambda: False) -> None:
        """Do runs as they come until `stop` is set, or until none waits and `orphaned()` says nobody minds."""
        with closing(ChangeDetector(self._db.path)) as changes:
            while not self.stop.is_set():
                try:
                    if self.step():
                        continue
                    self._say_alive()
                except OperationalError:
                    logger.warning("the database cannot be used now, trying again", exc_info=True)
                if orphaned():
                    return
                self._wait_for_change(changes)

    def step(self) -> bool:
        """Do the oldest queued run from claim to end; False when none waits, and then nothing was written."""
        now = self._clock()
        with self._db.read() as session:
            silent = self._leases.silent(session)
            if not silent and not runs.any_queued(session):
                return False
        with self._db.write() as session:
            runs.requeue_lost(session, now=now, max_attempts=self._settings.max_attempts, silent=silent)
            held = runs.claim(session, self.name, now=now)
        if held is None:
            return False
        with logs.bound(run=held.run_id, attempt=held.attempt):
            logger.info("taken")
            try:
                self._do(held)
            except ClaimLost:
                logger.warning("lost the claim; wrote nothing more")
        return True

    def _do(self, held: Claim) -> None:
        run_dir = self._settings.run_dir(held.run_id)
        if held.attempt == 1:
            # A folder of that number can only be a leftover of another database: never resume from it.
            shutil.rmtree(run_dir, ignore_errors=True)
        keeper = Keeper(self._db, held, worker=self.name, lease_s=self._settings.lease_s, clock=self._clock)
        with keeper:
            try:
                finished = self._follow(held, run_dir, keeper)
            except (ClaimLost, OperationalError):
                # Not the run's fault: who lost it writes nothing, and what cannot be written is found by its lease.
                raise
            except TrainerError as error:
                self._fail(held, error.reason, str(error))
            except Exception as error:
                logger.exception("failed by an error nobody foresaw")
                self._fail(held, "error", f"{type(error).__name__}: {error}", details=traceback.format_exc())
            else:
                self._end(held, finished, keeper)

    def _follow(self, held: Claim, run_dir: Path, keeper: Keeper) -> Finished:
        """Train, and write each event as it comes; the last one says how it went."""
        events = self._train(
            held.config,
            data_dir=self._settings.data_dir,
            run_dir=run_dir,
            should_stop=lambda: keeper.should_stop() or self.stop.is_set(),
        )
        for event in events:
            self._record(held, event)
            if isinstance(event, Finished):
                return event
        raise RuntimeError("training ended without saying how")

    def _record(self, held: Claim, event: Event) -> None:
        self._insist(lambda: recording.tell(self._db, held, event, now=self._clock()))

    def _write(self, act: Callable[[Session], None]) -> None:
        def once() -> None:
            with self._db.write() as session:
                act(session)

        self._insist(once)

    def _insist(self, write: Callable[[], None]) -> None:
        """Do `write`, one transaction, however long the database is locked or full.

        Raises `OperationalError` only when the worker has been told to stop and still cannot write.
        """
        stopping_since: float | None = None
        while True:
            try:
                return write()
            except OperationalError:
                if self.stop.is_set():
                    stopping_since = stopping_since or time.monotonic()
                    if time.monotonic() - stopping_since > WRITE_WHILE_STOPPING_S:
                        raise
                logger.warning("could not write, trying again", exc_info=True)
                time.sleep(RETRY_WRITE_S)

    def _end(self, held: Claim, finished: Finished, keeper: Keeper) -> None:
        def end(session: Session) -> None:
            now = self._clock()
            if finished.reason in ("completed", "early"):
                runs.finish(session, held, now=now, early=finished.reason == "early")
            elif keeper.cancel.is_set():
                runs.cancelled(session, held, now=now)
            else:
                runs.requeue(session, held, now=now)

        self._write(end)
        logger.info("ended: %s", finished.reason)

    def _fail(self, held: Claim, reason: str, message: str, *, details: str | None = None) -> None:
        logger.warning("failed, %s: %s", reason, message)

        def fail(session: Session) -> None:
            now = self._clock()
            if details:
                runs.log(session, held.run_id, details, now=now, level="error")
            runs.fail(session, held, reason=reason, message=message, now=now)

        self._write(fail)

    def _say_alive(self) -> None:
        """Now and then only: a write of its own wakes the worker, and every stream."""
        if time.monotonic() - self._said_alive >= SAY_ALIVE_S:
            self._said_alive = time.monotonic()
            with self._db.write(durable=False) as session:
                workers.seen(session, self.name, now=self._clock())

    def _wait_for_change(self, changes: ChangeDetector) -> None:
        waited = 0.0
        while waited < self._look_anyway_s and not self.stop.wait(LOOK_FOR_RUN_S) and not changes.changed():
            waited += LOOK_FOR_RUN_S
