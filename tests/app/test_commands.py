"""What the commands say where a home or its database cannot be used: one sentence, no traceback, nothing changed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from app.config import ROOT
from app.db import Database
from app.guarding import audit
from app.schema import migrate
from tests.faults.test_storage import mounted
from tools.server import environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Command, FakeClock

LOOK = ("audit", "export", "export 1 --steps", "user list", "prune --dry-run")
CHANGE = ("user role ann --role admin", "user password ann", "user token ann", "user remove ann", "prune")
BACKUP = "backup {outside}/backup.tar"
MAKE = ("user add ann", "import csv {outside}/past.csv")
"""They make a database where there is none."""
ALL = (*LOOK, *CHANGE, BACKUP, *MAKE)
PASSWORD = "a long enough password"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the home, with past runs in it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "past.csv").write_text("name,epoch,val_acc\nold,1,0.5\n")
    return folder


@pytest.fixture
def fitroom(command: Command, outside: Path) -> Command:
    def run(home: Path, words: str) -> subprocess.CompletedProcess[str]:
        return command(home, *words.format(outside=outside).split(), typed=PASSWORD)

    return run


@pytest.fixture
def filled(tmp_path: Path, clock: FakeClock) -> Path:
    """A home with a database that nobody has open."""
    home = tmp_path / "home"
    migrate(home / "fitroom.db")
    db = Database(home / "fitroom.db")
    with db.write() as session:
        for number in range(2000):
            audit.note(session, "ann", "started", now=clock(), run_id=number)
    db.close()
    return home


def refuse(fitroom: Command, home: Path, commands: Sequence[str], why: str) -> None:
    """Each of them with this in its one sentence."""
    for words in commands:
        done = fitroom(home, words)
        assert (done.returncode, done.stdout) == (1, ""), words
        assert done.stderr.startswith("fitroom: "), words
        assert done.stderr.count("\n") == 1, done.stderr
        assert why in done.stderr, words


def test_where_there_is_no_database_none_is_made_by_who_only_looks(tmp_path: Path, fitroom: Command, outside: Path):
    home = tmp_path / "mistyped"
    refuse(fitroom, home, (*LOOK, *CHANGE, BACKUP), f"There is no database in {home}.")
    assert not home.exists()
    assert [path.name for path in outside.iterdir()] == ["past.csv"]


@pytest.mark.parametrize("words", MAKE)
def test_users_and_past_runs_may_come_before_the_first_start(tmp_path: Path, fitroom: Command, words: str):
    assert fitroom(tmp_path / "new", words).returncode == 0
    assert fitroom(tmp_path / "new", "audit").stdout.count("\n") == 1


def no_database(database: Path) -> None:
    database.write_bytes(b"no database" * 500)


def cut(database: Path) -> None:
    database.write_bytes(database.read_bytes()[: database.stat().st_size // 2])


def of_version(number: str, database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (number,))


def foreign(database: Path) -> None:
    database.unlink()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE runs (id INTEGER PRIMARY KEY, artist TEXT)")


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (no_database, "Put a backup in its place"),
        (cut, "Put a backup in its place"),
        (partial(of_version, "9999"), "was written by a newer Fitroom (migration 9999"),
        (foreign, "is another program's database"),
        (partial(of_version, "451aebb31d03"), "is another program's database"),
    ],
    ids=["no database", "cut short", "newer", "foreign", "foreign with Alembic"],
)
def test_a_database_that_cannot_be_used_is_refused_by_every_command_and_stays_as_it_is(
    filled: Path, fitroom: Command, outside: Path, harm: Callable[[Path], None], why: str
):
    harm(filled / "fitroom.db")
    before = (filled / "fitroom.db").read_bytes()
    refuse(fitroom, filled, ALL, why)
    assert (filled / "fitroom.db").read_bytes() == before
    assert [path.name for path in outside.iterdir()] == ["past.csv"]


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """By its mode; for root, who may write whatever the mode, by a mount."""
    if os.geteuid():
        folder.chmod(0o555)
        yield
        folder.chmod(0o755)
        return
    with mounted(folder, "--bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield


def test_a_home_that_cannot_be_written_is_told_by_every_command(filled: Path, fitroom: Command, tmp_path: Path):
    with read_only(filled):
        refuse(fitroom, filled, ALL, f"cannot write in {filled}")
    empty = tmp_path / "empty"
    empty.mkdir()
    with read_only(empty):
        refuse(fitroom, empty, (*LOOK, *CHANGE, BACKUP), "There is no database")
        for home in (empty, empty / "below"):
            refuse(fitroom, home, MAKE, f"cannot write in {home}")


def test_a_home_that_is_a_file_is_told(tmp_path: Path, fitroom: Command):
    home = tmp_path / "file"
    home.write_text("")
    refuse(fitroom, home, ALL, str(home))
    assert home.read_text() == ""


def test_a_backup_that_has_no_place_to_go_to_is_told(filled: Path, fitroom: Command):
    refuse(fitroom, filled, ["backup {outside}/no/backup.tar"], "could not be written: No such file or directory.")


def test_a_database_that_somebody_locks_for_long_is_told(
    filled: Path, fitroom: Command, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("app.db.BUSY_TIMEOUT_S", 0.1)
    with closing(sqlite3.connect(filled / "fitroom.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refuse(fitroom, filled, ["user add ann"], "database is locked")
        assert fitroom(filled, "audit --count 1").returncode == 0, "reading goes on"
        other.execute("ROLLBACK")


def test_who_reads_only_the_first_line_gets_no_traceback(filled: Path):
    command = f"{sys.executable} -m app audit --count 2000 | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=ROOT, env=environment(filled), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (0, 1, "")


def test_users_are_added_listed_and_removed_in_the_terminal(tmp_path: Path, command: Command):
    user = partial(command, tmp_path, "user")
    assert "10 to 1,024" in user("add", "ann", typed="short\n").stderr
    assert "may sign in as viewer" in user("add", "ann", "--role", "viewer", typed=PASSWORD).stdout
    assert user("list").stdout.split() == ["ann", "viewer"]
    assert user("role", "ann", "--role", "admin").stdout == "ann is admin now.\n"
    assert "signed out everywhere" in user("password", "ann", typed="another long password\n").stdout
    assert user("token", "ann").stdout.startswith("u.")
    assert user("sign-out", "ann").returncode == 0
    assert user("remove", "bob").stderr == "fitroom: There is no user bob.\n"
    assert user("remove", "ann").returncode == 0
    told = command(tmp_path, "audit").stdout.splitlines()
    assert [line.split()[3] for line in told] == ["remove", "sign-out", "token", "password", "role", "add"]
