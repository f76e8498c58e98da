"""A real `fitroom serve` in a process of its own, for tests, benchmarks and screenshots."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.config import ROOT

READY_WITHIN_S = 60.0


class Server:
    """A running server; `url` is where."""

    def __init__(self, home: Path, process: subprocess.Popen[str], url: str) -> None:
        self.home, self.process, self.url = home, process, url

    def open(self, path: str) -> Any:
        """The answer at `path`, to be read and closed. Raises urllib's HTTPError."""
        return urllib.request.urlopen(self.url + path, timeout=30)

    def get(self, path: str) -> Any:
        """The JSON at `path`. Raises urllib's HTTPError."""
        with self.open(path) as answer:
            return json.load(answer)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(self.url + path, json.dumps(body or {}).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def submit(self, **fields: Any) -> int:
        run_id: int = self.post("/api/v1/runs", fields)["id"]
        return run_id

    def run(self, run_id: int) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/api/v1/runs/{run_id}")
        return found

    def wait_for(self, run_id: int, *statuses: str, within: float = 120, every: float = 0.05) -> dict[str, Any]:
        """The run once it has one of `statuses`."""
        return self.wait_until(run_id, lambda run: run["status"] in statuses, f"to be {statuses}", within, every)

    def wait_for_epoch(self, run_id: int, epoch: int, within: float = 120) -> dict[str, Any]:
        return self.wait_until(run_id, lambda run: run["epochs_done"] >= epoch, f"to reach epoch {epoch}", within)

    def wait_until(
        self, run_id: int, true: Callable[[dict[str, Any]], bool], what: str, within: float = 120, every: float = 0.05
    ) -> dict[str, Any]:
        deadline = time.monotonic() + within
        while True:
            run = self.run(run_id)
            if true(run):
                return run
            if time.monotonic() > deadline:
                raise TimeoutError(f"run {run_id} took over {within} s {what}: {run}")
            time.sleep(every)

    def worker_pids(self) -> list[int]:
        """The children that train."""
        listed = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False)
        return [int(pid) for pid in listed.stdout.split()]


def link_fashion_mnist(folder: Path, data_dir: Path) -> None:
    """Let a data folder of its own hold the Fashion-MNIST of another by a link."""
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "FashionMNIST"
    if not link.exists():
        link.symlink_to((data_dir / "FashionMNIST").resolve(), target_is_directory=True)


def environment(home: Path, **settings: str) -> dict[str, str]:
    """For a `fitroom` on this home, with `FITROOM_*` settings and a free port unless they name one."""
    named = {f"FITROOM_{name.upper()}": value for name, value in settings.items()}
    return {**os.environ, "FITROOM_HOME": str(home), "FITROOM_PORT": "0", **named}


def fitroom(home: Path, *arguments: str, typed: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    """The command, run to its end, with what it printed."""
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=ROOT, env=environment(home, **settings), input=typed, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip


def start(home: Path, data_dir: Path | None = None, **settings: str) -> Server:
    """Start a server on a free port, with `FITROOM_*` settings, and wait until it answers."""
    home.mkdir(parents=True, exist_ok=True)
    if data_dir is not None:
        link_fashion_mnist(home / "data", data_dir)
    log = (home / "serve.log").open("a")
    command = [sys.executable, "-m", "app", "serve"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(home, **settings), stdout=subprocess.PIPE, stderr=log, text=True
    )
    log.close()
    assert process.stdout is not None
    line = process.stdout.readline()
    if " at http" not in line:
        raise RuntimeError(f"the server did not start: {line}{(home / 'serve.log').read_text()}")
    server = Server(home, process, line.rpartition(" ")[2].strip())
    _wait_until_healthy(server)
    return server


def stop(server: Server, number: int = signal.SIGINT, within: float = 30) -> float:
    """End it as Ctrl-C does. Returns the seconds that took."""
    begun = time.monotonic()
    if server.process.poll() is None:
        server.process.send_signal(number)
    try:
        server.process.wait(within)
    finally:
        server.process.kill()
        if server.process.stdout:
            server.process.stdout.close()
    return time.monotonic() - begun


@contextmanager
def serving(home: Path, data_dir: Path | None = None, **settings: str) -> Iterator[Server]:
    server = start(home, data_dir, **settings)
    try:
        yield server
    finally:
        stop(server)


def _wait_until_healthy(server: Server) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            server.get("/healthz")
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline or server.process.poll() is not None:
                raise
            time.sleep(0.02)
        else:
            return
