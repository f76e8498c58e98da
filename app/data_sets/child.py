"""A child process for one long task, apart from the server: it tells how far it is, and may be ended at any time."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from app.config import ROOT

Progress = Callable[[int, int], None]
SILENT_S = 900.0
"""Without a line for so long it is taken to have lost itself in what it was given."""


class ChildEnded(Exception):
    """The process ended before it had answered; the message is a sentence for a person."""


class Child:
    """`python -m MODULE`, which reads a question a line and answers in lines, all JSON.

    It ends by itself when the server does: its standard input closes.
    """

    def __init__(self, module: str, *, silent_s: float = SILENT_S) -> None:
        self._silent_s = silent_s
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            # Ctrl-C in the terminal is for the server, which then ends this.
            start_new_session=True,
            # It may run beside a training that wants every core.
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def ask(self, question: dict[str, Any], progress: Progress = lambda *_: None) -> dict[str, Any]:
        """The answer; lines of {"progress": [done, total]} before it are handed on. Raises `ChildEnded`."""
        assert self._process.stdin is not None  # noqa: S101 - opened as a pipe above
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
            for line in self._lines():
                answer: dict[str, Any] = json.loads(line)
                if "progress" not in answer:
                    return answer
                progress(*answer["progress"])
        except TimeoutError:
            self.end()
            raise ChildEnded(f"It was given up: nothing was heard of it for {self._silent_s / 60:g} minutes.") from None
        except (OSError, ValueError) as error:
            raise ChildEnded(f"The process that was to do it gave no answer: {error}.") from error
        raise ChildEnded(f"The process that was to do it ended unexpectedly (status {self._process.wait()}).")

    def _lines(self) -> Iterator[bytes]:
        """Until it ends. Raises TimeoutError."""
        assert self._process.stdout is not None  # noqa: S101 - opened as a pipe above
        parts: list[bytes] = []
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while selector.select(self._silent_s):
                part = os.read(self._process.stdout.fileno(), 1 << 16)
                if not part:
                    return
                # An answer with pictures in it is some megabytes: its parts are joined once.
                *ends, rest = part.split(b"\n")
                for end in ends:
                    yield b"".join([*parts, end])
                    parts = []
                parts.append(rest)
        raise TimeoutError

    def end(self) -> None:
        """At once; whoever waits for an answer gets `ChildEnded`."""
        self._process.kill()

    def close(self) -> None:
        """End it and give back its pipes, by who has asked."""
        self.end()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                try:
                    pipe.close()
                except OSError:
                    continue  # what was not flushed was for a process that is gone
