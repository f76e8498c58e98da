"""The generated store is one that Fitroom could have written."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select
from starlette.testclient import TestClient

from app import metrics, runs
from app.config import Settings
from app.main import create_app
from app.models import Epoch, Run, Status, StepBlock
from app.schema import opened
from tools.store import RUNNING, WAITING, generate

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("store")
    generate(home, 60, now=NOW)
    return home


def test_every_run_has_a_valid_configuration_and_the_summary_of_its_epochs(home: Path):
    with opened(Settings(home=home).database) as db, db.read() as session:
        found = session.scalars(select(Run)).all()
        for run in found:
            epochs = metrics.epochs(session, run.id)
            best = max((row.val_accuracy for row in epochs if row.val_accuracy is not None), default=None)
            assert (len(epochs), best) == (run.epochs_done, run.best_val_accuracy)
            assert runs.config_of(run).to_dict() == run.config
            assert not epochs or epochs[-1].val_loss == run.val_loss
    assert len(found) == 60
    assert len(found[0].config) >= 30


def test_seeds_share_a_configuration_and_the_newest_runs_wait_or_run(home: Path):
    with opened(Settings(home=home).database) as db, db.read() as session:
        found = session.scalars(select(Run).order_by(Run.id)).all()
    configs = Counter(str(dict(run.config, seed=0)) for run in found)
    assert {1, 3} <= set(configs.values())
    last = [Status.RUNNING] * RUNNING + [Status.QUEUED] * WAITING
    assert [Status(run.status) for run in found[-len(last) :]] == last


def test_one_run_has_a_hundred_thousand_steps(home: Path):
    with opened(Settings(home=home).database) as db, db.read() as session:
        longest = session.scalar(select(func.max(StepBlock.first_step)))
        assert longest is not None
        block = session.scalars(select(StepBlock).where(StepBlock.first_step == longest)).one()
        assert metrics.steps(session, block.run_id)[-1].losses[-1] is not None
        assert session.scalar(select(func.count()).where(Epoch.run_id == block.run_id)) == 100
    assert longest + len(block.losses) // 4 == 100_000


def test_the_table_and_a_run_open_on_it(home: Path):
    with TestClient(create_app(Settings(home=home, port=0)), base_url="http://localhost") as client:
        assert client.get("/api/v1/runs?sort=-best_val_accuracy").json()["total"] == 60
        assert client.get("/runs").status_code == 200
        assert client.get("/runs/30").status_code == 200


def test_a_home_that_has_a_database_is_left_alone(home: Path):
    with pytest.raises(FileExistsError, match="is there already"):
        generate(home, 1)
