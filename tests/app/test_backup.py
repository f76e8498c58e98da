"""A home goes into one file and comes back whole, or not at all."""

from __future__ import annotations

import fcntl
import io
import sqlite3
import tarfile
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from app import metrics, recording, runs
from app.config import Settings
from app.db import Database
from app.keeping.backup import BackupError, backup, restore
from app.schema import opened
from tests.app import factories
from tests.app.test_retention import over
from trainer.config import TrainConfig

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Command, FakeClock


@pytest.fixture
def elsewhere(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "elsewhere")


@pytest.fixture
def filled(db: Database, settings: Settings, clock: FakeClock) -> Settings:
    """A finished run, one that trains, and what they have on disk."""
    over(db, settings, clock)
    with db.write() as session:
        runs.submit(session, TrainConfig(epochs=3), now=clock())
        held = runs.claim(session, "w1", now=clock())
        assert held is not None
        recording.record(session, held, factories.epoch(1), now=clock())
    settings.run_dir(2).mkdir()
    (settings.run_dir(2) / "last.pt").write_bytes(b"state")
    (settings.run_dir(2) / "last.pt.12345678.part").write_bytes(b"half")
    csv = settings.data_dir / "csv" / "shoes"
    csv.mkdir(parents=True)
    (csv / "train.csv").write_text("0,1\n")
    return settings


def test_what_is_restored_is_what_was_saved(filled: Settings, elsewhere: Settings, tmp_path: Path):
    file = tmp_path / "backup.tar"
    assert backup(filled, file, data=True) == file.stat().st_size
    assert restore(elsewhere, file) == 2
    with opened(elsewhere.database) as db, db.read() as session:
        assert [row.epoch for row in metrics.epochs(session, 1)] == [1]
        assert [row.epoch for row in metrics.epochs(session, 2)] == [1]
        run = runs.get(session, 2)
        assert (run.status, run.worker, run.times_lost) == ("queued", None, 0)
        assert metrics.log_lines(session, 2)[-1]["message"].startswith("Restored from a backup")
    with closing(sqlite3.connect(elsewhere.database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert [path.name for path in elsewhere.run_dir(2).iterdir()] == ["last.pt"], "and nothing half-written"
    assert (elsewhere.data_dir / "csv" / "shoes" / "train.csv").read_text() == "0,1\n"
    assert not [path.name for path in elsewhere.home.iterdir() if path.name.startswith(".")]


def test_a_backup_may_be_of_the_database_alone(filled: Settings, elsewhere: Settings, tmp_path: Path):
    backup(filled, tmp_path / "small.tar", checkpoints=False)
    assert restore(elsewhere, tmp_path / "small.tar") == 2
    assert not elsewhere.run_dir(2).exists()


def test_a_home_with_a_database_is_never_overwritten(filled: Settings, tmp_path: Path):
    backup(filled, tmp_path / "backup.tar")
    before = filled.database.read_bytes()
    with pytest.raises(BackupError, match="never overwritten"):
        restore(filled, tmp_path / "backup.tar")
    assert filled.database.read_bytes() == before


@pytest.mark.parametrize(("lock", "word"), [("serve_lock", "is being served"), ("workers_lock", "has workers")])
def test_a_home_that_is_in_use_is_not_restored_into(
    filled: Settings, elsewhere: Settings, tmp_path: Path, lock: str, word: str
):
    backup(filled, tmp_path / "backup.tar")
    elsewhere.home.mkdir()
    with getattr(elsewhere, lock).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        with pytest.raises(BackupError, match=word):
            restore(elsewhere, tmp_path / "backup.tar")
    assert not elsewhere.database.exists()


def archive(tmp_path: Path, *names: str, content: bytes = b"no database" * 500) -> Path:
    file = tmp_path / "odd.tar"
    with tarfile.open(file, "w") as made:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return file


@pytest.mark.parametrize(
    ("names", "word"),
    [
        (["../evil"], "no place"),
        (["runs/../../evil"], "no place"),
        (["/etc/evil"], "no place"),
        (["notes.txt"], "no place"),
        (["runs/1/last.pt"], "no database in it"),
        (["fitroom.db"], "cannot be used"),
    ],
)
def test_what_is_no_backup_leaves_nothing(elsewhere: Settings, tmp_path: Path, names: list[str], word: str):
    with pytest.raises(BackupError, match=word):
        restore(elsewhere, archive(tmp_path, *names))
    assert sorted(path.name for path in elsewhere.home.iterdir()) == ["serve.lock", "workers.lock"]
    assert not (tmp_path / "evil").exists()


def test_a_backup_that_is_cut_short_leaves_nothing(filled: Settings, elsewhere: Settings, tmp_path: Path):
    file = tmp_path / "backup.tar"
    backup(filled, file)
    file.write_bytes(file.read_bytes()[:-30_000])
    with pytest.raises(BackupError):
        restore(elsewhere, file)
    assert not elsewhere.database.exists()


def test_a_restore_that_was_interrupted_is_done_again_whole(filled: Settings, elsewhere: Settings, tmp_path: Path):
    backup(filled, tmp_path / "backup.tar")
    elsewhere.run_dir(2).mkdir(parents=True)
    (elsewhere.run_dir(2) / "last.pt").write_bytes(b"of the first try")
    restore(elsewhere, tmp_path / "backup.tar")
    assert (elsewhere.run_dir(2) / "last.pt").read_bytes() == b"state"


def test_the_commands_say_what_they_did_and_what_is_in_the_way(
    filled: Settings, elsewhere: Settings, tmp_path: Path, command: Command
):
    file = tmp_path / "backup.tar"
    assert f"{file}, " in command(filled.home, "backup", str(file)).stdout
    again = command(filled.home, "backup", str(file))
    assert (again.returncode, again.stderr) == (1, f"fitroom: {file} is there already; name another file.\n")
    assert command(elsewhere.home, "restore", str(file)).stdout == f"2 runs are in {elsewhere.home} now.\n"
    missing = command(tmp_path / "third", "restore", str(tmp_path / "no.tar"))
    assert (missing.returncode, "No such file" in missing.stderr, "Traceback" in missing.stderr) == (1, True, False)
