"""What old runs no longer need is removed, or only counted; what people look at stays."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from app import metrics, recording, runs
from app.keeping import retention
from app.models import Change, Run
from app.runs import RunNotFound
from tests.app import factories
from trainer.config import TrainConfig

if TYPE_CHECKING:
    from app.config import Settings
    from app.db import Database
    from tests.conftest import Command, FakeClock

FILES = {"last.pt": 1000, "previous.pt": 1000, "best.pt": 1000, "best.safetensors": 300, "best-1.onnx": 500}


def over(db: Database, settings: Settings, clock: FakeClock, *, failed: bool = False) -> int:
    """A run that has just ended, with one epoch and the files of its folder."""
    with db.write() as session:
        run_id = runs.submit(session, TrainConfig(epochs=1), now=clock()).id
        held = runs.claim(session, "w0", now=clock())
        assert held is not None
        recording.record(session, held, factories.steps(1, 0, 1.0, 0.9), now=clock())
        recording.record(session, held, factories.epoch(1), now=clock())
        if failed:
            runs.fail(session, held, reason="diverged", message="The loss became NaN.", now=clock())
        else:
            runs.finish(session, held, now=clock())
    settings.run_dir(run_id).mkdir(parents=True)
    for name, size in FILES.items():
        (settings.run_dir(run_id) / name).write_bytes(b"x" * size)
    return run_id


def pruned(db: Database, settings: Settings, clock: FakeClock, **how: bool) -> dict[str, tuple[int, int]]:
    freed = retention.prune(
        settings, db, now=clock(), older_than=timedelta(days=30), **({"dry_run": False} | how)  # type: ignore[arg-type]
    )  # fmt: skip
    return {kind.what: (kind.number, kind.bytes) for kind in freed}


def test_an_old_run_keeps_its_curves_its_log_and_its_best_weights(db: Database, settings: Settings, clock: FakeClock):
    old = over(db, settings, clock)
    clock.forward(31 * 86400)
    new = over(db, settings, clock)
    assert pruned(db, settings, clock)["checkpoints of ended runs"] == (4, 3500)
    assert [path.name for path in settings.run_dir(old).iterdir()] == ["best.safetensors"]
    assert len(list(settings.run_dir(new).iterdir())) == 5
    with db.read() as session:
        assert len(metrics.epochs(session, old)) == 1
        assert len(metrics.steps(session, old)) == 1
        assert len(metrics.log_lines(session, old)) == 4
        kinds = [(change.run_id, change.kind) for change in session.query(Change)]
    assert {kind for run_id, kind in kinds if run_id == old} == {"log"}
    assert {kind for run_id, kind in kinds if run_id == new} == {"log", "status", "steps", "epoch"}


def test_a_dry_run_says_the_same_and_removes_nothing(db: Database, settings: Settings, clock: FakeClock):
    old, broken = over(db, settings, clock), over(db, settings, clock, failed=True)
    (settings.home / "runs" / "77").mkdir()
    (settings.home / "runs" / "77" / "last.pt").write_bytes(b"x" * 123)
    clock.forward(31 * 86400)
    with db.read() as session:
        before = session.query(Change).count()
    foretold = pruned(db, settings, clock, dry_run=True, failed=True)
    assert len(list(settings.run_dir(old).iterdir())) == len(list(settings.run_dir(broken).iterdir())) == 5
    with db.read() as session:
        assert session.query(Change).count() == before
        assert session.query(Run).count() == 2
    done = pruned(db, settings, clock, failed=True)
    assert done["failed and archived runs"] == foretold["failed and archived runs"]
    assert done["folders of no run"] == foretold["folders of no run"] == (1, 123)
    assert (foretold["checkpoints of ended runs"], done["checkpoints of ended runs"]) == ((8, 7000), (4, 3500))


def test_failed_runs_go_only_when_asked_for_and_starred_ones_never(db: Database, settings: Settings, clock: FakeClock):
    broken, loved = over(db, settings, clock, failed=True), over(db, settings, clock, failed=True)
    fine = over(db, settings, clock)
    with db.write() as session:
        runs.get(session, loved).starred = True
    clock.forward(31 * 86400)
    assert "failed and archived runs" not in pruned(db, settings, clock)
    assert pruned(db, settings, clock, failed=True)["failed and archived runs"][0] == 1
    with db.read() as session:
        assert {run.id for run in session.query(Run)} == {loved, fine}
        with pytest.raises(RunNotFound):
            runs.get(session, broken)
    assert not settings.run_dir(broken).exists()


def test_what_still_waits_or_trains_is_left_alone_however_old(db: Database, settings: Settings, clock: FakeClock):
    with db.write() as session:
        for _ in range(2):
            runs.submit(session, TrainConfig(), now=clock())
        runs.claim(session, "w1", now=clock())
        before = session.query(Change).count()
    for run_id in (1, 2):
        settings.run_dir(run_id).mkdir(parents=True)
        (settings.run_dir(run_id) / "last.pt").write_bytes(b"state")
    clock.forward(365 * 86400)
    assert set(pruned(db, settings, clock, failed=True).values()) == {(0, 0)}
    with db.read() as session:
        assert session.query(Change).count() == before


def test_the_newest_journal_entry_stays_so_that_no_cursor_goes_back(db: Database, settings: Settings, clock: FakeClock):
    over(db, settings, clock)
    with db.read() as session:
        before = metrics.cursor(session)
    clock.forward(31 * 86400)
    pruned(db, settings, clock)
    with db.read() as session:
        assert metrics.cursor(session) == before


def test_the_command_says_what_and_how_much(db: Database, settings: Settings, clock: FakeClock, command: Command):
    over(db, settings, clock)
    said = command(settings.home, "prune", "--dry-run").stdout.splitlines()
    assert said[-1].endswith("MB would be freed; nothing was removed.")
    assert any("checkpoints of ended runs" in line and line.split()[0] == "4" for line in said)
    assert command(settings.home, "prune", "--days", "x").returncode == 2


def test_a_link_that_leads_nowhere_is_removed_like_a_file(db: Database, settings: Settings, clock: FakeClock):
    settings.cache_dir.mkdir(parents=True)
    (settings.cache_dir / "gone").symlink_to(settings.home / "nowhere")
    clock.now += timedelta(days=20_000)
    freed = retention.prune(settings, db, now=clock(), older_than=timedelta(days=30), dry_run=False)
    assert next(kind.number for kind in freed if kind.what == "cached files") == 1
    assert not list(settings.cache_dir.iterdir())
