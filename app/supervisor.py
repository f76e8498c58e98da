"""Keeps the workers of `fitroom serve` running: starts them, restarts the dead, frees what they held, stops them.

Workers are fresh interpreters (no fork of the server, which has threads), in sessions of their own, so that Ctrl-C
in the terminal reaches the server alone and it decides the order in which things end. A server that is killed leaves
its workers training; the next one on the same home takes them over instead of starting others beside them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy.exc import OperationalError

from app import runs, workers
from app.clock import Clock, utc_now
from app.config import Settings
from app.db import Database

logger = logging.getLogger("fitroom.supervisor")

LOOK_S = 0.2
STOP_GRACE_S = 3.0
LONGEST_BACKOFF_S = 30.0
STEADY_AFTER_S = 30.0
"""A worker that lived this long has started well: the next restart comes at once again."""


@dataclass(slots=True)
class _Seat:
    """One worker's place: its process now, and when the next may be started."""

    process: psutil.Process | psutil.Popen | None = None
    started: float = 0.0
    start_at: float = 0.0
    quick_deaths: int = 0

    def leave(self, now: float, *, steady: bool) -> None:
        """Its process is gone. One that never got ready will not the next time either: it is given ever longer."""
        self.quick_deaths = 0 if steady else self.quick_deaths + 1
        self.start_at = now + min(LONGEST_BACKOFF_S, 2.0 ** (self.quick_deaths - 1) - 1 if self.quick_deaths else 0.0)
        self.process = None


class Supervisor:
    def __init__(self, db: Database, settings: Settings, *, parent: int, clock: Clock = utc_now) -> None:
        self._db, self._settings, self._parent, self._clock = db, settings, parent, clock
        self._seats = [_Seat() for _ in range(settings.workers)]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        orphans = workers_of(self._settings.home)
        # There may be more of them than seats, when the setting has changed: they go when no run waits.
        for seat, orphan in zip(self._seats, orphans, strict=False):
            logger.info("worker %s of a server that is gone is taken over", orphan.pid)
            seat.process, seat.started = orphan, time.monotonic()
        self._thread.start()

    def tell_to_stop(self) -> list[psutil.Process]:
        """Ask all workers to end and start no others; returns those that live. May be called by a signal handler."""
        self._stopping.set()
        living = [seat.process for seat in self._seats if seat.process and not _ended(seat.process)]
        for process in living:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        return living

    def stop(self) -> None:
        """End all workers: politely first (they give their run back), by force after the grace."""
        self._stopping.set()
        self._thread.join()
        living = self.tell_to_stop()
        deadline = time.monotonic() + STOP_GRACE_S
        ended_by_force = [process for process in living if not _stopped_by(process, deadline)]
        for process in ended_by_force:
            name = workers.name_of(process.pid)
            try:
                # It is this that ended it: no fault of its run's.
                self._free(name, blame=False)
            except OperationalError:
                logger.warning("could not free what %s held; the next start does", name, exc_info=True)

    def _watch(self) -> None:
        freed = False
        while True:
            try:
                if not freed:
                    self._free_what_the_dead_hold()
                    freed = True
                for seat in self._seats:
                    # One that ends because it was told to is not to be replaced.
                    if not self._stopping.is_set():
                        self._tend(seat)
            except OperationalError:
                # A locked database must not end the watch; the dead worker's seat is looked at again.
                logger.warning("could not free a dead worker's run, trying again", exc_info=True)
            if self._stopping.wait(LOOK_S):
                return

    def _tend(self, seat: _Seat) -> None:
        now = time.monotonic()
        if seat.process is not None:
            if not _ended(seat.process):
                return
            self._note_death(seat, seat.process.pid, now)
        if now >= seat.start_at:
            self._start(seat, now)

    def _note_death(self, seat: _Seat, pid: int, now: float) -> None:
        logger.warning("worker %s ended; starting another", pid)
        announced = self._free(workers.name_of(pid))
        steady = announced or now - seat.started > STEADY_AFTER_S
        seat.leave(now, steady=steady)

    def _free(self, name: str, *, blame: bool = True) -> bool:
        """Put back in the queue what a dead worker held, without waiting for its lease to run out.

        Returns whether it had ever been ready.
        """
        with self._db.write() as session:
            runs.requeue_lost(
                session, now=self._clock(), max_attempts=self._settings.max_attempts, worker=name, blame=blame
            )
            return workers.leave(session, name)

    def _free_what_the_dead_hold(self) -> None:
        """After a crash of the whole machine nobody has seen the workers die."""
        with self._db.read() as session:
            owners = runs.owners(session)
        for name in owners:
            pid = workers.pid_of(name)
            if pid is not None and not psutil.pid_exists(pid):
                self._free(name)

    def _start(self, seat: _Seat, now: float) -> None:
        command = [sys.executable, "-m", "app", "worker", "--parent", str(self._parent)]
        try:
            seat.process = psutil.Popen(
                command, stdin=subprocess.DEVNULL, start_new_session=True, env=environment(self._settings)
            )
        except OSError as error:
            # No memory or no more processes, now; the watch must outlive that.
            logger.warning("no worker could be started: %s", error)
            seat.leave(now, steady=False)
        seat.started = now


def workers_of(home: Path) -> list[psutil.Process]:
    """The living workers of this home that a server has started, this one or one that is gone."""
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if "worker" in command and "--parent" in command and process.environ().get("FITROOM_HOME") == str(home):
                found.append(process)
        except psutil.Error:
            continue  # it has ended meanwhile, or is another user's
    return found


def _ended(process: psutil.Process) -> bool:
    try:
        process.wait(0)
    except psutil.TimeoutExpired:
        # It may end between the two questions.
        with contextlib.suppress(psutil.NoSuchProcess):
            return process.status() == psutil.STATUS_ZOMBIE
    return True


def _stopped_by(process: psutil.Process, deadline: float) -> bool:
    """Wait for a process that was told to stop; False where it did not until `deadline` and was ended by force."""
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except psutil.TimeoutExpired:
        logger.warning("worker %s did not stop in time; ending it by force", process.pid)
        process.kill()
        process.wait()
        return False
    return True


def environment(settings: Settings) -> dict[str, str]:
    """This process's environment with the settings said explicitly, for a child that must have the same.

    But for the token: a worker serves nobody, and what is not there cannot be told.
    """
    told = settings.model_dump() | {"token": "none"}
    named = {f"FITROOM_{name.upper()}": str(value) for name, value in told.items()}
    return {**os.environ, **named}
