"""The doctor finds what is wrong, and says how to mend it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from app.config import Settings
from app.schema import migrate
from app.watching import doctor
from tools.server import fitroom

if TYPE_CHECKING:
    from pathlib import Path


def found(settings: Settings, name: str) -> doctor.Check:
    steps = {"home": doctor._home, "data set": doctor._data, "database": doctor._database, "port": doctor._port}
    (check,) = steps[name](settings)
    return check


def test_a_machine_in_order_passes_as_a_whole(home_with_data: Settings):
    done = fitroom(home_with_data.home, "doctor")
    assert done.returncode == 0, done.stdout
    assert "60,000 + 10,000 images" in done.stdout
    assert "devices" in done.stdout
    assert "fail " not in done.stdout


def test_a_missing_data_set_fails_with_the_mend(settings: Settings, capsys: pytest.CaptureFixture[str]):
    assert doctor.main(settings) == 1
    assert "Run `fitroom data`." in capsys.readouterr().out


def test_a_corrupt_database_fails_and_is_left_alone(settings: Settings):
    settings.home.mkdir()
    settings.database.write_bytes(b"no database" * 500)
    check = found(settings, "database")
    assert (check.status, "backup" in check.mend) == ("fail", True)
    assert settings.database.read_bytes().startswith(b"no database")


def test_an_older_database_is_a_warning(settings: Settings):
    migrate(settings.database)
    assert found(settings, "database").status == "ok"
    with closing(sqlite3.connect(settings.database)) as connection:
        connection.execute("DELETE FROM alembic_version")
        connection.commit()
    check = found(settings, "database")
    assert (check.status, "brings it up to date" in check.mend) == ("warn", True)


def test_a_home_that_cannot_be_made_fails(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    check = found(Settings(home=tmp_path / "file" / "home"), "home")
    assert (check.status, check.mend) == ("fail", "Name a folder of yours in FITROOM_HOME.")


def test_a_port_that_someone_else_holds_fails(settings: Settings):
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = settings.model_copy(update={"port": other.getsockname()[1]})
        assert found(taken, "port").status == "fail"


def test_folders_that_belong_to_no_run_are_a_warning_when_they_are_large(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    migrate(settings.database)
    left = settings.run_dir(77)
    left.mkdir(parents=True)
    (left / "last.pt").write_bytes(b"x" * 1000)
    (check,) = doctor._leftovers(settings)
    assert (check.status, check.found) == ("ok", "folders without a run: 1, 0.0 MB")
    monkeypatch.setattr(doctor, "WORTH_PRUNING", 1000)
    (check,) = doctor._leftovers(settings)
    assert (check.status, "fitroom prune --dry-run" in check.mend) == ("warn", True)
