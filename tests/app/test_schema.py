"""The database is brought to the newest migration, or left as it is with a word on what to do."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from app import metrics, runs, schema
from app.config import ROOT
from app.data_sets import datasets
from app.db import Database
from app.models import Base, Source
from app.runs_table import listing, sparks
from app.runs_table.folding import config_key
from app.schema import SchemaError, migrate, opened, schema_state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_an_absent_database_is_made_at_the_newest_migration(tmp_path: Path):
    database = tmp_path / "deep" / "fitroom.db"
    assert schema_state(database).current is None
    migrate(database)
    assert schema_state(database).up_to_date
    migrate(database)


def test_the_migrations_make_the_tables_that_the_models_describe(tmp_path: Path):
    database = tmp_path / "fitroom.db"
    migrate(database)
    engine = create_engine(f"sqlite:///{database}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_two_processes_may_migrate_at_once(tmp_path: Path):
    database, errors = tmp_path / "fitroom.db", []

    def one() -> None:
        try:
            migrate(database)
        except Exception as error:  # noqa: BLE001 - collected and shown
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert schema_state(database).up_to_date


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path):
    database = tmp_path / "fitroom.db"
    database.write_bytes(b"not a database at all" * 100)
    with pytest.raises(SchemaError, match="Put a backup in its place"):
        migrate(database)
    assert database.read_bytes().startswith(b"not a database")


def test_a_database_of_a_newer_version_is_refused_and_kept(tmp_path: Path):
    database = tmp_path / "fitroom.db"
    migrate(database)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(SchemaError, match="newer Fitroom"):
        migrate(database)
    assert schema_state(database).current == "9999"


def test_a_migration_that_breaks_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    database, real = tmp_path / "fitroom.db", command.upgrade

    def upgrade_and_break(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(schema.command, "upgrade", upgrade_and_break)
    with pytest.raises(KeyboardInterrupt):
        migrate(database)
    assert schema_state(database).current is None
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []


def test_a_filled_database_of_the_version_before_keeps_its_epochs(tmp_path: Path):
    """0002 adds where an epoch's time went, which the epochs of 0001 do not know."""
    database = tmp_path / "fitroom.db"
    with old_run(database, "0001", '{"epochs": 2, "dropout": 0.3}') as connection:
        connection.execute(
            "INSERT INTO epochs (run_id, epoch, attempt, train_loss, val_accuracy, lr, seconds, train_seconds, "
            "images_per_s, finished_at, diverged) VALUES (1, 1, 1, 0.5, 0.8, 0.001, 2, 1.5, 5000, "
            "'2026-01-01 00:00:02', 0)"
        )
    migrate(database)
    db = Database(database)
    with db.read() as session:
        (epoch,) = metrics.epochs(session, 1)
        config = runs.config_of(runs.get(session, 1))
    db.close()
    assert (epoch.train_loss, epoch.val_accuracy, epoch.data_s) == (0.5, 0.8, None)
    assert (config.epochs, config.momentum, config.schedule) == (2, 0.9, "constant")


def test_runs_of_the_version_before_get_their_keys_and_small_curves(tmp_path: Path):
    """0004 adds what people mark, the key by which seeds fold, and the curve that the table shows."""
    database = tmp_path / "fitroom.db"
    with old_run(database, "0003", '{"epochs": 2, "lr": 0.1, "seed": 3}') as connection:
        connection.executemany(
            "INSERT INTO epochs (run_id, epoch, attempt, val_accuracy, lr, seconds, train_seconds, images_per_s, "
            "finished_at, diverged) VALUES (1, ?, 1, ?, 0.001, 2, 1.5, 5000, '2026-01-01 00:00:02', 0)",
            [(1, 0.5), (2, None)],
        )
    migrate(database)
    db = Database(database)
    with db.read() as session:
        run = runs.get(session, 1)
        found = listing.ids(session, listing.Query.of(filter="lr = 0.1 and seed = 3"), now=run.created_at)
    db.close()
    assert run.config_key == config_key({"epochs": 2, "lr": 0.1})
    assert sparks.unpack(run.spark) == [pytest.approx(0.5, abs=1e-4), None]
    assert (run.starred, run.archived, found) == (False, False, [1])


def test_runs_of_the_version_before_say_which_data_set_they_used(tmp_path: Path):
    """0005 reads it out of the settings, and finds it by an index."""
    database = tmp_path / "fitroom.db"
    with old_run(database, "0004", '{"epochs": 2, "dataset": "csv:shoes"}'):
        pass
    migrate(database)
    db = Database(database)
    with db.read() as session:
        assert [use.name for use in datasets.uses(session, "csv:shoes")] == ["old"]
        assert datasets.uses(session, "fashion-mnist") == []
        assert datasets.counted_uses(session) == {"csv:shoes": 1}
        plan = session.execute(
            text("EXPLAIN QUERY PLAN SELECT id FROM runs WHERE dataset = 'csv:shoes' ORDER BY id DESC")
        ).all()
    db.close()
    assert "ix_runs_dataset_id" in str(plan)


def test_runs_of_the_version_before_are_fitrooms_own_and_keep_their_epochs(tmp_path: Path):
    """0006 adds where a run comes from, and epochs that do not know their time."""
    database = tmp_path / "fitroom.db"
    with old_run(database, "0005", '{"epochs": 1}') as connection:
        connection.execute(
            "INSERT INTO epochs (run_id, epoch, attempt, train_loss, lr, seconds, train_seconds, images_per_s, "
            "finished_at, diverged) VALUES (1, 1, 1, 0.5, 0.001, 2, 1.5, 5000, '2026-01-01 00:00:02', 0)"
        )
    migrate(database)
    with opened(database) as db, db.write() as session:
        (epoch,) = metrics.epochs(session, 1)
        assert (epoch.train_loss, epoch.lr, epoch.seconds, epoch.train_seconds) == (0.5, 0.001, 2, 1.5)
        assert (runs.get(session, 1).source, runs.get(session, 1).source_key) == (Source.FITROOM, None)
        assert listing.ids(session, listing.Query.of(filter="source = fitroom"), now=epoch.finished_at) == [1]
        epoch.seconds = epoch.lr = None


def test_seeds_of_the_version_before_fold_from_the_start(tmp_path: Path):
    """What the table keeps of its seeds is worked out of the runs that are there."""
    database = tmp_path / "fitroom.db"
    with old_run(database, "0006", '{"epochs": 2, "seed": 1}') as connection:
        connection.execute("UPDATE runs SET config_key = 'k', best_val_accuracy = 0.5")
        columns = "name, notes, status, cancel_requested, attempt, times_lost, created_at, epochs_done, config_key"
        connection.execute(
            f"INSERT INTO runs (id, config, best_val_accuracy, {columns}) "  # noqa: S608 - nothing of a person's
            f"""SELECT 2, '{{"epochs": 2, "seed": 2}}', 0.7, {columns} FROM runs"""
        )
    with opened(database) as db, db.read() as session:
        found = session.execute(text("SELECT run_id, fold, leads, shown_best_val_accuracy FROM listed")).all()
    assert found == [(1, 1, 0, None), (2, 1, 1, pytest.approx(0.6))]


@contextmanager
def old_run(database: Path, revision: str, config: str) -> Iterator[sqlite3.Connection]:
    """A database at an older migration with one finished run in it, called old; committed at the end of the block."""
    upgrade_to(database, revision)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(
            "INSERT INTO runs (id, name, notes, config, status, cancel_requested, attempt, times_lost, created_at, "
            "epochs_done) VALUES (1, 'old', '', ?, 'finished', 0, 1, 0, '2026-01-01 00:00:00', 1)",
            [config],
        )
        yield connection
        connection.commit()


def upgrade_to(database: Path, revision: str) -> None:
    engine = create_engine(f"sqlite:///{database}")
    with engine.begin() as connection:
        config = Config(ROOT / "alembic.ini")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


REVISIONS = [script.revision for script in ScriptDirectory.from_config(Config(ROOT / "alembic.ini")).walk_revisions()]


@pytest.mark.parametrize("revision", sorted(REVISIONS)[:-1])
def test_rows_of_every_version_survive_the_way_to_the_newest(tmp_path: Path, revision: str):
    """One row in every table that the version has, each column filled by its type."""
    database = tmp_path / "fitroom.db"
    upgrade_to(database, revision)
    with closing(sqlite3.connect(database)) as connection:
        before = {table: fill(connection, table) for table in tables(connection)}
        connection.commit()
    assert len(before) >= 8
    migrate(database)
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        for table, row in before.items():
            (found,) = connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - named by SQLite itself
            assert {name: found[name] for name in row if name in found.keys()} == row  # noqa: SIM118 - a Row
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def tables(connection: sqlite3.Connection) -> list[str]:
    """But for SQLite's and Alembic's own; those that others point at come first."""
    names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
    return [name for (name,) in connection.execute(names) if name != "alembic_version"]


def fill(connection: sqlite3.Connection, table: str) -> dict[str, object]:
    """One row: 1, 0.5, bytes, an instant, or a word that the column allows."""
    row: dict[str, object] = {}
    for _, name, kind, *_ in connection.execute(f"PRAGMA table_info({table})"):
        match kind.partition("(")[0]:
            case "INTEGER" | "BOOLEAN":
                row[name] = 1
            case "FLOAT" | "REAL" | "DOUBLE":
                row[name] = 0.5
            case "BLOB":
                row[name] = b"bytes"
            case "DATETIME":
                row[name] = "2026-01-01 00:00:00.000000"
            case "JSON":
                row[name] = '{"epochs": 2, "dataset": "fashion-mnist"}'
            case _:
                row[name] = {"status": "finished", "role": "viewer", "source": "fitroom"}.get(name, "ann")
    marks = ", ".join("?" * len(row))
    insert = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})"  # noqa: S608 - named by SQLite itself
    connection.execute(insert, list(row.values()))
    return row
