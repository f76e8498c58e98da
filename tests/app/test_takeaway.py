"""What is taken away from a run can be used elsewhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest

from trainer import sources

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.testclient import TestClient

    from app.config import Settings


@pytest.fixture(scope="module")
def home_with_data(lasting_home: Settings) -> Settings:
    return lasting_home


@pytest.fixture(scope="module")
def client(lasting_client: TestClient) -> TestClient:
    return lasting_client


def loaded(content: bytes) -> Any:
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("arch", ["net", "mlp", "lenet", "resnet", "resnet18"])
def test_the_onnx_file_says_of_every_image_what_the_run_said(
    client: TestClient, run_for_real: Callable[..., int], data_dir: Path, arch: str
):
    run_id = run_for_real(
        **{"train_size": 64, "val_size": 200, "epochs": 1, "batch_size": 32, "precision": "float32"},
        **{"normalize": True, "arch": arch, "ema_decay": 0.9},
    )
    answer = client.get(f"/api/v1/runs/{run_id}/onnx")
    assert answer.headers["content-disposition"] == f'attachment; filename="{arch}-run{run_id}.onnx"'
    session = loaded(answer.content)
    found = sources.load("fashion-mnist", "val", data_dir)
    chosen = sources.subset_indices(len(found), 200)
    (logits,) = session.run(None, {"images": np.ascontiguousarray(found.images[chosen].transpose(0, 3, 1, 2))})
    expected = client.get(f"/runs/{run_id}/samples.csv").text.splitlines()
    columns = expected[0].split(",")
    said = [line.split(",")[columns.index("predicted")] for line in expected[1:]]
    assert [found.classes[place] for place in logits.argmax(1)] == said
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list(found.classes)


def test_the_onnx_file_is_made_once_for_each_state_of_the_weights(
    client: TestClient, trained: int, home_with_data: Settings
):
    folder = home_with_data.run_dir(trained)
    first = client.get(f"/api/v1/runs/{trained}/onnx").content
    (made,) = folder.glob("*.onnx")
    before = made.stat().st_mtime_ns
    assert client.get(f"/api/v1/runs/{trained}/onnx").content == first
    assert made.stat().st_mtime_ns == before
    weights = home_with_data.weights(trained)
    weights.touch()
    assert client.get(f"/api/v1/runs/{trained}/onnx").status_code == 200
    (again,) = folder.glob("*.onnx")
    assert again != made


def test_weights_that_cannot_be_read_leave_nothing_behind(client: TestClient, trained: int, home_with_data: Settings):
    weights = home_with_data.weights(trained)
    weights.write_bytes(weights.read_bytes()[:1000])
    answer = client.get(f"/api/v1/runs/{trained}/onnx")
    assert answer.status_code == 422
    assert "cannot be read" in answer.json()["errors"]["run"]
    assert not [path for path in weights.parent.iterdir() if "onnx" in path.name]


def test_a_run_without_weights_has_no_onnx_file(client: TestClient):
    run_id = client.post("/api/v1/runs", json={}).json()["id"]
    assert client.get(f"/api/v1/runs/{run_id}/onnx").status_code == 404
    client.delete(f"/api/v1/runs/{run_id}")
