"""Kills and signals: nothing recorded is lost, nothing hangs as running, everything ends when it should."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil
import pytest

from app import runs, workers
from app.clock import utc_now
from app.schema import opened
from app.supervisor import Supervisor, workers_of
from tests.faults.zygote import wait_until
from tools import server as servers
from tools.server import Server, fitroom, serving
from trainer.config import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from app.config import Settings
    from app.db import Database

SMALL = {"train_size": 2048, "val_size": 500, "batch_size": 128}
EPOCHS = 12
"""More than a run does before it is stopped in its first few."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Iterator[Server]:
    """For tests that leave it as they found it: its worker takes seconds to load torch."""
    with serving(tmp_path_factory.mktemp("served") / "home", data_dir) as server:
        yield server


def epochs_of(server: Server, run_id: int) -> list[dict[str, object]]:
    found: list[dict[str, object]] = server.get(f"/api/v1/runs/{run_id}/metrics")["epochs"]
    return found


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_killed_worker_is_replaced_and_its_run_goes_on_to_the_same_end(server: Server):
    whole = server.submit(**SMALL, epochs=5)
    server.wait_for(whole, "finished")
    run_id = server.submit(**SMALL, epochs=5)
    server.wait_for_epoch(run_id, 2)
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGKILL)
    kept = epochs_of(server, run_id)
    run = server.wait_for(run_id, "finished")
    assert run["attempt"] == 2
    after = epochs_of(server, run_id)
    assert [row["epoch"] for row in after] == [1, 2, 3, 4, 5]
    measures = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy")
    assert [[row[m] for m in measures] for row in after[: len(kept)]] == [[row[m] for m in measures] for row in kept]
    assert [[row[m] for m in measures] for row in after] == [
        [row[m] for m in measures] for row in epochs_of(server, whole)
    ]
    assert server.worker_pids() != [worker]


def test_a_run_that_has_lost_its_last_worker_fails_and_others_go_on(tmp_path: Path, data_dir: Path):
    """That it may lose several before is proved, without a start of torch for each, in test_workers."""
    with serving(tmp_path / "home", data_dir, max_attempts="1") as server:
        doomed = server.submit(**SMALL, epochs=500)
        after = server.submit(**SMALL, epochs=1)
        server.wait_until(doomed, lambda run: run["device"] is not None and run["status"] == "running", "to start")
        for pid in server.worker_pids():
            os.kill(pid, signal.SIGKILL)
        run = server.wait_for(doomed, "failed")
        assert run["reason"] == "worker_lost"
        server.wait_for(after, "finished")


def test_ctrl_c_ends_everything_within_five_seconds_with_ten_pages_open_and_the_next_start_resumes(
    tmp_path: Path, data_dir: Path
):
    home = tmp_path / "home"
    server = servers.start(home, data_dir)
    run_id = server.submit(**SMALL, epochs=EPOCHS)
    server.wait_for_epoch(run_id, 2)
    streams = [open_stream(server, f"/api/v1/runs/{run_id}/events") for _ in range(10)]
    workers = server.worker_pids()
    assert len(workers) == 1
    assert servers.stop(server, signal.SIGINT) < 5
    assert server.process.returncode == 0
    assert not any(alive(pid) for pid in workers)
    for stream in streams:
        stream.close()
    with serving(home, data_dir) as server:
        run = server.wait_for(run_id, "finished")
        assert [row["epoch"] for row in epochs_of(server, run_id)] == list(range(1, EPOCHS + 1))
    assert run["attempt"] == 2


def open_stream(server: Server, path: str) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    connection.request("GET", path)
    assert connection.getresponse().readline() == b": connected\n"
    return connection


def test_a_second_server_on_the_same_home_is_refused_with_the_owners_pid(server: Server):
    second = fitroom(server.home, "serve")
    assert second.returncode == 1
    assert f"already served by process {server.process.pid}" in second.stderr


def test_a_port_that_is_taken_is_told_in_words(server: Server, tmp_path: Path):
    second = fitroom(tmp_path / "other", "serve", port=str(urlsplit(server.url).port))
    assert second.returncode == 1
    assert "Set FITROOM_PORT to a free port." in second.stderr
    assert "Traceback" not in second.stderr


def test_a_killed_server_leaves_training_alone_and_the_next_one_takes_it_over(tmp_path: Path, data_dir: Path):
    """It takes the worker over too, so that killing servers does not heap up workers."""
    home = tmp_path / "home"
    first = servers.start(home, data_dir)
    run_id = first.submit(**SMALL, epochs=12)
    first.wait_for_epoch(run_id, 1)
    (orphan,) = first.worker_pids()
    first.process.kill()
    first.process.wait()
    if first.process.stdout:
        first.process.stdout.close()
    with serving(home, data_dir) as server:
        run = server.wait_until(run_id, lambda run: run["epochs_done"] >= 3 or run["status"] != "running", "to go on")
        assert (run["status"], server.worker_pids()) == ("running", []), "no second worker beside it"
        run = server.wait_for(run_id, "finished")
        assert run["attempt"] == 1
        assert [row["epoch"] for row in epochs_of(server, run_id)] == list(range(1, 13))
        wait_until(lambda: not alive(orphan), "the orphan goes when its work is done")
        wait_until(lambda: len(server.worker_pids()) == 1, "a worker of the new server takes its place")
    assert workers_of(home) == []


def test_a_worker_that_does_not_stop_is_ended_by_force_and_its_run_is_not_blamed(tmp_path: Path, data_dir: Path):
    """By SIGTERM, as a service manager ends it, and impatiently."""
    home = tmp_path / "home"
    server = servers.start(home, data_dir, max_attempts="1")
    run_id = server.submit(**SMALL, epochs=500)
    server.wait_for_epoch(run_id, 1)
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    for _ in range(4):
        server.process.send_signal(signal.SIGTERM)
    assert servers.stop(server, signal.SIGTERM) < 5
    assert not alive(worker)
    with opened(home / "fitroom.db") as db, db.read() as session:
        run = runs.get(session, run_id)
    assert (server.process.returncode, run.status, run.times_lost) == (0, "queued", 0)


def test_what_workers_held_that_no_longer_exist_is_freed_when_the_server_starts(settings: Settings, db: Database):
    """As after a crash of the whole machine."""
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    owners = [workers.name_of(dead.pid), workers.name_of(os.getpid()), "elsewhere-1"]
    with db.write() as session:
        for owner in owners:
            runs.submit(session, TrainConfig(), now=utc_now())
            runs.claim(session, owner, now=utc_now())
    supervisor = Supervisor(db, settings.model_copy(update={"workers": 0}), parent=os.getpid())
    supervisor.start()
    wait_until(lambda: queued(db) == 1, "the dead one's run is free")
    supervisor.stop()
    with db.read() as session:
        assert [runs.get(session, run_id).status for run_id in (1, 2, 3)] == ["queued", "running", "running"]


def test_a_worker_that_never_gets_ready_is_tried_again_later_and_later(
    settings: Settings, db: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    supervisor = Supervisor(db, settings, parent=os.getpid())
    begun = time.monotonic()
    supervisor.start()
    wait_until(lambda: caplog.text.count("ended; starting another") >= 3, "it has died three times")
    assert time.monotonic() - begun > 1, "the second time at once, the third after a second"
    supervisor.stop()


def queued(db: Database) -> int:
    with db.read() as session:
        return runs.queued(session)


def test_a_cancel_of_a_running_run_takes_effect_within_two_seconds(server: Server):
    run_id = server.submit(**SMALL, epochs=500)
    server.wait_for_epoch(run_id, 1)
    begun = time.monotonic()
    server.post(f"/api/v1/runs/{run_id}/cancel")
    server.wait_for(run_id, "cancelled")
    assert time.monotonic() - begun < 2


def test_pages_are_answered_while_many_streams_are_open(server: Server):
    run_id = server.submit(**SMALL, epochs=500)
    server.wait_for_epoch(run_id, 1)
    streams = [open_stream(server, f"/api/v1/runs/{run_id}/events") for _ in range(50)]
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(server.run(run_id)["id"])) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [run_id] * 10
    for stream in streams:
        stream.close()
    server.post(f"/api/v1/runs/{run_id}/cancel")
    server.wait_for(run_id, "cancelled")


def test_a_server_that_others_reach_does_not_start_without_a_sign_in(tmp_path: Path):
    refused = fitroom(tmp_path, "serve", host="0.0.0.0")
    assert refused.returncode == 1
    assert "FITROOM_TOKEN=auto" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_printed_link_is_the_only_place_that_tells_the_token(tmp_path: Path, data_dir: Path):
    with serving(tmp_path / "home", data_dir, host="0.0.0.0", token="auto", log_level="debug") as server:
        assert server.process.stdout is not None
        link = server.process.stdout.readline().rpartition(" ")[2].strip()
        address, _, token = link.partition("?token=")
        assert address.startswith("http://127.0.0.1:")
        local = f"http://{urlsplit(link).netloc}"
        assert status_of(f"{local}/api/v1/runs") == 401
        assert status_of(f"{local}/api/v1/runs", token="guess") == 401
        assert status_of(f"{local}/api/v1/runs", token=token) == 200
        assert status_of(link) == 303
        assert len(server.worker_pids()) == 1
        for pid in server.worker_pids():
            assert token not in str(psutil.Process(pid).environ())
        assert token not in (server.home / "serve.log").read_text()


def status_of(url: str, token: str | None = None) -> int:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connection.request("GET", f"{parts.path}?{parts.query}", headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status
