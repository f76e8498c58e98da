"""What is told to those who watch over the server, and what is said of a request that failed."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from app import recording, runs, workers
from app.main import create_app
from app.middleware import CONTENT_SECURITY_POLICY
from tests.app.factories import epoch, started
from tests.app.test_access import TOKEN, asked

if TYPE_CHECKING:
    from app.config import Settings
    from app.db import Database
    from tests.conftest import FakeClock


def numbers(client: TestClient) -> dict[str, float]:
    """Every sample by its name and labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    return {
        " ".join([sample.name, *(f"{k}={v}" for k, v in sorted(sample.labels.items()))]): sample.value
        for family in families
        for sample in family.samples
    }


def test_healthz_answers_without_a_database(client: TestClient, home_with_data: Settings):
    for file in home_with_data.home.glob("fitroom.db*"):
        file.unlink()
    assert client.get("/healthz").json() == {"status": "ok"}


def checks(client: TestClient, status: int) -> dict[str, dict[str, object]]:
    answer = client.get("/readyz")
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert told["status"] == ("ready" if status == 200 else "not ready")
    assert list(told["checks"]) == ["database", "migration", "disk", "workers"]
    found: dict[str, dict[str, object]] = told["checks"]
    return found


def test_a_server_is_ready_once_a_worker_is_there_and_no_more_when_it_is_silent(
    client: TestClient, db: Database, clock: FakeClock
):
    assert checks(client, 503)["workers"] == {"ok": False, "detail": "none is registered"}
    with db.write() as session:
        workers.announce(session, "w1", now=clock(), info={})
    clock.forward(12)
    assert checks(client, 200)["workers"] == {"ok": True, "detail": "last heard of 12 s ago"}
    clock.forward(30)
    assert checks(client, 503)["workers"]["ok"] is False


def test_a_server_without_workers_of_its_own_waits_for_none(home_with_data: Settings, clock: FakeClock):
    with asked(home_with_data, clock, workers=0) as client:
        assert checks(client, 200)["workers"]["detail"] == "none is registered, and none is wanted here"


def test_a_database_of_another_version_is_not_ready(home_with_data: Settings, clock: FakeClock):
    with asked(home_with_data, clock, workers=0) as client:
        with closing(sqlite3.connect(home_with_data.database)) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        found = checks(client, 503)
        assert found["migration"]["ok"] is False
        assert str(found["migration"]["detail"]).startswith("at 9999, this Fitroom wants ")
        assert found["database"]["ok"] is True


def test_a_database_that_is_broken_is_told_and_does_not_break_the_answer(home_with_data: Settings, clock: FakeClock):
    with asked(home_with_data, clock, workers=0) as client:
        with closing(sqlite3.connect(home_with_data.database)) as connection, connection:
            connection.execute("ALTER TABLE runs RENAME TO gone")
        assert checks(client, 503)["database"] == {
            "ok": False,
            "detail": "the database does not answer (OperationalError)",
        }


def test_a_home_that_is_gone_is_not_ready(home_with_data: Settings, clock: FakeClock):
    with asked(home_with_data, clock, workers=0) as client:
        shutil.rmtree(home_with_data.home)
        assert checks(client, 503)["disk"]["ok"] is False


def test_readiness_tells_a_stranger_nothing_that_is_a_name(guarded_by_token: TestClient, settings: Settings):
    answer = guarded_by_token.get("/readyz")
    assert answer.status_code == 503
    assert str(settings.home) not in answer.text


@pytest.fixture
def guarded_by_token(home_with_data: Settings, clock: FakeClock):
    with asked(home_with_data, clock, token=TOKEN) as client:
        yield client


def test_metrics_want_a_sign_in_where_pages_do(guarded_by_token: TestClient):
    assert guarded_by_token.get("/metrics").status_code == 401
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded_by_token.get("/metrics", headers=headers).status_code == 200


def test_metrics_count_queue_runs_epochs_failures_and_heartbeats(client: TestClient, db: Database, clock: FakeClock):
    ids = [client.post("/api/v1/runs", json={"epochs": 3}).json()["id"] for _ in range(3)]
    clock.forward(5)
    with db.write() as session:
        workers.announce(session, "w1", now=clock(), info={})
        held = runs.claim(session, "w1", now=clock())
        assert held is not None
        recording.record(session, held, started(), now=clock())
        recording.record(session, held, epoch(1), now=clock())
        recording.record(session, held, epoch(2), now=clock())
        runs.fail(session, held, reason="diverged", message="Too far.", now=clock())
        assert runs.claim(session, "w1", now=clock()) is not None
    clock.forward(7)
    found = numbers(client)
    assert found["fitroom_queue_length"] == 1
    assert found["fitroom_queue_oldest_age_seconds"] == 12
    assert found["fitroom_running_oldest_age_seconds"] == 7
    assert found["fitroom_epochs"] == 2
    assert found["fitroom_failed_runs reason=diverged"] == 1
    assert {found[f"fitroom_runs status={name}"] for name in ("queued", "running", "failed")} == {1}
    assert found["fitroom_runs status=finished"] == 0
    assert found["fitroom_worker_heartbeat_age_seconds worker=w1"] == 7
    assert found["fitroom_disk_free_bytes"] > 0
    assert found["fitroom_streams"] == 0
    assert found["process_resident_memory_bytes"] > 1e6
    assert len(ids) == 3


def test_durations_are_by_route_and_not_by_address(client: TestClient):
    for path in ("/api/v1/runs/1", "/api/v1/runs/2", "/runs", "/nothing/here", "/nothing/there"):
        client.get(path)
    name = "fitroom_http_request_duration_seconds_count"
    found = {key: value for key, value in numbers(client).items() if key.startswith(name)}
    assert found == {
        f"{name} method=GET route=/api/v1/runs/{{run_id}} status=404": 2,
        f"{name} method=GET route=/runs status=200": 1,
        f"{name} method=GET route=none status=404": 2,
    }


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-1.2_3", True), ("", False), ("a b", False), ("a\tb", False), ("x" * 65, False), ("-", False)],
)
def test_a_request_id_is_taken_when_it_is_one_and_made_when_not(client: TestClient, given: str, kept: bool):
    answer = client.get("/healthz", headers={"X-Request-ID": given})
    found = answer.headers["x-request-id"]
    assert (found == given) is kept
    assert kept or len(found) == 16


def test_an_error_that_nobody_foresaw_is_told_in_words_with_all_headers_and_logged_with_its_request(
    home_with_data: Settings, clock: FakeClock, caplog: pytest.LogCaptureFixture
):
    app = create_app(home_with_data, clock=clock)

    @app.get("/breaks")
    def breaks() -> None:
        raise ZeroDivisionError("nobody foresaw this")

    with TestClient(app, base_url="http://localhost") as client:
        answer = client.get("/breaks", headers={"X-Request-ID": "mine"})
    assert answer.status_code == 500
    assert "Something went wrong here" in answer.text
    assert "foresaw" not in answer.text
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"] == "mine"
    assert "ZeroDivisionError: nobody foresaw this" in caplog.text
