"""A child process that answers questions which need torch, so that the server itself never imports it.

It is started by the first question, asked one at a time, and ended when nobody has asked for a while. It ends by
itself when the server does: its standard input closes.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from typing import Any

from app.config import ROOT
from app.forms import FormError


class SidecarError(Exception):
    """The process gave no answer; the message is a sentence for a person."""


class Sidecar:
    def __init__(self, module: str, *, timeout_s: float = 30.0, idle_s: float = 120.0, most: int = 8) -> None:
        """`module` reads one JSON object a line on standard input and answers each with one.

        At most `most` questions wait or are answered; each holds one of the server's threads.
        """
        self._module, self._timeout_s, self._idle_s = module, timeout_s, idle_s
        self._lock, self._places = threading.Lock(), threading.Semaphore(most)
        self._process: subprocess.Popen[bytes] | None = None
        self._timer: threading.Timer | None = None

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Raises `SidecarError` when no answer comes in time or the process ends; the next question gets a new one.

        Raises it at once where too many wait already, and `FormError` where the answer names what is wrong by field.
        """
        if not self._places.acquire(blocking=False):
            raise SidecarError("Too many wait for the helper process already. Please try again in a moment.")
        try:
            answer = self._asked(question)
        finally:
            self._places.release()
        if "errors" in answer:
            raise FormError(answer["errors"])
        return answer

    def _asked(self, question: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if self._timer:
                self._timer.cancel()
            try:
                return self._exchange(self._started(), question)
            except (OSError, ValueError, TimeoutError) as error:
                self._end()
                raise SidecarError(f"The helper process gave no answer: {error or type(error).__name__}.") from error
            finally:
                self._timer = threading.Timer(self._idle_s, self.close)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """End the process; a later question starts another."""
        with self._lock:
            if self._timer:
                self._timer.cancel()
            self._end()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=ROOT,
                # Ctrl-C in the terminal is for the server, which then closes this.
                start_new_session=True,
                # It may run beside a training that wants every core.
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        return self._process

    def _exchange(self, process: subprocess.Popen[bytes], question: dict[str, Any]) -> dict[str, Any]:
        assert process.stdin is not None  # noqa: S101 - opened as a pipe above
        assert process.stdout is not None  # noqa: S101
        process.stdin.write(json.dumps(question).encode() + b"\n")
        process.stdin.flush()
        line, deadline = b"", time.monotonic() + self._timeout_s
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"none within {self._timeout_s:g} s")
            part = os.read(process.stdout.fileno(), 1 << 16)
            if not part:
                raise OSError("it ended")
            line += part
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                # What was not flushed goes to a process that is gone.
                with contextlib.suppress(OSError):
                    pipe.close()
