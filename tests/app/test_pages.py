"""The pages without JavaScript: what a browser gets, and what its forms do."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import event as sqlalchemy_event
from starlette.testclient import TestClient

from app import pages, recording, runs
from app.db import Database
from app.main import create_app
from app.models import EpochPredictions
from tests.app import factories
from trainer import sources
from trainer.config import OPTIONS

if TYPE_CHECKING:
    from pathlib import Path

    from app.config import Settings
    from tests.conftest import FakeClock

EVIL = "<script>alert(1)</script>\"'&"


@pytest.fixture
def db(client: TestClient, home_with_data: Settings) -> Database:
    return Database(home_with_data.database)


def with_history(client: TestClient, db: Database, clock: FakeClock, **fields: object) -> int:
    """A finished run with two epochs of predictions on 100 validation images."""
    run_id = int(client.post("/api/v1/runs", json={"val_size": 100, **fields}).json()["id"])
    with db.write() as session:
        held = runs.claim(session, "w1", now=clock())
        assert held is not None
        recording.record(session, held, factories.started(), now=clock())
        for number in (1, 2):
            recording.record(session, held, factories.steps(number, 0, 0.9, 0.8), now=clock())
            recording.record(session, held, factories.epoch(number, predictions=100), now=clock())
        runs.finish(session, held, now=clock())
    return run_id


@pytest.mark.parametrize("path", ["/runs", "/runs/new", "/compare", "/healthz"])
def test_every_page_stands_on_an_empty_database(client: TestClient, path: str):
    assert client.get(path).status_code == 200


def test_the_first_page_invites_to_the_first_run(client: TestClient):
    assert "Start the first run" in client.get("/").text


def test_the_forms_defaults_are_the_tutorials(client: TestClient):
    page = client.get("/runs/new").text
    values = dict(re.findall(r'name="(\w+)" aria-describedby[^>]*value="([^"]*)"', page))
    assert values["epochs"] == "20"
    assert values["batch_size"] == "256"
    assert values["lr"] == "0.001"
    assert values["num_workers"] == "4"
    assert values["dropout"] == "0.3"
    assert set(OPTIONS) <= set(re.findall(r'name="(\w+)"', page))


def test_the_form_starts_a_run(client: TestClient):
    answer = client.post("/runs", data={"name": "mine", "epochs": "2", "train_size": ""}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs/1")
    page = client.get("/runs/1").text
    assert "mine" in page
    assert "Waiting for a free worker" in page


def test_a_bad_form_comes_back_with_what_was_typed_and_stores_nothing(client: TestClient):
    answer = client.post("/runs", data={"name": EVIL, "epochs": "many", "lr": EVIL})
    assert answer.status_code == 422
    assert "Must be a whole number." in answer.text
    assert 'href="#field-epochs"' in answer.text
    assert 'value="many"' in answer.text
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text
    assert client.get("/api/v1/runs").json()["total"] == 0


@pytest.mark.parametrize("name", list(OPTIONS))
@pytest.mark.parametrize("text", ["-1", "9" * 400, "NaN", "text", "x" * 10_000, "<script>"])
def test_every_field_of_the_form_refuses_nonsense_at_its_place(client: TestClient, name: str, text: str):
    answer = client.post("/runs", data={name: text})
    assert answer.status_code == 422
    assert f'id="error-{name}"' in answer.text
    assert client.get("/api/v1/runs").json()["total"] == 0


def test_a_full_queue_gives_the_form_back_with_what_was_typed(home_with_data: Settings):
    full = create_app(home_with_data.model_copy(update={"queue_limit": 1}))
    with TestClient(full, base_url="http://localhost") as client:
        assert client.post("/runs", data={"epochs": "3"}, follow_redirects=False).status_code == 303
        answer = client.post("/runs", data={"epochs": "7", "name": "my next"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
    assert "its limit of 1" in answer.text
    assert 'value="my next"' in answer.text


def test_a_form_with_fields_nobody_asked_for_is_refused_by_name(client: TestClient):
    answer = client.post("/runs", data={"epoch": "3"})
    assert answer.status_code == 422
    assert "epoch: Is not a setting of a run." in answer.text


def test_text_from_people_is_only_ever_text(client: TestClient, db: Database, clock: FakeClock):
    run_id = with_history(client, db, clock, name=EVIL, tags=[EVIL], notes=EVIL)
    for path in (f"/runs/{run_id}", "/runs", f"/runs/{run_id}/delete", f"/compare?runs={run_id}", f"/runs?q={EVIL}"):
        assert "<script>alert" not in client.get(path).text, path


def test_a_runs_page_shows_its_history_and_its_images(client: TestClient, db: Database, clock: FakeClock):
    page = client.get(f"/runs/{with_history(client, db, clock)}").text
    assert len(re.findall(r'data-epoch="\d+"', page)) == 2
    assert page.count("<figure>") == 80
    assert "Finished all 2 epochs." in page
    assert "after epoch 2" in page


def test_mistakes_are_the_wrong_ones_only(client: TestClient, db: Database, clock: FakeClock):
    run_id = with_history(client, db, clock)
    grid = client.get(f"/api/v1/runs/{run_id}/predictions?show=mistakes&epoch=1").json()
    assert len(grid["items"]) == 40
    assert not any(item["correct"] for item in grid["items"])
    assert grid["epoch"] == 1


def test_a_cell_of_the_confusion_matrix_leads_to_just_its_images(client: TestClient, db: Database, clock: FakeClock):
    run_id = with_history(client, db, clock)
    told = client.get(f"/api/v1/runs/{run_id}/confusion").json()
    assert told["epoch"] == 2
    assert sum(map(sum, told["matrix"])) == 100
    true, said = next((t, s) for t, row in enumerate(told["matrix"]) for s, n in enumerate(row) if t != s and n > 1)
    items = client.get(f"/api/v1/runs/{run_id}/predictions?show={true}-{said}").json()["items"]
    assert len(items) == told["matrix"][true][said]
    assert {(item["true"], item["predicted"]) for item in items} == {(true, said)}
    page = client.get(f"/runs/{run_id}?show={true}-{said}").text
    assert f"{sources.FASHION_MNIST[true]} as {sources.FASHION_MNIST[said]}</a>" in page
    assert page.count('<li class="wrong"') == len(items)


def test_scores_by_class_are_those_of_the_recorded_predictions(
    client: TestClient, db: Database, clock: FakeClock, data_dir: Path
):
    """The factory says class i % 10 of image i, whatever it is."""
    told = client.get(f"/api/v1/runs/{with_history(client, db, clock)}/confusion?epoch=1").json()
    truth = sources.load("fashion-mnist", "val", data_dir).labels[sources.subset_indices(10_000, 100)]
    said = np.arange(100) % 10
    for label, row in enumerate(told["classes"]):
        hits = int(((truth == label) & (said == label)).sum())
        assert row["support"] == (truth == label).sum()
        assert row["precision"] == pytest.approx(hits / 10)
        assert row["recall"] == pytest.approx(hits / row["support"])


def test_calibration_sorts_predictions_by_confidence(
    client: TestClient, db: Database, clock: FakeClock, data_dir: Path
):
    """The factory is always entirely sure."""
    told = client.get(f"/api/v1/runs/{with_history(client, db, clock)}/calibration").json()
    truth = sources.load("fashion-mnist", "val", data_dir).labels[sources.subset_indices(10_000, 100)]
    right = int((truth == np.arange(100) % 10).sum())
    assert [(item["right"], item["wrong"]) for item in told["bins"]] == [(0, 0)] * 9 + [(right, 100 - right)]
    assert told["error"] == pytest.approx(1 - right / 100)
    assert "Expected calibration error" in client.get(f"/runs/{1}").text


def test_hard_images_are_shown_by_kind_and_as_csv(client: TestClient, db: Database, clock: FakeClock, data_dir: Path):
    """The factory says the same in both epochs: what is wrong is always wrong, and nothing is forgotten."""
    run_id = with_history(client, db, clock)
    truth = sources.load("fashion-mnist", "val", data_dir).labels[sources.subset_indices(10_000, 100)]
    wrong = int((truth != np.arange(100) % 10).sum())
    page = client.get(f"/runs/{run_id}/hard").text
    assert f"<b>{wrong}</b> images" in page
    assert page.count("wrong 2 of 2 times</span>") == wrong
    assert "<b>0</b> images" in client.get(f"/runs/{run_id}/hard?kind=forgotten").text
    # Of a class that it never said rightly nobody knows how sure it usually is.
    said = np.arange(100) % 10
    suspected = int(((truth != said) & np.isin(said, said[truth == said])).sum())
    assert client.get(f"/runs/{run_id}/hard?kind=labels").text.count('class="wrong"') == suspected
    lines = client.get(f"/runs/{run_id}/samples.csv").text.splitlines()
    assert lines[0].startswith("index,true,predicted,confidence,times_wrong")
    assert len(lines) == 101
    assert sum(line.split(",")[4] == "2" for line in lines[1:]) == wrong


def test_a_run_without_predictions_has_no_hard_images_yet(client: TestClient):
    run_id = client.post("/api/v1/runs", json={}).json()["id"]
    assert "They come with the first epoch." in client.get(f"/runs/{run_id}/hard").text
    assert client.get(f"/runs/{run_id}/samples.csv").status_code == 404


def test_a_runs_page_looks_back_to_an_epoch(client: TestClient, db: Database, clock: FakeClock):
    run_id = with_history(client, db, clock)
    assert "after epoch 1" in client.get(f"/runs/{run_id}?epoch=1").text
    later = client.get(f"/runs/{run_id}?epoch=7")
    assert later.status_code == 200
    assert client.get(f"/runs/{run_id}/confusion?epoch=7").status_code == 404


@pytest.mark.parametrize("show", ["99-3", "12345-0"])
def test_a_cell_that_there_is_not_shows_nothing_and_breaks_nothing(
    client: TestClient, db: Database, clock: FakeClock, show: str
):
    run_id = with_history(client, db, clock)
    assert client.get(f"/runs/{run_id}?show={show}").status_code == 200
    assert client.get(f"/api/v1/runs/{run_id}/predictions?show={show}").json()["items"] == []


def test_a_preset_fills_the_form(client: TestClient):
    page = client.get("/runs/new?preset=accurate-resnet").text
    assert '<option value="resnet" selected>' in page
    assert re.search(r'data-preset="accurate-resnet" aria-current="true"', page)
    assert client.get("/runs/new?preset=none").text == client.get("/runs/new").text


def test_a_field_that_means_nothing_beside_the_others_is_hidden(client: TestClient):
    page = client.get("/runs/new").text
    fields = re.findall(r'<div class="field "([^>]*)>\s*<label for="field-(\w+)"', page)
    hidden = {name for attributes, name in fields if attributes.rstrip().endswith("hidden")}
    assert {"momentum", "nesterov", "step_epochs", "mix_alpha", "resnet_width", "csv_shape"} <= hidden
    assert not hidden & {"lr", "epochs", "schedule", "flip", "device"}


def test_a_csv_data_set_is_offered_run_and_seen(client: TestClient, home_with_data: Settings, data_dir: Path):
    folder = home_with_data.data_dir / "csv" / "shoes"
    folder.mkdir(parents=True)
    assert "shoes" not in client.get("/runs/new").text
    refused = client.post("/api/v1/runs", json={"dataset": "csv:shoes"})
    assert refused.json()["errors"] == {"dataset": "There is no data set csv:shoes."}
    (folder / "train.csv").write_text("".join(f"{n % 2},{','.join([str(n)] * 6)}\n" for n in range(24)))
    assert '<option value="csv:shoes"' in client.get("/runs/new").text
    fields = {"dataset": "csv:shoes", "csv_shape": "2x3", "batch_size": 4, "epochs": 1}
    run_id = client.post("/api/v1/runs", json=fields).json()["id"]
    assert "train.csv is read when a run on it starts" in client.get(f"/runs/{run_id}").text
    sources.load("csv:shoes", "train", home_with_data.data_dir, csv_shape="2x3")
    page = client.get(f"/runs/{run_id}").text
    address = re.search(r'href="(/datasets/csv:shoes/train/sprite.png[^"]+)"', page)
    assert address
    picture = Image.open(io.BytesIO(client.get(address[1].replace("&amp;", "&")).content))
    # Images of 2 x 3 stand in cells of 3 x 3, ten a row.
    assert picture.size == (30, 6)


def test_weights_are_downloaded_once_there_are_some(
    client: TestClient, db: Database, clock: FakeClock, home_with_data: Settings
):
    run_id = with_history(client, db, clock)
    assert client.get(f"/api/v1/runs/{run_id}/weights").status_code == 404
    path = home_with_data.weights(run_id)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    answer = client.get(f"/api/v1/runs/{run_id}/weights")
    assert answer.content == b"weights"
    assert f"net-run{run_id}.safetensors" in answer.headers["content-disposition"]


def test_a_prediction_names_the_images_own_class(client: TestClient, db: Database, clock: FakeClock, data_dir: Path):
    run_id = with_history(client, db, clock)
    labels = sources.load("fashion-mnist", "val", data_dir).labels
    for item in client.get(f"/api/v1/runs/{run_id}/predictions").json()["items"]:
        assert item["true"] == labels[item["index"]]
        assert item["true_name"] == sources.FASHION_MNIST[item["true"]]


def test_a_sprite_holds_its_images_row_by_row(client: TestClient, data_dir: Path):
    images = sources.load("fashion-mnist", "train", data_dir).images
    chosen = [0, 5, 59_999, *range(10, 22)]
    answer = client.get(f"/datasets/fashion-mnist/train/sprite.png?indices={','.join(map(str, chosen))}")
    assert "immutable" in answer.headers["cache-control"]
    sheet = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert sheet.shape == (56, 280)
    for place, index in enumerate(chosen):
        row, column = divmod(place, 10)
        cell = sheet[row * 28 : row * 28 + 28, column * 28 : column * 28 + 28]
        assert (cell == images[index, :, :, 0]).all()
    assert (sheet[28:, 5 * 28 :] == 0).all()


def test_a_single_image_is_the_one_in_the_file(client: TestClient, data_dir: Path):
    picture = np.asarray(Image.open(io.BytesIO(client.get("/datasets/fashion-mnist/val/images/7.png").content)))
    assert (picture == sources.load("fashion-mnist", "val", data_dir).images[7, :, :, 0]).all()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/datasets/fashion-mnist/val/images/10000.png", 404),
        ("/datasets/fashion-mnist/val/images/-1.png", 404),
        ("/datasets/other/val/images/1.png", 404),
        ("/datasets/fashion-mnist/test/images/1.png", 404),
        ("/datasets/fashion-mnist/val/sprite.png?indices=", 422),
        ("/datasets/fashion-mnist/val/sprite.png?indices=1,x", 422),
        ("/datasets/fashion-mnist/val/sprite.png?indices=1,10000", 404),
        ("/datasets/fashion-mnist/val/sprite.png", 422),
        ("/runs/9", 404),
        ("/runs/nine", 404),
        ("/runs/9/delete", 404),
        ("/runs/new?from=9", 404),
        ("/nothing", 404),
        ("/static/x/../../pyproject.toml", 404),
        ("/static/x/..%2f..%2fpyproject.toml", 404),
        ("/static/x/css", 404),
        ("/static/x/a%00b", 404),
        ("/assets/plotly-0.min.js", 404),
    ],
)
def test_a_wrong_address_is_an_error_page_in_words(client: TestClient, path: str, status: int):
    answer = client.get(path)
    assert answer.status_code == status
    assert "<h1>" in answer.text
    assert "Traceback" not in answer.text


def test_running_again_fills_the_form_with_the_runs_settings(client: TestClient, db: Database, clock: FakeClock):
    run_id = with_history(client, db, clock, lr=0.00025, optimizer="sgd", notes="why")
    page = client.get(f"/runs/new?from={run_id}").text
    assert 'value="0.00025"' in page
    assert '<option value="sgd" selected>' in page
    again = client.post(f"/runs/{run_id}/again", follow_redirects=False)
    copy = client.get(f"/api/v1{again.headers['location']}").json()
    assert copy["status"] == "queued"
    assert copy["config"] == client.get(f"/api/v1/runs/{run_id}").json()["config"]


def test_a_queued_run_is_cancelled_and_then_deleted_by_its_forms(client: TestClient):
    client.post("/api/v1/runs", json={"name": "unwanted"})
    assert "Cancelled before it started." in client.post("/runs/1/cancel").text
    assert "Delete “unwanted”?" in client.get("/runs/1/delete").text
    assert "No runs yet" in client.post("/runs/1/delete").text


def test_a_run_that_is_not_over_is_not_deleted(client: TestClient, db: Database, clock: FakeClock):
    client.post("/api/v1/runs", json={})
    with db.write() as session:
        runs.claim(session, "w1", now=clock())
    answer = client.post("/runs/1/delete")
    assert answer.status_code == 409
    assert "cancel it before deleting it" in answer.text


def test_two_runs_are_held_against_each_other_on_the_same_images(
    client: TestClient, db: Database, clock: FakeClock, data_dir: Path
):
    first, second = with_history(client, db, clock, name="one"), with_history(client, db, clock, name="other")
    truth = sources.load("fashion-mnist", "val", data_dir).labels[sources.subset_indices(10_000, 100)]
    with db.write() as session:
        recorded = session.get_one(EpochPredictions, (second, 2))
        recorded.classes = truth.astype(np.uint8).tobytes()  # the other one knows everything
    right = int((truth == np.arange(100) % 10).sum())
    assert "/compare/images" in client.get(f"/compare?runs={first}&runs={second}").text
    page = client.get(f"/compare/images?runs={first}&runs={second}&kind=second").text
    assert "The difference is larger than chance would give" in page
    assert f"Both are right on {right} images, none of them on 0." in page
    assert f"Only B is right <b>{100 - right}</b>" in page
    assert page.count('class="said good">B ✓') == min(40, 100 - right)
    alike = client.get(f"/compare/images?runs={first}&runs={first}").text
    assert "They are right equally often." in alike


def test_two_runs_on_different_images_cannot_be_held_against_each_other(
    client: TestClient, db: Database, clock: FakeClock
):
    first = with_history(client, db, clock)
    queued = client.post("/api/v1/runs", json={"val_size": 50}).json()["id"]
    assert "has not done an epoch yet" in client.get(f"/compare/images?runs={first}&runs={queued}").text
    assert client.get(f"/compare/images?runs={first}").status_code == 422
    assert client.get(f"/compare/images?runs={first}&runs=99").status_code == 404


def test_the_table_is_paged(client: TestClient):
    for _ in range(51):
        client.post("/api/v1/runs", json={})
    first, second = client.get("/runs").text, client.get("/runs?page=2").text
    assert (first.count("data-run-id"), second.count("data-run-id")) == (50, 1)
    assert 'href="/runs?page=2"' in first
    assert 'rel="prev"' in second


@pytest.mark.parametrize("path", ["/runs", "/runs/1", "/compare?runs=1&runs=2&runs=3"])
def test_a_page_asks_the_database_as_often_for_many_runs_as_for_few(
    client: TestClient, db: Database, clock: FakeClock, path: str
):
    def queries() -> int:
        asked = 0

        def count(*_: object) -> None:
            nonlocal asked
            asked += 1

        engine = client.app.state.fitroom.db._readers  # type: ignore[attr-defined]
        sqlalchemy_event.listen(engine, "before_cursor_execute", count)
        client.get(path)
        sqlalchemy_event.remove(engine, "before_cursor_execute", count)
        return asked

    for _ in range(3):
        with_history(client, db, clock, tags=["a", "b"])
    few = queries()
    for _ in range(20):
        with_history(client, db, clock, tags=["a", "b"])
    assert queries() == few
    assert few <= 12


def test_a_data_set_that_is_missing_does_not_take_the_page_with_it(
    client: TestClient, db: Database, clock: FakeClock, home_with_data: Settings
):
    run_id = with_history(client, db, clock)
    (home_with_data.data_dir / "FashionMNIST").unlink()
    from app.looking.images import _image_set

    _image_set.cache_clear()
    page = client.get(f"/runs/{run_id}")
    assert page.status_code == 200
    assert "Run `make data`" in page.text


def test_every_answer_carries_the_security_headers(client: TestClient):
    for path in ("/runs", "/nothing", "/healthz", "/api/v1/runs"):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_plotly_is_served_from_its_package_and_compressed(client: TestClient):
    client.post("/api/v1/runs", json={})
    (address,) = re.findall(r'"(/assets/plotly[^"]+)"', client.get("/runs/1").text)
    packed = client.get(address)
    assert packed.headers["content-encoding"] == "gzip"
    assert "immutable" in packed.headers["cache-control"]
    assert packed.content == client.get(address, headers={"accept-encoding": "identity"}).content


def test_every_address_of_a_stylesheet_or_module_leads_somewhere(client: TestClient):
    seen, todo = set(), ["/runs", "/runs/new", "/compare"]
    client.post("/api/v1/runs", json={})
    todo.append("/runs/1")
    while todo:
        path = todo.pop()
        text = client.get(path).text
        found = re.findall(r'(?:src|href)="(/(?:static|assets)/[^"]+)"', text)
        base = path.rpartition("/")[0]
        found += [
            f"{base}/{name}"
            for name in re.findall(r'(?:from|import) "\./([^"]+)"|@import "([^"]+)"', text)
            for name in name
            if name
        ]
        for address in found:
            if address not in seen:
                seen.add(address)
                assert client.get(address).status_code == 200, address
                if address.endswith((".js", ".css")) and "plotly" not in address:
                    todo.append(address)
    assert any(address.endswith("js/curves.js") for address in seen)


def test_a_page_names_all_modules_that_it_needs():
    """What it did not name would be fetched one after the other."""
    folder = pages.STATIC / "js"
    named = {address.rpartition("/js/")[2] for address in pages.modules("js/compare.js")}
    assert {"compare.js", "compare/curves.js", "plot/lines.js", "plot/thin.js", "colors.js", "hub.js"} <= named
    imports = re.compile(r'^import .*from "(.+)";', re.MULTILINE)
    wanted = [(folder / name).parent / path for name in named for path in imports.findall((folder / name).read_text())]
    assert {str(path.resolve().relative_to(folder)) for path in wanted} <= named


@pytest.mark.parametrize(
    ("path", "form", "words"),
    [
        ("/runs/views", {"name": "a/b", "address": ""}, "Must be 1 to 60 characters"),
        ("/runs/views", {"name": "good", "address": "sort=nonsense"}, "There is no column"),
    ],
)
def test_a_form_that_is_refused_on_a_page_of_its_own_says_what_is_wrong(
    client: TestClient, path: str, form: dict[str, str], words: str
):
    answer = client.post(path, data=form)
    assert answer.status_code == 422
    assert words in answer.text


def test_a_run_with_settings_of_a_newer_version_still_has_a_page(client: TestClient, db: Database, clock: FakeClock):
    run_id = with_history(client, db, clock)
    with db.write() as session:
        run = runs.get(session, run_id)
        run.config = {**run.config, "of_a_newer_version": 1}
    page = client.get(f"/runs/{run_id}")
    assert page.status_code == 200
    assert "has settings that this version cannot read" in page.text
    assert client.get(f"/runs/{run_id}/hard").status_code == 200
    assert client.get(f"/api/v1/runs/{run_id}/predictions").status_code == 409
    assert client.get(f"/compare?runs={run_id}").status_code == 200
