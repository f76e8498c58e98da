"""Homes, and worker processes on them that are made in no time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app import metrics, runs
from app.clock import utc_now
from app.db import Database
from app.models import Run
from app.schema import migrate
from app.workers import name_of
from tests.faults.zygote import Child, Zygote, wait_until
from tools.server import link_fashion_mnist
from trainer.config import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TINY = {"train_size": 512, "val_size": 200, "batch_size": 128, "epochs": 4, "seed": 666}
"""Four steps an epoch."""


class Home:
    """A home with the real data set, its database, and the workers on it."""

    def __init__(self, path: Path, data_dir: Path, zygote: Zygote) -> None:
        self.path, self._zygote = path, zygote
        path.mkdir(parents=True, exist_ok=True)
        link_fashion_mnist(path / "data", data_dir)
        migrate(path / "fitroom.db")
        self.db = Database(path / "fitroom.db")
        self._children: list[Child] = []

    def submit(self, **settings: object) -> int:
        config = TrainConfig(**(TINY | settings))  # type: ignore[arg-type]
        with self.db.write() as session:
            return runs.submit(session, config, now=utc_now()).id

    def worker(self, fault: str = "", *, until_idle: bool = False, **settings: str) -> Child:
        child = self._zygote.worker(self.path, fault=fault, until_idle=until_idle, **{"lease_s": "1"} | settings)
        self._children.append(child)
        return child

    def work_off(self, fault: str = "", **settings: str) -> None:
        """A worker takes one run after the other until none waits, and ends well."""
        assert self.worker(fault, until_idle=True, **settings).wait() == 0

    def free(self, child: Child, max_attempts: int = 3) -> None:
        """What the server does when a worker of its own has died."""
        with self.db.write() as session:
            runs.requeue_lost(session, now=utc_now(), max_attempts=max_attempts, worker=name_of(child.pid))

    def run(self, run_id: int) -> Run:
        with self.db.read() as session:
            return runs.get(session, run_id)

    def wait_for(self, run_id: int, status: str) -> Run:
        wait_until(lambda: self.run(run_id).status == status, f"run {run_id} is {status}")
        return self.run(run_id)

    def wait_for_epoch(self, run_id: int, epoch: int) -> None:
        wait_until(lambda: self.run(run_id).epochs_done >= epoch, f"run {run_id} reaches epoch {epoch}")

    def curve(self, run_id: int) -> list[tuple[object, ...]]:
        """All that must be equal of two runs that are: every epoch's numbers and every step's loss."""
        with self.db.read() as session:
            epochs: list[tuple[object, ...]] = [
                (row.epoch, row.train_loss, row.train_accuracy, row.val_loss, row.val_accuracy)
                for row in metrics.epochs(session, run_id)
            ]
            blocks = [(block.first_step, *block.losses) for block in metrics.steps(session, run_id)]
        return epochs + blocks

    def log(self, run_id: int) -> str:
        with self.db.read() as session:
            return "\n".join(line["message"] for line in metrics.log_lines(session, run_id))

    def close(self) -> None:
        for child in self._children:
            child.end()
        self.db.close()


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture
def home(tmp_path: Path, data_dir: Path, zygote: Zygote) -> Iterator[Home]:
    home = Home(tmp_path / "home", data_dir, zygote)
    yield home
    home.close()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, data_dir: Path, zygote: Zygote) -> list[tuple[object, ...]]:
    """The curve of the tiny run that nothing happens to."""
    home = Home(tmp_path_factory.mktemp("undisturbed") / "home", data_dir, zygote)
    run_id = home.submit()
    home.work_off()
    curve = home.curve(run_id)
    home.close()
    assert len(curve) == 8
    return curve
