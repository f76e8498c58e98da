"""What all tests share: a database of their own, a clock of their own, and the real Fashion-MNIST."""

from __future__ import annotations

import io
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app import cli
from app.config import ROOT, Settings
from app.db import Database
from app.schema import migrate
from tools.server import link_fashion_mnist

if TYPE_CHECKING:
    from collections.abc import Iterator

Command = Callable[..., subprocess.CompletedProcess[str]]

# A shell without job control starts what it puts in the background with SIGINT ignored, and every child would inherit
# that: those that tests interrupt could not be.
signal.signal(signal.SIGINT, signal.default_int_handler)


class FakeClock:
    """Time that only the test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the real Fashion-MNIST, which `make data` fetches."""
    found = Path(os.environ.get("FITROOM_TEST_DATA", ROOT / "var" / "data"))
    if not (found / "FashionMNIST" / "raw" / "train-images-idx3-ubyte").exists():
        pytest.fail(f"Fashion-MNIST is not in {found}: run `make data` first")
    return found


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", port=0)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database at the newest migration, to be copied: that takes a hundredth of the time."""
    path = tmp_path_factory.mktemp("empty") / "fitroom.db"
    migrate(path)
    return path


@pytest.fixture
def migrated(settings: Settings, empty_database: Path) -> Settings:
    """Settings whose home has an empty database."""
    settings.home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(empty_database, settings.database)
    return settings


@pytest.fixture
def home_with_data(migrated: Settings, data_dir: Path) -> Settings:
    """An empty database, and the real data set by a link: what is added lies beside it, in the test's own folder."""
    link_fashion_mnist(migrated.data_dir, data_dir)
    return migrated


@pytest.fixture
def db(migrated: Settings) -> Iterator[Database]:
    database = Database(migrated.database)
    yield database
    database.close()


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """`command(home, "audit")` is `fitroom audit` on that home, in this process: what it printed, and its exit code.

    A process of its own takes a second; where what is tested is the process, `tools.server.fitroom` starts one.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def run(home: Path, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        monkeypatch.setenv("FITROOM_HOME", str(home))
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        capsys.readouterr()
        try:
            code = cli.main(arguments)
        except SystemExit as error:  # argparse's way
            code = int(error.code or 0)
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, printed.out, printed.err)

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)
