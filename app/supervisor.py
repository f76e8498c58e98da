"""Keeps the workers of `fitroom serve` running: starts them, restarts the dead, frees what they held, stops them.

Workers are fresh interpreters (no fork of the server, which has threads), in sessions of their own, so that Ctrl-C
in the terminal reaches the server alone and it decides the order in which things end.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

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

    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    start_at: float = 0.0
    quick_deaths: int = 0


class Supervisor:
    def __init__(self, db: Database, settings: Settings, *, parent: int, clock: Clock = utc_now) -> None:
        self._db, self._settings, self._parent, self._clock = db, settings, parent, clock
        self._seats = [_Seat() for _ in range(settings.workers)]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End all workers: politely first (they give their run back), by force after the grace."""
        self._stopping.set()
        self._thread.join()
        living = [seat.process for seat in self._seats if seat.process and seat.process.poll() is None]
        for process in living:
            process.terminate()
        deadline = time.monotonic() + STOP_GRACE_S
        for process in living:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                logger.warning("worker %s did not stop in time; ending it by force", process.pid)
                process.kill()
                process.wait()
                self._free(process.pid)

    def _watch(self) -> None:
        while True:
            for seat in self._seats:
                try:
                    self._tend(seat)
                except OperationalError:
                    # A locked database must not end the watch; the dead worker's seat is looked at again.
                    logger.warning("could not free a dead worker's run, trying again", exc_info=True)
            if self._stopping.wait(LOOK_S):
                return

    def _tend(self, seat: _Seat) -> None:
        now = time.monotonic()
        if seat.process is not None:
            code = seat.process.poll()
            if code is None:
                return
            self._note_death(seat, code, now)
        if now >= seat.start_at:
            self._start(seat, now)

    def _note_death(self, seat: _Seat, code: int, now: float) -> None:
        assert seat.process is not None  # noqa: S101 - only called with one
        logger.warning("worker %s ended with %s; starting another", seat.process.pid, code)
        self._free(seat.process.pid)
        seat.quick_deaths = 0 if now - seat.started > STEADY_AFTER_S else seat.quick_deaths + 1
        # The first restart is immediate; a worker that dies again and again is given longer and longer.
        seat.start_at = now + min(LONGEST_BACKOFF_S, 2.0 ** (seat.quick_deaths - 1) - 1 if seat.quick_deaths else 0.0)
        seat.process = None

    def _free(self, pid: int) -> None:
        """Put back in the queue what a dead worker held, without waiting for its lease to run out."""
        name = workers.name_of(pid)
        with self._db.write() as session:
            workers.leave(session, name)
            runs.requeue_lost(session, now=self._clock(), max_attempts=self._settings.max_attempts, worker=name)

    def _start(self, seat: _Seat, now: float) -> None:
        command = [sys.executable, "-m", "app", "worker", "--parent", str(self._parent)]
        seat.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, start_new_session=True, env=environment(self._settings)
        )
        seat.started = now


def environment(settings: Settings) -> dict[str, str]:
    """This process's environment with the settings said explicitly, for a child that must have the same.

    But for the token: a worker serves nobody, and what is not there cannot be told.
    """
    told = settings.model_dump() | {"token": "none"}
    named = {f"FITROOM_{name.upper()}": str(value) for name, value in told.items()}
    return {**os.environ, **named}
