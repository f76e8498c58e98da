"""The worker as a process: `fitroom worker`. It imports torch, so nothing that serves pages imports it."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import OperationalError

from app import workers
from app.clock import utc_now
from app.config import Settings
from app.db import Database
from app.keeping.locks import lock_file
from app.schema import migrate
from app.worker import Worker
from trainer import devices
from trainer.loop import train

logger = logging.getLogger("fitroom.worker")


def main(settings: Settings, *, parent: int | None = None) -> int:
    """Work until SIGTERM or SIGINT; with `parent`, also end when that process is gone and no run waits."""
    with _at_work(settings):
        migrate(settings.database)
        db = Database(settings.database)
        worker = Worker(db, settings, name=workers.name_of(os.getpid()), train=train)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.stop.set())
        with db.write() as session:
            workers.announce(session, worker.name, now=utc_now(), info=devices.describe())
        logger.info("%s is ready", worker.name)
        try:
            worker.work(orphaned=lambda: parent is not None and os.getppid() != parent)
        finally:
            _leave(db, worker.name)
            db.close()
    return 0


def _leave(db: Database, name: str) -> None:
    try:
        with db.write() as session:
            workers.leave(session, name)
    except OperationalError as error:
        logger.warning("%s could not sign off: %s", name, error)


@contextmanager
def _at_work(settings: Settings) -> Iterator[None]:
    """Hold the home together with all other workers: `fitroom restore` asks whether anybody does."""
    with lock_file(settings.workers_lock) as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield
