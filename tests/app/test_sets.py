"""Data sets that people brought: versions, the runs that name them, the data card, the way out, and the way away."""

from __future__ import annotations

import io
import re
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from app import runs
from app.db import Database
from tests.app.bringing import as_csv, kept, reading, upload
from trainer import sources

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.testclient import TestClient

    from app.config import Settings
    from tests.conftest import FakeClock

SMALL = {"train_size": 32, "val_size": 8, "batch_size": 16, "epochs": 1}


@pytest.fixture
def shoes(client: TestClient, data_dir: Path) -> dict[str, Any]:
    """A data set of 120 real images, with its card."""
    return kept(client, ("train.csv", as_csv(data_dir, 120, words=True)), source="Zalando", licence="MIT")


def end(settings: Settings, clock: FakeClock, run_id: int) -> None:
    """The run is over, without having trained."""
    db = Database(settings.database)
    with db.write() as session:
        runs.request_cancel(session, run_id, now=clock())
    db.close()


def test_a_run_names_the_version_that_was_the_newest_when_it_was_started(
    client: TestClient, shoes: dict[str, Any], data_dir: Path
):
    first = client.post("/api/v1/runs", json={"dataset": "set:shoes", **SMALL}).json()
    kept(client, ("b.csv", as_csv(data_dir, 50)))
    second = client.post("/api/v1/runs", json={"dataset": "set:shoes", **SMALL}).json()
    old = client.post("/api/v1/runs", json={"dataset": "set:shoes@1", **SMALL}).json()
    assert [run["config"]["dataset"] for run in (first, second, old)] == ["set:shoes@1", "set:shoes@2", "set:shoes@1"]
    told = client.get("/api/v1/datasets/set:shoes@1").json()
    assert (told["versions"], [run["id"] for run in told["runs"]]) == (["set:shoes@2", "set:shoes@1"], [3, 1])
    missing = client.post("/api/v1/runs", json={"dataset": "set:shoes@3", **SMALL})
    assert "There is no data set shoes, version 3" in missing.json()["errors"]["dataset"]


def test_its_page_shows_versions_runs_card_images_and_the_way_to_a_run(
    client: TestClient, shoes: dict[str, Any], data_dir: Path
):
    client.post("/api/v1/runs", json={"name": "on shoes", "dataset": "set:shoes@1", **SMALL})
    kept(client, ("b.csv", as_csv(data_dir, 50)))
    page = client.get("/datasets/set:shoes@1").text
    for words in ("Zalando", "MIT", "on shoes", "Version 2", "Ankle boot", "Train on this", "28 × 28 × 1"):
        assert words in page
    assert client.get("/datasets/set:shoes", follow_redirects=False).headers["location"] == "/datasets/set:shoes@2"
    assert client.get("/datasets/set:shoes@9").status_code == 404
    listed = client.get("/datasets").text
    assert listed.index("shoes, version 2") < listed.index("Older versions") < listed.index("shoes, version 1")
    assert "1 run" in listed
    for strip in re.findall(r'class="strip" src="([^"]+)"', listed):
        assert client.get(strip.replace("&amp;", "&")).headers["content-type"] == "image/png"
    assert client.get("/datasets/set:shoes@1/train/0").status_code == 200
    assert client.get("/datasets/set:shoes@1/train/means.png").status_code == 200


def test_the_form_offers_it_says_what_it_is_and_takes_its_image_size(client: TestClient, data_dir: Path):
    content = as_csv(data_dir, 60)
    address = upload(client, ("a.csv", content))
    reading(client, address)
    client.post(f"{address}/preview", json={"shape": [56, 14, 1]})
    reading(client, address)
    client.post(f"{address}/accept", json={"name": "tall"})
    page = client.get("/runs/new?dataset=set:tall").text
    assert '<optgroup label="Your own">' in page
    assert '<option value="set:tall@1" selected>tall, version 1</option>' in page
    assert "56 × 14 × 1, 10 classes" in page
    assert re.search(r'id="field-image_size"[^>]*value="56"', page)
    assert "preset=fast&dataset=set%3Atall%401" in page


def test_what_is_in_use_is_removed_only_by_who_has_seen_the_runs(
    client: TestClient, shoes: dict[str, Any], home_with_data: Settings, clock: FakeClock
):
    first = client.post("/api/v1/runs", json={"name": "first", "dataset": "set:shoes@1", **SMALL}).json()["id"]
    address = "/api/v1/datasets/set:shoes@1"
    waiting = client.delete(f"{address}?breaks={first}")
    assert (waiting.status_code, "not over yet" in waiting.json()["detail"]) == (409, True)
    assert "cancel first" in client.get("/datasets/set:shoes@1/delete").text
    end(home_with_data, clock, first)
    unseen = client.delete(address)
    assert unseen.status_code == 409
    assert unseen.json()["detail"].startswith(f"Run {first} ")
    page = client.get("/datasets/set:shoes@1/delete").text
    assert "first" in page
    shown = re.search(r'name="breaks" value="([^"]*)"', page)
    assert shown
    second = client.post("/api/v1/runs", json={"dataset": "set:shoes@1", **SMALL}).json()["id"]
    end(home_with_data, clock, second)
    surprised = client.post("/datasets/set:shoes@1/delete", data={"breaks": shown[1]})
    assert (surprised.status_code, f"Run {second} " in surprised.text) == (409, True)
    gone = client.post("/datasets/set:shoes@1/delete", data={"breaks": f"{first},{second}"}, follow_redirects=False)
    assert gone.status_code == 303
    assert client.get(address).status_code == 404
    assert client.get(f"/runs/{first}").status_code == 200
    again = client.post(f"/runs/{first}/again")
    assert again.status_code == 422
    with closing(sqlite3.connect(home_with_data.database)) as connection:
        assert ("removed", "set:shoes@1") in connection.execute("SELECT action, detail FROM audit").fetchall()


def test_fashion_mnist_cannot_be_removed_or_described(client: TestClient):
    for answer in (
        client.delete("/api/v1/datasets/fashion-mnist"),
        client.put("/api/v1/datasets/fashion-mnist/card", json={"source": "x"}),
        client.get("/api/v1/datasets/fashion-mnist/npz"),
    ):
        assert answer.status_code == 404
        assert answer.json()["detail"].startswith("fashion-mnist was not brought here, and only what was has versions")
    assert client.get("/api/v1/datasets/fashion-mnist").json()["train"] == 60_000


def test_the_data_card_can_be_changed(client: TestClient, shoes: dict[str, Any]):
    answer = client.put("/api/v1/datasets/set:shoes@1/card", json={"source": "<b>me</b>", "notes": "New."})
    assert (answer.json()["source"], answer.json()["licence"]) == ("<b>me</b>", "")
    page = client.get("/datasets/set:shoes@1").text
    assert "&lt;b&gt;me" in page
    assert "<b>me" not in page
    assert client.post("/datasets/set:shoes@1/card", data={"licence": "CC0"}, follow_redirects=False).status_code == 303
    assert client.get("/api/v1/datasets/set:shoes@1").json()["licence"] == "CC0"
    long = client.post("/datasets/set:shoes@1/card", data={"licence": "x" * 101})
    assert (long.status_code, "at most 100 characters" in long.text) == (422, True)


def test_the_npz_file_holds_the_data_set_and_its_card(
    client: TestClient, shoes: dict[str, Any], home_with_data: Settings
):
    answer = client.get("/api/v1/datasets/set:shoes@1/npz")
    assert 'filename="shoes-1.npz"' in answer.headers["content-disposition"]
    with np.load(io.BytesIO(answer.content), allow_pickle=False) as packed:
        images, names = packed["train_images"], packed["class_names"]
        assert b"Zalando" in packed["card.json"]
    found = sources.load("set:shoes@1", "train", home_with_data.data_dir)
    assert (images == found.images).all()
    assert tuple(names.tolist()) == found.classes


def test_the_list_names_every_data_set_once(client: TestClient, shoes: dict[str, Any], data_dir: Path):
    kept(client, ("b.csv", as_csv(data_dir, 50)))
    ids = [item["id"] for item in client.get("/api/v1/datasets").json()]
    assert ids == ["fashion-mnist", "set:shoes@2", "set:shoes@1"]


def test_pages_ask_the_database_no_more_for_more_data_sets(client: TestClient, data_dir: Path):
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    asked: list[str] = []
    event.listen(Engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    client.get("/datasets")
    before = len(asked)
    for n in range(3):
        kept(client, ("b.csv", as_csv(data_dir, 30, first=30 * n)))
    asked.clear()
    client.get("/datasets")
    assert len(asked) == before


def test_a_well_known_set_without_a_network_says_so_plainly(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    # No address but this machine's own is asked in a test: the download goes to a port where nobody listens.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert client.post("/datasets/fetch/mnist", follow_redirects=False).status_code == 303
    assert "Fetching …" in client.get("/datasets/new").text
    deadline = time.monotonic() + 60
    while (told := client.get("/api/v1/fetches").json()[0])["busy"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert told["name"] == "mnist"
    assert "MNIST could not be downloaded" in told["error"]
    assert "needs a network" in client.get("/datasets/new").text
    assert client.post("/api/v1/fetches/imagenet").status_code == 422
