"""Disks that are full, locked, read-only or damaged: nothing committed is lost, and what is wrong is said in words."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from app.config import ROOT, Settings
from app.keeping.backup import backup, restore
from app.schema import migrate, schema_state
from tests.app.test_schema import upgrade_to
from tests.faults.conftest import Home
from tests.faults.zygote import wait_until
from tools.server import environment, fitroom

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.zygote import Zygote

Curve = list[tuple[object, ...]]


def whole(database: Path) -> bool:
    with closing(sqlite3.connect(database)) as connection:
        integrity = connection.execute("PRAGMA integrity_check").fetchall()
        return integrity == [("ok",)] and connection.execute("PRAGMA foreign_key_check").fetchall() == []


@contextmanager
def mounted(folder: Path, *what: str) -> Iterator[None]:
    """A file system of its own; the test is skipped, and says so, where this user may not mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *what, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_database_that_is_locked_beyond_its_timeout_loses_no_epoch(home: Home, undisturbed: Curve):
    run_id = home.submit()
    worker = home.worker("impatient 0.2")
    home.wait_for_epoch(run_id, 1)
    with closing(sqlite3.connect(home.db.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        worker.wait_for_log("could not write, trying again")
        other.execute("ROLLBACK")
    run = home.wait_for(run_id, "finished")
    assert (run.attempt, run.times_lost) == (1, 0)
    assert home.curve(run_id) == undisturbed


def test_a_worker_told_to_stop_while_the_database_is_locked_fails_no_run(home: Home):
    run_id = home.submit(epochs=500)
    worker = home.worker("impatient 0.2", lease_s="60")
    home.wait_for_epoch(run_id, 1)
    with closing(sqlite3.connect(home.db.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        worker.wait_for_log("could not write, trying again")
        worker.send(signal.SIGTERM)
        tries = worker.log.count("could not write")
        wait_until(lambda: worker.log.count("could not write") > tries, "it goes on trying")
        other.execute("ROLLBACK")
    assert worker.wait() == 0
    run = home.run(run_id)
    assert (run.status, run.times_lost) == ("queued", 0)


def test_a_full_disk_loses_no_epoch_and_training_goes_on_when_there_is_room(
    tmp_path: Path, data_dir: Path, zygote: Zygote, undisturbed: Curve
):
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=48m", "none"):
        home = Home(tmp_path / "small" / "home", data_dir, zygote)
        run_id = home.submit()
        worker = home.worker("slow 0.1")
        home.wait_for_epoch(run_id, 1)
        fill(tmp_path / "small" / "ballast")
        worker.wait_for_log("database or disk is full")
        (tmp_path / "small" / "ballast").unlink()
        run = home.wait_for(run_id, "finished")
        assert (run.attempt, run.times_lost) == (1, 0)
        assert home.curve(run_id) == undisturbed
        assert whole(home.db.path)
        assert not list((home.path / "runs").rglob("*.part"))
        home.close()


def fill(ballast: Path) -> None:
    """To the last byte: whatever others free is taken again until nothing more goes in."""
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError as error:
                assert "No space left" in str(error)  # noqa: PT017 - the way out of the loop


def test_a_home_that_cannot_be_written_is_refused_in_words(tmp_path: Path):
    home = tmp_path / "home"
    with mounted(home, "-t", "tmpfs", "-o", "ro", "none"):
        refused = [fitroom(home, *command) for command in (["serve"], ["worker"], ["restore", "backup.tar"])]
    for done in refused:
        assert done.returncode == 1
        assert done.stderr == (
            f"fitroom: cannot write in {home}: Read-only file system. Name a folder of yours in FITROOM_HOME.\n"
        )


@pytest.mark.parametrize(
    ("command", "content", "words"),
    [
        ("serve", b"no database" * 500, "Put a backup in its place"),
        ("worker", b"no database" * 500, "Put a backup in its place"),
        ("serve", None, "was written by a newer Fitroom"),
    ],
    ids=["serve, corrupt", "worker, corrupt", "serve, newer"],
)
def test_a_database_that_cannot_be_used_is_refused_and_never_made_anew(
    tmp_path: Path, command: str, content: bytes | None, words: str
):
    database = tmp_path / "fitroom.db"
    if content is None:
        migrate(database)
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
            connection.commit()
    else:
        database.write_bytes(content)
    before = database.read_bytes()
    refused = fitroom(tmp_path, command)
    assert refused.returncode == 1
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr
    assert database.read_bytes() == before


KILLED_IN_MIGRATION = """
import os, signal, sys
from pathlib import Path
from alembic import command
from app import schema
real = command.upgrade
def upgrade(*arguments):
    real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
schema.command.upgrade = upgrade
schema.migrate(Path(sys.argv[1]))
"""


def test_a_migration_that_is_killed_half_way_leaves_the_version_before_with_all_its_rows(tmp_path: Path):
    database = tmp_path / "fitroom.db"
    upgrade_to(database, "0001")
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(
            "INSERT INTO runs (name, notes, config, status, cancel_requested, attempt, times_lost, created_at, "
            "epochs_done) VALUES ('old', '', '{}', 'finished', 0, 1, 0, '2026-01-01 00:00:00', 1)"
        )
        connection.commit()
    killed = subprocess.run([sys.executable, "-c", KILLED_IN_MIGRATION, str(database)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert schema_state(database).current == "0001"
    # Two at once do it again: the second finds it done.
    command = [sys.executable, "-c", "import sys; from pathlib import Path; from app.schema import migrate; "
               "migrate(Path(sys.argv[1]))", str(database)]  # fmt: skip
    both = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert schema_state(database).up_to_date
    assert whole(database)
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT name FROM runs").fetchall() == [("old",)]


def test_a_backup_taken_while_a_run_trains_goes_on_elsewhere_to_the_same_end(
    home: Home, undisturbed: Curve, tmp_path: Path, data_dir: Path, zygote: Zygote
):
    run_id = home.submit()
    home.worker("slow 0.1")
    home.wait_for_epoch(run_id, 2)
    backup(Settings(home=home.path), tmp_path / "backup.tar")
    assert home.run(run_id).status == "running", "and training went on"
    restored = tmp_path / "restored"
    assert restore(Settings(home=restored), tmp_path / "backup.tar") == 1
    assert whole(restored / "fitroom.db")
    other = Home(restored, data_dir, zygote)
    other.work_off()
    assert (other.run(run_id).status, other.run(run_id).times_lost) == ("finished", 0)
    assert other.curve(run_id) == undisturbed
    other.close()
    assert home.wait_for(run_id, "finished").attempt == 1


def test_a_restore_into_a_home_with_a_worker_is_refused(home: Home, tmp_path: Path):
    backup(Settings(home=home.path), tmp_path / "backup.tar")
    worker = home.worker()
    worker.wait_for_log("is ready")
    refused = subprocess.run(
        [sys.executable, "-m", "app", "restore", str(tmp_path / "backup.tar")],
        cwd=ROOT, env=environment(home.path), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (refused.returncode, "has workers; stop that first" in refused.stderr) == (1, True)
