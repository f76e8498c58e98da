"""The status page: workers, devices, queue and disk as they are."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from app import runs, workers
from app.watching import machine

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from app.config import Settings
    from app.db import Database
    from tests.conftest import FakeClock


def text_of(client: TestClient, part: str, path: str = "/status") -> str:
    page = client.get(path)
    assert page.status_code == 200
    section = page.text.partition(f'data-part="{part}"')[2].partition("</section>")[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", section.partition(">")[2])).strip()


def test_an_empty_server_says_what_is_missing(client: TestClient):
    assert "✕ none is registered" in text_of(client, "checks")
    assert "None is registered." in text_of(client, "workers")
    assert "No run waits." in text_of(client, "queue")


def test_workers_are_shown_with_what_they_do_and_when_they_were_heard_of(
    client: TestClient, db: Database, clock: FakeClock
):
    for name in ("first <b>", "second", "third"):
        client.post("/api/v1/runs", json={"name": name, "epochs": 3})
    with db.write() as session:
        workers.announce(session, "w1", now=clock(), info={"devices": [{"id": "cpu", "name": "A processor"}]})
        assert runs.claim(session, "w1", now=clock())
    clock.forward(4)
    shown = text_of(client, "workers")
    assert "w1 first &lt;b&gt; 0 / 3 4.0 s ago" in shown
    assert "A processor" in shown
    assert re.search(r"\d+(\.\d)? [MG]B", shown), "this very process is the worker, so its memory is known"
    assert "all is well" in text_of(client, "checks")
    assert "2 runs wait, the oldest for 4.0 s. second third" in text_of(client, "queue")
    assert text_of(client, "queue", "/status/parts") == text_of(client, "queue")


def test_a_long_queue_is_cut_short(client: TestClient):
    for _ in range(8):
        client.post("/api/v1/runs", json={"epochs": 1})
    assert "and 3 more" in text_of(client, "queue")


def test_the_machine_tells_of_processor_memory_and_disk(home_with_data: Settings):
    reading = machine.Machine(home_with_data.home).read()
    assert 0 <= reading.cpu <= 1
    assert reading.cores >= 1
    assert 0 < reading.memory_used < reading.memory_total
    assert 0 < reading.disk_free <= reading.disk_total


def test_a_process_that_is_gone_tells_nothing():
    assert machine.process(2**22 + 1, 0.0) is None
    own = machine.process(os.getpid(), 2e9)
    assert own is not None
    assert own.memory > 1e6
