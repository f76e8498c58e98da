"""Real worker processes in a tenth of a second: one process imports torch and forks them from then on.

It has trained nothing and has one thread, so a fork of it is whole. A worker may be told to meet a fault: it is a hook
in that process alone, at the place where the fault is to happen, and what happens there is the real thing: a signal, a
write that ends half-way, an exit.

    python -m tests.faults.zygote     one JSON object a line in: start or wait; one line out: a pid or an exit status
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from app.config import ROOT
from tools.server import environment

WITHIN_S = 120.0


class Zygote:
    """The other side of `main`, as tests see it."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.faults.zygote"]
        # Several train at once here, and what they train is tiny: more threads would only wait for each other.
        one = os.environ | {"OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=one, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._line() == "ready"

    def worker(self, home: Path, *, fault: str = "", until_idle: bool = False, **settings: str) -> Child:
        """A worker on this home, with `FITROOM_*` settings; `until_idle` ends it when no run waits."""
        env = {name: value for name, value in environment(home, **settings).items() if name.startswith("FITROOM_")}
        pid = self._ask({"env": env, "fault": fault, "parent": -1 if until_idle else None})
        return Child(self, int(pid), home / "worker.log")

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def wait(self, pid: int) -> int:
        return int(self._ask({"wait": pid}))

    def _ask(self, question: dict[str, Any]) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], WITHIN_S)
        if not ready:
            raise TimeoutError("the zygote gave no answer")
        return self._process.stdout.readline().strip()


class Child:
    """One worker process."""

    def __init__(self, zygote: Zygote, pid: int, log: Path) -> None:
        self._zygote, self.pid, self._log = zygote, pid, log
        self._ended: int | None = None

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Its exit status once it has ended; negative for the signal that ended it."""
        if self._ended is None:
            self._ended = self._zygote.wait(self.pid)
        return self._ended

    def end(self) -> None:
        if self._ended is None:
            for number in (signal.SIGCONT, signal.SIGKILL):
                self.send(number)
            self.wait()

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def wait_for_log(self, text: str, within: float = WITHIN_S) -> None:
        wait_until(lambda: text in self.log, f"the log says {text!r}: {self.log}", within)


def wait_until(true: Callable[[], bool], what: str, within: float = WITHIN_S) -> None:
    deadline = time.monotonic() + within
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"over {within} s until {what}")
        time.sleep(0.02)


def main() -> None:
    import app.worker_main  # torch too: this is what takes seconds

    assert app.worker_main
    print("ready", flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        if "wait" in task:
            _, status = os.waitpid(task["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            os._exit(_work(task))
        print(pid, flush=True)


def _work(task: dict[str, Any]) -> int:
    from app.config import load_settings
    from app.watching import logs
    from app.worker_main import main as work

    os.environ.update(task["env"])
    settings = load_settings()
    os.setsid()
    log = os.open(settings.home / "worker.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    for ours, theirs in ((null, 0), (log, 1), (log, 2)):
        os.dup2(ours, theirs)
    logs.configure("info", "console")
    name, _, argument = str(task["fault"]).partition(" ")
    if name:
        FAULTS[name](argument)
    return work(settings, parent=task["parent"])


# Faults, each a hook at the place where it is to happen


def at_step(what: str) -> None:
    """`kill 7`: SIGKILL in the run's seventh step; `term 7`: five SIGTERMs; `exit 7`, `segfault 7`: as they say.

    Only runs with seed 666 meet it.
    """
    from trainer.learner import Learner

    kind, number = what.split()
    acts: dict[str, Callable[[], Any]] = {
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "term": lambda: [os.kill(os.getpid(), signal.SIGTERM) for _ in range(5)],
        "exit": lambda: os._exit(1),
        "segfault": lambda: ctypes.string_at(0),
    }
    step = Learner.step

    def hooked(self: Learner, inputs: Any, place: int) -> Any:
        if self.config.seed == 666 and place + 1 == int(number):
            acts[kind]()
        return step(self, inputs, place)

    Learner.step = hooked  # type: ignore[method-assign]


def in_checkpoint(number: str) -> None:
    """SIGKILL with half of the last.pt of that save written."""
    from trainer import checkpoint

    saves = _numbers()

    def half(path: Path, content: bytes) -> Path:
        if path.name == checkpoint.LAST and next(saves) == int(number):
            checkpoint._part_of(path).write_bytes(content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return written(path, content)

    written, checkpoint._written = checkpoint._written, half


def after_rename(number: str) -> None:
    """SIGKILL when the last.pt of that save has its name, and before anybody is told."""
    from trainer import checkpoint

    saves = _numbers()

    def sync(path: Path) -> None:
        real(path)
        if path.is_dir() and next(saves) == int(number):
            os.kill(os.getpid(), signal.SIGKILL)

    real, checkpoint.sync = checkpoint.sync, sync


def before_checkpoint(number: str) -> None:
    """SIGKILL when the epoch of that save is committed and nothing of its state is written."""
    from trainer import checkpoint

    saves = _numbers()

    def save(*arguments: Any, **named: Any) -> Path:
        if next(saves) == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)

    real, checkpoint.save = checkpoint.save, save


def slow(seconds: str) -> None:
    """Every step, and every save, takes so much longer."""
    from trainer import checkpoint
    from trainer.learner import Learner

    def save(*arguments: Any, **named: Any) -> Path:
        time.sleep(4 * float(seconds))
        return real(*arguments, **named)

    def hooked(self: Learner, inputs: Any, place: int) -> Any:
        time.sleep(float(seconds))
        return step(self, inputs, place)

    real, checkpoint.save = checkpoint.save, save
    step, Learner.step = Learner.step, hooked  # type: ignore[method-assign]


def impatient(seconds: str) -> None:
    """The database counts as locked after so long."""
    from app import db

    db.BUSY_TIMEOUT_S = float(seconds)


def untrained(_: str) -> None:
    """Runs are told as finished without any training: what is to be seen is who did which."""
    from app import worker_main
    from tests.app import factories
    from trainer.events import Event, Finished

    def train(*_: Any, **__: Any) -> Iterator[Event]:
        yield factories.started()
        yield factories.steps(1, 0, 1.0, 0.9, 0.8, 0.7)
        yield factories.epoch(1)
        yield Finished("completed", 1, 0.0)

    worker_main.train = train  # type: ignore[assignment]


def _numbers() -> Iterator[int]:
    return iter(range(1, 1_000_000))


FAULTS: dict[str, Callable[[str], None]] = {
    "at-step": at_step,
    "in-checkpoint": in_checkpoint,
    "after-rename": after_rename,
    "before-checkpoint": before_checkpoint,
    "slow": slow,
    "impatient": impatient,
    "untrained": untrained,
}


if __name__ == "__main__":
    main()
