"""The readers as a process of their own: `python -m trainer.ingest` reads a question a line, as JSON.

    {"guess": {"files": [{"path": ..., "filename": ...}, ...], "choices": {...}}}
        -> {"guess": {"choices": ..., "shape": ..., "parts": ..., "classes": ..., "counts": ..., "columns": ...,
                      "unsure": {choice: why}, "notes": [...],
                      "sample": {"shape": [n, h, w, c], "pixels": base64, "labels": [...]}}}
    {"convert": {"files": ..., "choices": ..., "out": folder}}
        -> {"progress": [bytes done, bytes in all]}, some times a second
        -> {"converted": {"kind": ..., "shape": ..., "classes": ..., "train": ..., "val": ..., "content": ..., ...}}
    {"findings": folder}
        -> {"findings": {"train": ..., "val": ..., "samples": ..., "warnings": [{"code", "message", "places"}, ...]}}

What cannot be done is answered by {"error": {"message", "file", "line", "column", "entry", "field", ...}}, a choice
that is none by {"errors": sentences by field}. The process ends when its standard input does, which is when whoever
asked is gone, and then it leaves no folder behind that it was making.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

from trainer.errors import ConfigError, IngestError
from trainer.ingest import convert, findings, guess
from trainer.ingest.contract import Choices, Upload, as_json

MEMORY = 2 << 30
"""Bytes on top of what the libraries hold. It needs a tenth of that; a file that makes it want more is a bad one."""
PROCESSOR_S = 4 * 3600
"""Seconds of a processor: an archive of millions of pictures takes less than one hour."""
_EVERY_S = 0.2


class Asked:
    """The questions, read by a thread of their own so that the end of the input is noticed in the middle of work."""

    def __init__(self) -> None:
        self.making: Path | None = None
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def next(self) -> dict[str, Any]:
        question: dict[str, Any] = json.loads(self._lines.get())
        return question

    def _read(self) -> None:
        for line in sys.stdin:
            self._lines.put(line)
        if self.making:
            shutil.rmtree(self.making, ignore_errors=True)
        os._exit(0)


def limit() -> None:
    """What a file may make this process take."""
    held = _addresses()
    if held is not None:
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_S, PROCESSOR_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _addresses() -> int | None:
    """Bytes of address space that are taken already: with many processors, numpy's library alone reserves gigabytes.

    None where the system does not tell, and then does not limit them either.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except FileNotFoundError:
        return None
    return pages * resource.getpagesize()


def answer(question: dict[str, Any], asked: Asked) -> dict[str, Any]:
    try:
        if "findings" in question:
            return {"findings": as_json(findings(Path(question["findings"])))}
        if "guess" in question:
            return {"guess": as_json(guess(_files(question["guess"]), _choices(question["guess"])))}
        told = question["convert"]
        asked.making = Path(told["out"])
        return {"converted": as_json(convert(_files(told), _choices(told), asked.making, _progress()))}
    except ConfigError as error:
        return {"errors": error.errors}
    except IngestError as error:
        return {"error": error.to_dict()}
    finally:
        asked.making = None


def _files(told: dict[str, Any]) -> list[Upload]:
    return [Upload(Path(file["path"]), file["filename"]) for file in told["files"]]


def _choices(told: dict[str, Any]) -> Choices:
    return Choices.from_dict(told.get("choices", {}))


def _progress() -> Any:
    told = 0.0

    def tell(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told > _EVERY_S:
            told = time.monotonic()
            say({"progress": [done, total]})

    return tell


def say(value: dict[str, Any]) -> None:
    # Not every file name is UTF-8, so JSON's own escapes are used.
    print(json.dumps(value), flush=True)


def main() -> None:
    limit()
    asked = Asked()
    while True:
        say(answer(asked.next(), asked))


if __name__ == "__main__":
    main()
