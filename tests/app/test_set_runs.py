"""Runs on data sets that people brought: which version they name, and what is refused before they are queued."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.trainer.ingest.conftest import arrays
from trainer.ingest import Choices, Upload, convert
from trainer.store import Store

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from app.config import Settings
    from trainer.store import DataSet


@pytest.fixture
def keep(settings: Settings, client: TestClient):
    """Keep a small data set of so many images in three classes."""

    def go(count: int) -> DataSet:
        store = Store(settings.data_dir)
        place = store.workplace()
        images = np.random.default_rng(0).integers(0, 256, (count, 9, 9), np.uint8)
        (place / "a.npz").write_bytes(arrays(images=images, labels=np.arange(count) % 3))
        convert([Upload(place / "a.npz", "a.npz")], Choices(), place / "out")
        return store.accept(place / "out", "bars")

    return go


def test_a_run_names_the_version_that_was_the_newest_when_it_was_queued(client: TestClient, keep):  # noqa: ANN001
    for count in (60, 90):
        keep(count)
    small = {"batch_size": 10}
    first = client.post("/api/v1/runs", json={"dataset": "set:bars", **small}).json()
    assert first["config"]["dataset"] == "set:bars@2"
    keep(120)
    older = client.post("/api/v1/runs", json={"dataset": "set:bars@1", **small}).json()
    assert older["config"]["dataset"] == "set:bars@1"
    assert client.get(f"/api/v1/runs/{first['id']}").json()["config"]["dataset"] == "set:bars@2"


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"dataset": "set:bars@7"}, "dataset", "There is no data set bars, version 7 here. It may have been removed."),
        ({"dataset": "set:boots"}, "dataset", "There is no data set boots here. It may have been removed."),
        ({"class_weights": "1,1"}, "class_weights", "Has 2 numbers, but the data set has 3 classes."),
        ({"batch_size": 64}, "batch_size", "Is larger than the 51 training images there are."),
        ({"image_size": 8}, "image_size", "Net needs at least 16 pixels."),
    ],
)
def test_what_does_not_suit_it_is_refused_at_its_field(
    client: TestClient,
    keep,  # noqa: ANN001
    changes: dict[str, object],
    field: str,
    message: str,
):
    keep(60)
    answer = client.post("/api/v1/runs", json={"dataset": "set:bars", "batch_size": 10} | changes)
    assert answer.status_code == 422
    assert answer.json()["errors"][field] == message
