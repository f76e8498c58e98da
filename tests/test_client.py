"""The Python client against a real server: what it starts, follows and reads; what it says when that fails."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from fitroom import Client, Invalid, NotAllowed, NotFound, Refused, Unreachable
from fitroom.events import Event, parse
from tools.server import Server, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fitroom import Run

TOKEN = "a token of many characters"
SMALL = {"train_size": 512, "val_size": 200, "batch_size": 64, "image_size": 28, "arch": "mlp"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("client"), data_dir, token=TOKEN) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Client:
    return Client(server.url, token=TOKEN)


@pytest.fixture(scope="module")
def trained(client: Client) -> Run:
    run = client.submit(name="from Python", tags=["a", "b"], notes="by the client", epochs=3, lr=0.002, **SMALL)
    assert run.status == "queued"
    return client.wait(run, timeout=120)


def test_a_run_is_submitted_and_waited_for(trained: Run, client: Client):
    assert (trained.status, trained.epochs_done, trained.tags) == ("finished", 3, ("a", "b"))
    assert trained.config["lr"] == 0.002
    assert trained.best_val_accuracy == client.run(trained.id).best_val_accuracy
    assert trained.started_at is not None
    assert trained.finished_at is not None
    assert trained.finished_at > trained.started_at > trained.created_at


def test_its_events_are_all_there_from_the_start_and_from_a_cursor(trained: Run, client: Client):
    events = list(client.events(trained))
    assert [event.data["epoch"] for event in events if event.kind == "epoch"] == [1, 2, 3]
    assert events[-1].kind == "status"
    middle = len(events) // 2
    assert list(client.events(trained, after=events[middle].id)) == events[middle + 1 :]


def test_metrics_and_frames_hold_the_same_numbers(trained: Run, client: Client):
    metrics = client.metrics(trained)
    frame = client.epochs_frame(trained)
    assert frame["val_accuracy"].tolist() == [row["val_accuracy"] for row in metrics.epochs]
    assert frame.index.tolist() == [1, 2, 3]
    assert len(metrics.losses) == 3 * (512 // 64)


def test_runs_are_filtered_sorted_and_read_over_all_pages(client: Client, trained: Run):
    made = [client.submit(name=f"many {number}", epochs=1, lr=0.1 + number / 1000, **SMALL) for number in range(55)]
    for run in made:
        # The worker takes them one after the other: the one it holds stops at its next step, or has ended already.
        with contextlib.suppress(Refused):
            client.cancel(run)
    found = list(client.runs(filter="lr >= 0.1", sort="-lr"))
    assert [run.name for run in found] == [f"many {number}" for number in reversed(range(55))]
    assert len(list(client.runs(limit=52))) == 52
    taken = client.runs(filter="lr >= 0.1")
    first = next(taken)
    made.append(client.submit(name="meanwhile", epochs=1, lr=0.1, **SMALL))
    assert [run.name for run in (first, *taken)] == [f"many {number}" for number in reversed(range(55))]
    with contextlib.suppress(Refused):
        client.cancel(made[-1])
    frame = client.frame(filter="lr >= 0.1 and name ~ many", sort="lr")
    assert frame["name"].tolist() == [f"many {number}" for number in range(55)]
    assert str(frame["created_at"].dtype).startswith("datetime64")
    assert client.frame(filter="lr > 5").empty
    for run in made:
        client.wait(run, timeout=60)
        client.delete(run)
    assert [run.id for run in client.runs()] == [trained.id]


def test_what_the_server_refuses_comes_with_its_fields(client: Client, server: Server, trained: Run):
    with pytest.raises(Invalid) as invalid:
        client.submit(epochs=0, lr=-1)
    assert set(invalid.value.errors) == {"epochs", "lr"}
    assert invalid.value.status == 422
    assert invalid.value.detail == "Some fields cannot be used as they are."
    with pytest.raises(Invalid, match="filter"):
        list(client.runs(filter="lr <"))
    with pytest.raises(NotFound, match="no run 999"):
        client.run(999)
    with pytest.raises(NotFound):
        list(client.events(999))
    with pytest.raises(Refused, match="already ended"):
        client.cancel(trained)
    for wrong in (None, "not the token of the server"):
        with pytest.raises(NotAllowed):
            Client(server.url, token=wrong or "none").run(trained)


def test_the_token_may_come_from_the_environment(server: Server, trained: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FITROOM_TOKEN", TOKEN)
    assert Client(server.url + "/").run(trained).id == trained.id


@pytest.mark.parametrize(
    ("body", "words"), [(b"<html>", "is no Fitroom"), (b'[{"id": 1', "broke off")], ids=["a page", "half an answer"]
)
def test_an_answer_that_is_none_is_told_as_such(body: bytes, words: str):
    length = len(body) + (words == "broke off")
    with socket.create_server(("127.0.0.1", 0)) as held:

        def answer() -> None:
            asker, _ = held.accept()
            with asker:
                asker.recv(65536)
                asker.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (length, body))

        answering = threading.Thread(target=answer)
        answering.start()
        with pytest.raises(Unreachable, match=words):
            Client(f"http://127.0.0.1:{held.getsockname()[1]}").frame()
        answering.join()


def test_nobody_there_and_no_address_are_told_apart():
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    with pytest.raises(Unreachable, match="does not answer"):
        Client(f"http://127.0.0.1:{port}").run(1)
    with pytest.raises(ValueError, match="begins with http"):
        Client("file:///etc/passwd")


def test_waiting_ends_at_its_time_though_the_run_goes_on_telling(client: Client):
    run = client.submit(name="long", epochs=1_000, **SMALL)
    assert any(event.kind == "epoch" for event in client.events(run))
    with pytest.raises(TimeoutError, match=rf"Run {run.id} is still running after 2 s"):
        client.wait(run, timeout=2)
    client.cancel(run)
    assert client.wait(run, timeout=60).status == "cancelled"


@contextlib.contextmanager
def cutting(url: str, after: int) -> Iterator[str]:
    """The address of a connection to `url` that breaks off each answer after so many bytes."""
    port = int(url.rpartition(":")[2])
    listener = socket.create_server(("127.0.0.1", 0))

    def pass_on() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                with near, socket.create_connection(("127.0.0.1", port)) as far:
                    far.sendall(near.recv(65536))
                    left = after
                    while left > 0 and (data := far.recv(min(left, 4096))):
                        near.sendall(data)
                        left -= len(data)

    thread = threading.Thread(target=pass_on, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        # Closing alone does not wake up who waits in `accept`.
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def test_a_stream_that_breaks_again_and_again_misses_nothing_and_doubles_nothing(
    server: Server, client: Client, trained: Run
):
    whole = list(client.events(trained))
    longest = max(len(json.dumps(event.data)) for event in whole)
    with cutting(server.url, after=longest + 1500) as url:
        broken = list(Client(url, token=TOKEN).events(trained))
    assert broken == whole


def test_lines_become_events_only_when_they_are_whole():
    lines = [b": ping\n", b"id: 7\n", b"event: log\n", b'data: {"a":\n', b"data: 1}\n", b"\n", b"id: 8\n", b"data: {}"]
    assert list(parse(lines)) == [Event(7, "log", {"a": 1})]


def test_the_client_needs_nothing_but_the_standard_library():
    code = "import sys, fitroom; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pandas", "numpy", "torch", "fastapi", "sqlalchemy", "pydantic", "app", "trainer"} & set(loaded)
