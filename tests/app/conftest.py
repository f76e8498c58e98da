"""A web application on a database of its own, asked without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from starlette.testclient import TestClient

from app import recording, runs
from app.db import Database
from app.main import create_app
from trainer.config import TrainConfig
from trainer.loop import train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from app.config import Settings
    from tests.conftest import FakeClock


@pytest.fixture
def client(home_with_data: Settings, clock: FakeClock) -> Iterator[TestClient]:
    with TestClient(create_app(home_with_data, clock=clock), base_url="http://localhost") as client:
        yield client


@pytest.fixture
def run_for_real(client: TestClient, home_with_data: Settings, clock: FakeClock) -> Iterator[Callable[..., int]]:
    """Trains a run of these settings to its end, as a worker would, and gives its id."""
    db = Database(home_with_data.database)

    def run(**settings: object) -> int:
        run_id = int(client.post("/api/v1/runs", json=settings).json()["id"])
        with db.write() as session:
            held = runs.claim(session, "w1", now=clock())
            assert held is not None
        config = TrainConfig.from_dict(settings)
        for event in train(config, data_dir=home_with_data.data_dir, run_dir=home_with_data.run_dir(run_id)):
            with db.write() as session:
                recording.record(session, held, event, now=clock())
        with db.write() as session:
            runs.finish(session, held, now=clock())
        return run_id

    yield run
    db.close()


@pytest.fixture
def trained(run_for_real: Callable[..., int]) -> int:
    """A run whose folder holds what real training has saved."""
    return run_for_real(train_size=4096, val_size=500, epochs=2, batch_size=128, normalize=True)
