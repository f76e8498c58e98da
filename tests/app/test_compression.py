"""What goes out compressed, what does not, and how large the table's page then is."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert

from app.db import Database
from app.models import Run, Status
from app.runs_table import sparks
from app.runs_table.columns import COLUMNS
from trainer.config import TrainConfig

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from app.config import Settings
    from tests.conftest import FakeClock


@pytest.fixture
def many(client: TestClient, home_with_data: Settings, clock: FakeClock) -> None:
    """Sixty runs, each with a name, settings, results and a curve of its own."""
    db = Database(home_with_data.database)
    with db.write() as session:
        session.execute(insert(Run), [_run(number, clock) for number in range(60)])
    db.close()


def _run(number: int, clock: FakeClock) -> dict[str, object]:
    share = (number * 0.6180339887) % 1
    curve = [1 - 0.9 / (epoch + 1 + share) for epoch in range(40)]
    return {
        "name": f"a rather long name of run number {number}",
        "notes": "",
        "config": TrainConfig(lr=0.001 + share / 10, seed=number).to_dict(),
        "status": Status.FINISHED,
        "created_at": clock(),
        "started_at": clock(),
        "finished_at": clock(),
        "epochs_done": 20,
        "spark": sparks.pack(curve),
        "facts": None,
        **dict.fromkeys(("best_val_accuracy", "val_accuracy", "train_accuracy"), 0.8 + share / 8),
        **dict.fromkeys(("val_loss", "train_loss"), share),
    }


def sent(client: TestClient, address: str, encoding: str = "gzip") -> tuple[dict[str, str], bytes]:
    """Headers and body as they went over the wire."""
    with client.stream("GET", address, headers={"Accept-Encoding": encoding}) as answer:
        assert answer.status_code == 200, address
        return dict(answer.headers), b"".join(answer.iter_raw())


@pytest.mark.usefixtures("many")
def test_a_page_of_fifty_runs_stays_small(client: TestClient):
    for address in ("/runs", f"/runs?cols={','.join(COLUMNS)}", "/runs?group=config_key"):
        headers, body = sent(client, address)
        assert headers["content-encoding"] == "gzip"
        assert "Accept-Encoding" in headers["vary"]
        assert len(body) < 60_000, address
        whole = zlib.decompress(body, 31)
        assert whole.count(b"<tr") >= 50
        assert len(whole) > 2 * len(body)


@pytest.mark.usefixtures("many")
def test_only_who_takes_compressed_pages_gets_them(client: TestClient):
    headers, body = sent(client, "/runs", "identity")
    assert "content-encoding" not in headers
    assert body.startswith(b"<!doctype html>")


def test_streams_and_what_is_packed_are_left_alone(client: TestClient):
    run_id = client.post("/api/v1/runs", json={}).json()["id"]
    client.post(f"/api/v1/runs/{run_id}/cancel")
    for address in (f"/api/v1/runs/{run_id}/events", f"/api/v1/runs/{run_id}/steps", "/favicon.ico"):
        headers, _ = sent(client, address)
        assert "content-encoding" not in headers, address
