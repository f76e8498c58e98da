"""What the API says of itself: names that stay, examples that work, and errors of one shape everywhere."""

from __future__ import annotations

import json
import re
import shlex
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient

from app.config import Settings
from app.main import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Clients are generated from these and call them by name. One may be added; one that is renamed or gone breaks them.
OPERATIONS = """
accept_upload announce_upload ask_offset cancel_run change_runs compare_curves compare_importance compare_series
compare_runs compare_steps delete_dataset delete_run delete_view describe_dataset describe_network discard_upload
edit_run export_epochs export_runs export_runs_tensorboard export_series export_steps export_tensorboard fetch_dataset
get_calibration get_confusion get_dataset get_metrics get_npz get_onnx get_predictions get_run get_script get_series
get_steps get_upload get_weights list_datasets list_fetches list_presets list_runs list_uploads list_views
predict_image preview_augmentation read_upload save_view send_piece stream_many stream_run stream_runs submit_run
"""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(home=tmp_path, port=0)), base_url="http://localhost") as client:
        yield client


def operations(client: TestClient) -> dict[str, dict[str, Any]]:
    paths = client.get("/api/v1/openapi.json").json()["paths"]
    found = [told for item in paths.values() for told in item.values()]
    assert len(found) == len({told["operationId"] for told in found})
    return {told["operationId"]: told for told in found}


def test_operations_keep_their_names(client: TestClient):
    assert set(operations(client)) == set(OPERATIONS.split())


def test_every_operation_says_what_it_does(client: TestClient):
    silent = [name for name, told in operations(client).items() if not told.get("description")]
    assert silent == []


def test_the_page_has_every_operation_and_needs_no_script(client: TestClient):
    page = client.get("/api").text
    for name in operations(client):
        assert f'id="{name}"' in page
    assert "text</td>" not in page
    assert page.count("<script") == 1  # the theme's own


def test_the_examples_of_asking_are_answered(client: TestClient):
    """Those that read something and need no run to be there; each is the command that the page shows."""
    asked = 0
    for text in re.findall(r"<code>(curl .*?)</code>", client.get("/api").text, re.DOTALL):
        words = shlex.split(unescape(text))
        path = words[-1].removeprefix("http://localhost")
        if "-X" in words or re.search(r"/1\b|/ID\b|runs=1|follow|/events|datasets/|augmented", path):
            continue
        assert client.get(path).status_code == 200, text
        asked += 1
    assert asked >= 7


@pytest.mark.parametrize(("path", "status"), [("/api/v1/runs", 201), ("/api/v1/runs/bulk", 200)])
def test_the_example_of_a_body_is_taken_as_it_stands(client: TestClient, path: str, status: int):
    (text,) = re.findall(rf"<code>(curl -X POST [^<]*{path})</code>", client.get("/api").text)
    words = shlex.split(unescape(text))
    body = json.loads(words[words.index("-d") + 1])
    assert client.post(path, json=body).status_code == status


@pytest.mark.parametrize(
    ("method", "path", "sent", "status"),
    [
        ("GET", "/api/v1/nothing", {}, 404),
        ("GET", "/api/v2/runs", {}, 404),
        ("GET", "/api/nothing", {}, 404),
        ("GET", "/api/v1/runs/9", {}, 404),
        ("GET", "/api/v1/runs.xls", {}, 404),
        ("PUT", "/api/v1/runs", {}, 405),
        ("DELETE", "/api/v1/presets", {}, 405),
        ("POST", "/api/v1/openapi.json", {}, 405),
        ("GET", "/api/v1/runs?page=x", {}, 422),
        ("GET", "/api/v1/runs?filter=lr <", {}, 422),
        ("POST", "/api/v1/runs", {"json": {"epochs": 0}}, 422),
        ("POST", "/api/v1/runs", {"content": b"{"}, 400),
        ("POST", "/api/v1/runs", {"content": b" " * 300_000}, 413),
        ("POST", "/api/v1/runs", {"json": {}, "headers": {"Sec-Fetch-Site": "cross-site"}}, 403),
        ("GET", "/api/v1/runs", {"headers": {"Host": "evil.example"}}, 400),
    ],
)
def test_every_error_under_api_is_a_problem(
    client: TestClient, method: str, path: str, sent: dict[str, Any], status: int
):
    answer = client.request(method, path, **sent)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["type"]) == (status, "about:blank")
    assert problem["title"]
    assert problem["detail"].endswith((".", ")"))


def test_who_is_not_signed_in_gets_a_problem_too(tmp_path: Path):
    settings = Settings(home=tmp_path, port=0, token="a secret of some length")
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        answer = client.get("/api/v1/runs")
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
