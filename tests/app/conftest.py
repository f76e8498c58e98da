"""A web application on a database of its own, asked without a network."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from starlette.testclient import TestClient

from app import recording, runs
from app.config import Settings
from app.db import Database
from app.main import create_app
from tools.server import link_fashion_mnist
from trainer.config import TrainConfig
from trainer.loop import train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import FakeClock
    from trainer.events import Event


@pytest.fixture
def client(home_with_data: Settings, clock: FakeClock) -> Iterator[TestClient]:
    with TestClient(create_app(home_with_data, clock=clock), base_url="http://localhost") as client:
        yield client


@pytest.fixture(scope="module")
def lasting_home(tmp_path_factory: pytest.TempPathFactory, empty_database: Path, data_dir: Path) -> Settings:
    """A home for all tests of a module."""
    settings = Settings(home=tmp_path_factory.mktemp("lasting"), port=0)
    shutil.copyfile(empty_database, settings.database)
    link_fashion_mnist(settings.data_dir, data_dir)
    return settings


@pytest.fixture(scope="module")
def lasting_client(lasting_home: Settings) -> Iterator[TestClient]:
    """Where its helper processes are asked: they take seconds to read torch, once then."""
    with TestClient(create_app(lasting_home), base_url="http://localhost") as client:
        yield client


Training = tuple[list["Event"], "Path"]
"""What a real training has told, and the folder with what it has saved."""


@pytest.fixture(scope="session")
def trainings() -> dict[str, Training]:
    """By their settings: what several tests begin with is trained once."""
    return {}


@pytest.fixture
def run_for_real(
    client: TestClient,
    home_with_data: Settings,
    clock: FakeClock,
    trainings: dict[str, Training],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., int]]:
    """A run of these settings that has been trained to its end, recorded as a worker would; gives its id."""
    db = Database(home_with_data.database)

    def trained(settings: dict[str, object]) -> Training:
        folder = tmp_path_factory.mktemp("trained") / "run"
        config = TrainConfig.from_dict(settings)
        return list(train(config, data_dir=home_with_data.data_dir, run_dir=folder)), folder

    def run(**settings: object) -> int:
        run_id = int(client.post("/api/v1/runs", json=settings).json()["id"])
        with db.write() as session:
            held = runs.claim(session, "w1", now=clock())
        assert held is not None
        assert held.run_id == run_id
        # Data sets of a test's own may be another's by the same name.
        key = tmp_path_factory.mktemp("own").name if "dataset" in settings else json.dumps(settings, sort_keys=True)
        if key not in trainings:
            trainings[key] = trained(settings)
        events, saved = trainings[key]
        shutil.copytree(saved, home_with_data.run_dir(run_id))
        for event in events:
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
