"""The JSON API: what comes back, and what is refused."""

from __future__ import annotations

import json
import sqlite3
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest
from starlette.testclient import TestClient

from app import recording, runs
from app.config import Settings
from app.db import READERS_AT_ONCE, Database
from app.main import create_app
from tests.app import factories
from trainer.config import OPTIONS

if TYPE_CHECKING:
    from tests.conftest import FakeClock


@pytest.fixture
def db(client: TestClient, home_with_data: Settings) -> Database:
    """The database of the application."""
    return Database(home_with_data.database)


def submit(client: TestClient, **fields: object) -> int:
    answer = client.post("/api/v1/runs", json=fields)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


def finish(db: Database, clock: FakeClock, epochs: int = 2) -> None:
    with db.write() as session:
        held = runs.claim(session, "w1", now=clock())
        assert held is not None
        recording.record(session, held, factories.started(), now=clock())
        for number in range(1, epochs + 1):
            recording.record(session, held, factories.steps(number, 0, 0.9, 0.8, 0.7, 0.6), now=clock())
            recording.record(session, held, factories.epoch(number), now=clock())
        runs.finish(session, held, now=clock())


def test_a_submitted_run_is_there_under_its_location(client: TestClient):
    answer = client.post("/api/v1/runs", json={"name": "first", "epochs": 3, "tags": ["a"]})
    run = client.get(answer.headers["location"]).json()
    assert (run["name"], run["status"], run["config"]["epochs"], run["tags"]) == ("first", "queued", 3, ["a"])


def test_errors_come_by_field_as_problem_json(client: TestClient):
    answer = client.post("/api/v1/runs", json={"epochs": 0, "lr": "abc"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"] == {
        "epochs": "Must be at least 1.",
        "lr": "Must be a number, such as 0.001 or 1e-3.",
    }
    assert client.get("/api/v1/runs").json()["total"] == 0


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"a":' * 50_000, b'{"epochs": ' + b"9" * 5000 + b"}"]
)
def test_a_body_that_is_no_json_object_is_refused(client: TestClient, body: bytes):
    answer = client.post("/api/v1/runs", content=body)
    assert answer.status_code == 400
    assert "JSON" in answer.json()["detail"]


def test_numbers_that_json_does_not_have_are_refused_at_their_field(client: TestClient):
    answer = client.post("/api/v1/runs", content=b'{"lr": NaN, "dropout": 1e999}')
    assert set(answer.json()["errors"]) == {"lr", "dropout"}


@pytest.mark.parametrize(
    "headers", [{}, {"transfer-encoding": "chunked"}], ids=["by its Content-Length", "by what really comes"]
)
def test_a_body_over_the_limit_is_refused(client: TestClient, headers: dict[str, str]):
    def parts():  # noqa: ANN202
        for _ in range(64):
            yield b" " * 10_000

    answer = client.post("/api/v1/runs", content=parts() if headers else b" " * 640_000)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/api/v1/runs/9"),
        ("get", "/api/v1/runs/9/metrics"),
        ("get", "/api/v1/runs/9/predictions"),
        ("get", "/api/v1/runs/9/events"),
        ("post", "/api/v1/runs/9/cancel"),
        ("delete", "/api/v1/runs/9"),
        ("get", "/api/v1/runs/nine"),
        ("get", "/api/v1/nothing"),
        ("get", "/api/v1/runs/99999999999999999999999"),
    ],
)
def test_what_is_not_there_is_a_404_problem(client: TestClient, method: str, path: str):
    answer = client.request(method, path)
    assert answer.status_code == 404
    assert answer.json()["status"] == 404
    assert answer.json()["detail"].endswith(".")


def test_metrics_are_those_that_were_recorded(client: TestClient, db: Database, clock: FakeClock):
    run_id = submit(client, epochs=2)
    finish(db, clock)
    found = client.get(f"/api/v1/runs/{run_id}/metrics").json()
    assert [row["epoch"] for row in found["epochs"]] == [1, 2]
    assert found["steps"][1] == {"epoch": 2, "first_step": 4, "attempt": 1, "losses": [0.9, 0.8, 0.7, 0.6]}


def test_the_stream_of_an_ended_run_tells_everything_and_ends(client: TestClient, db: Database, clock: FakeClock):
    run_id = submit(client, epochs=2)
    finish(db, clock)
    events = [line for line in client.get(f"/api/v1/runs/{run_id}/events").text.splitlines() if line]
    assert [line for line in events if line == "event: epoch"] == ["event: epoch"] * 2
    last = next(json.loads(line[6:]) for line in reversed(events) if line.startswith("data: "))
    assert last["run"]["status"] == "finished"


def test_a_reconnect_after_the_end_is_told_to_stop(client: TestClient, db: Database, clock: FakeClock):
    run_id = submit(client, epochs=2)
    finish(db, clock)
    cursor = client.get(f"/api/v1/runs/{run_id}/metrics").json()["cursor"]
    address = f"/api/v1/runs/{run_id}/events"
    assert client.get(address, headers={"Last-Event-ID": str(cursor)}).status_code == 204
    assert client.get(f"{address}?after={cursor}").status_code == 204


def test_a_reconnect_goes_on_after_the_last_event_it_has(client: TestClient, db: Database, clock: FakeClock):
    run_id = submit(client, epochs=2)
    finish(db, clock)
    address = f"/api/v1/runs/{run_id}/events"
    whole = client.get(address).text
    ids = [line[4:] for line in whole.splitlines() if line.startswith("id: ")]
    assert ids == sorted(ids, key=int)
    for place, seen in enumerate(ids[:-1]):
        rest = client.get(address, headers={"Last-Event-ID": seen}).text
        assert [line[4:] for line in rest.splitlines() if line.startswith("id: ")] == ids[place + 1 :]


def test_a_preset_gives_way_to_what_is_said_beside_it(client: TestClient):
    run = client.post("/api/v1/runs", json={"preset": "accurate", "epochs": 2}).json()
    assert (run["config"]["epochs"], run["config"]["flip"], run["config"]["optimizer"]) == (2, True, "adamw")
    refused = client.post("/api/v1/runs", json={"preset": "best"})
    assert set(refused.json()["errors"]) == {"preset"}
    presets = client.get("/api/v1/presets").json()
    assert [preset["name"] for preset in presets] == ["tutorial", "fast", "accurate", "accurate-resnet"]
    for preset in presets:
        assert client.post("/api/v1/runs", json=preset["changes"]).status_code == 201


def test_a_network_is_described_before_it_is_trained(client: TestClient):
    told = client.post("/api/v1/network", json={"arch": "mlp", "mlp_width": 10, "mlp_depth": 1}).json()
    assert told["parameters"] == 784 * 10 + 10 + 10 * 10 + 10
    assert [layer["kind"] for layer in told["layers"]] == ["Flatten", "Linear", "ReLU", "Dropout", "Linear"]
    assert told["layers"][1]["flops"] == 2 * 784 * 10
    refused = client.post("/api/v1/network", json={"arch": "mlp", "mlp_width": 0})
    assert set(refused.json()["errors"]) == {"mlp_width"}


def test_cancelling_twice_is_a_conflict(client: TestClient):
    run_id = submit(client)
    assert client.post(f"/api/v1/runs/{run_id}/cancel").json()["status"] == "cancelled"
    again = client.post(f"/api/v1/runs/{run_id}/cancel")
    assert (again.status_code, again.json()["detail"]) == (409, f"Run {run_id} has already ended: cancelled.")


def test_deleting_a_run_deletes_its_folder(client: TestClient, home_with_data: Settings):
    run_id = submit(client)
    folder = home_with_data.run_dir(run_id)
    folder.mkdir(parents=True)
    client.post(f"/api/v1/runs/{run_id}/cancel")
    assert client.delete(f"/api/v1/runs/{run_id}").status_code == 204
    assert client.get(f"/api/v1/runs/{run_id}").status_code == 404
    assert not folder.exists()


def test_runs_are_filtered_searched_and_sorted(client: TestClient):
    for name, lr, tags in (("cat", 0.1, ["x"]), ("dog", 0.001, ["y"]), ("bird", 0.01, ["x", "cat"])):
        submit(client, name=name, lr=lr, tags=tags)
    client.post("/api/v1/runs/1/cancel")

    def names(query: str) -> list[str]:
        return [run["name"] for run in client.get(f"/api/v1/runs?{query}").json()["runs"]]

    assert names("") == ["bird", "dog", "cat"]
    assert names("sort=lr") == ["dog", "bird", "cat"]
    assert names("sort=-lr") == ["cat", "bird", "dog"]
    assert names("q=CAT") == ["bird", "cat"]
    assert names("q=cat+bird") == ["bird"]
    assert names("status=queued") == ["bird", "dog"]
    assert names("q=%25") == []
    assert names("filter=tag+%3D+x+and+lr+<+0.1") == ["bird"]
    refused = client.get("/api/v1/runs?sort=-evil&filter=lr+<+many")
    assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")
    assert refused.json()["errors"] == {
        "sort": "There is no column “evil” to sort by.",
        "filter": "lr is a number, such as 0.001 or 1e-3; “many” is none (at character 6).",
    }


def test_the_document_describes_every_setting(client: TestClient):
    document = client.get("/api/v1/openapi.json").json()
    body = document["paths"]["/api/v1/runs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {*OPTIONS, "name", "notes", "tags", "preset"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://localhost"}, 201),
        ({}, 201),
    ],
)
def test_another_site_cannot_start_a_run(client: TestClient, headers: dict[str, str], status: int):
    assert client.post("/api/v1/runs", json={}, headers=headers).status_code == status


def test_a_full_queue_is_told_with_when_to_try_again(home_with_data: Settings):
    with TestClient(
        create_app(home_with_data.model_copy(update={"queue_limit": 2})), base_url="http://localhost"
    ) as client:
        submit(client)
        submit(client)
        refused = client.post("/api/v1/runs", json={})
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
        assert "its limit of 2" in refused.json()["detail"]
        assert client.post("/api/v1/runs/1/cancel").status_code == 200
        submit(client)


def test_a_database_that_someone_locks_is_told_with_when_to_try_again(
    client: TestClient, db: Database, monkeypatch: pytest.MonkeyPatch
):
    submit(client)
    monkeypatch.setattr("app.db.BUSY_TIMEOUT_S", 0.1)
    impatient = TestClient(create_app(Settings(home=db.path.parent)), base_url="http://localhost")
    with closing(sqlite3.connect(db.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused = impatient.post("/api/v1/runs", json={})
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert impatient.get("/api/v1/runs").json()["total"] == 1, "reading goes on"
        other.execute("ROLLBACK")
    submit(impatient)


@pytest.mark.parametrize("address", ["/runs", "/api/v1/runs"])
def test_more_readers_than_connections_are_told_with_when_to_try_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, address: str
):
    monkeypatch.setattr("app.db.BUSY_TIMEOUT_S", 0.1)
    with TestClient(create_app(settings), base_url="http://localhost", raise_server_exceptions=False) as impatient:
        with ExitStack() as readers:
            for _ in range(READERS_AT_ONCE):
                readers.enter_context(impatient.app.state.fitroom.db.read()).connection()
            refused = impatient.get(address)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
            assert "did not answer in time" in refused.text
        assert impatient.get(address).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/api/v1/runs"), ("PATCH", "/api/v1/runs/1"), ("POST", "/api/v1/uploads")]
)
def test_a_field_whose_name_is_no_text_is_refused_like_any_other(client: TestClient, method: str, path: str):
    client.post("/api/v1/runs", json={})
    refused = client.request(method, path, content=b'{"\\ud800": 1}')
    assert refused.status_code == 422
    assert "\ud800" in refused.json()["errors"]
