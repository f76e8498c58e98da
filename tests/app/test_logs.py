"""What the log tells, in both formats, and of which request or run."""

from __future__ import annotations

import json
import logging
import threading
from typing import TYPE_CHECKING

import pytest

from app.watching import logs
from app.worker import Worker
from trainer.loop import train

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.testclient import TestClient

    from app.config import Settings
    from app.db import Database

logger = logging.getLogger("fitroom.test")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Other tests log to pytest's own handlers."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []  # or they would be closed
    yield
    root.handlers, root.level = handlers, level


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_json_line_carries_what_is_bound_where_it_is_written(capsys: pytest.CaptureFixture[str]):
    logs.configure("info", "json")
    with logs.bound(run=7, attempt=2):
        with logs.bound(request="abc"):
            logger.info("inside %s", "both")
        logger.warning("inside one")
    logger.info("outside")
    found = lines(capsys)
    assert [line["message"] for line in found] == ["inside both", "inside one", "outside"]
    assert [(line.get("run"), line.get("attempt"), line.get("request")) for line in found] == [
        (7, 2, "abc"),
        (7, 2, None),
        (None, None, None),
    ]
    assert found[0]["level"] == "info"
    assert found[0]["logger"] == "fitroom.test"
    assert str(found[0]["time"]).endswith("Z")


def test_a_traceback_stays_on_its_json_line(capsys: pytest.CaptureFixture[str]):
    logs.configure("info", "json")
    try:
        raise ValueError("broken\nin two")
    except ValueError:
        logger.exception("it failed")
    (line,) = lines(capsys)
    assert "ValueError: broken\nin two" in str(line["error"])


def test_in_a_terminal_what_people_typed_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]):
    logs.configure("info", "console")
    with logs.bound(run=7):
        logger.info("named %s", "a\x1b[2Jb\nINFO forged")
    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert "a\\x1b[2Jb\\nINFO forged  run=7" in written


def test_the_level_is_obeyed(capsys: pytest.CaptureFixture[str]):
    logs.configure("warning", "console")
    logger.info("too little")
    logger.warning("enough")
    assert "too little" not in (written := capsys.readouterr().err)
    assert "enough" in written


def test_threads_do_not_mix_what_is_bound(capsys: pytest.CaptureFixture[str]):
    logs.configure("info", "json")
    together = threading.Barrier(2)

    def work(run: int) -> None:
        with logs.bound(run=run):
            together.wait()
            logger.info("%s", run)

    threads = [threading.Thread(target=work, args=(run,)) for run in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {(line["message"], line["run"]) for line in lines(capsys)} == {("1", 1), ("2", 2)}


def test_a_worker_says_of_which_run_and_attempt_it_speaks(
    client: TestClient, db: Database, home_with_data: Settings, capsys: pytest.CaptureFixture[str]
):
    run_id = client.post("/api/v1/runs", json={"epochs": 1, "train_size": 256, "val_size": 100}).json()["id"]
    logs.configure("info", "json")
    assert Worker(db, home_with_data, name="w1", train=train).step()
    told = [line for line in lines(capsys) if line["logger"] == "fitroom.worker"]
    assert [line["message"] for line in told] == ["taken", "ended: completed"]
    assert {(line["run"], line["attempt"]) for line in told} == {(run_id, 1)}


def test_a_request_is_told_with_its_id_and_without_its_query(client: TestClient, capsys: pytest.CaptureFixture[str]):
    logs.configure("debug", "json")
    client.get("/login?token=secret-secret-secret")
    client.post("/api/v1/runs", json={"epochs": "many"}, headers={"X-Request-ID": "mine-1"})
    told = [line for line in lines(capsys) if line["logger"] == "fitroom.web"]
    assert any(str(line["message"]).startswith("GET /login: ") for line in told)
    (posted,) = [line for line in told if str(line["message"]).startswith("POST")]
    assert (posted["request"], posted["level"]) == ("mine-1", "info")
    assert "secret-secret" not in json.dumps(told)
