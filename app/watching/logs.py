"""The log: lines for a terminal or JSON for a collector, each with the request or run that it belongs to.

The standard library's logging does it: uvicorn, SQLAlchemy and Alembic log that way too, and one format for all of it
is what a reader wants.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

_bound: ContextVar[dict[str, str | int]] = ContextVar("fitroom_log", default={})  # noqa: B039 - never changed in place


@contextmanager
def bound(**values: str | int) -> Iterator[None]:
    """What this task or thread logs inside the block carries these: `request`, or `run` and `attempt`."""
    reset = _bound.set({**_bound.get(), **values})
    try:
        yield
    finally:
        _bound.reset(reset)


def configure(level: str, form: str) -> None:
    """Log to standard error from now on, as `form` says: console or json."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else ConsoleLines())
    handler.addFilter(_remember)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for talkative in ("alembic", "asyncio", "python_multipart", "multipart"):
        logging.getLogger(talkative).setLevel(logging.WARNING)


def _remember(record: logging.LogRecord) -> bool:
    """Note what is bound where the line is written: a handler may write it later, from elsewhere."""
    record.bound = _bound.get()
    return True


class JsonLines(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `message`, what is bound, and `error` with the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _instant(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "bound", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


class ConsoleLines(logging.Formatter):
    """For people: time, level, logger, message, what is bound; control characters are shown, not obeyed."""

    def format(self, record: logging.LogRecord) -> str:
        bound = "".join(f"  {name}={value}" for name, value in getattr(record, "bound", {}).items())
        message = "".join(c if c.isprintable() else repr(c)[1:-1] for c in record.getMessage())
        line = f"{_instant(record):%Y-%m-%d %H:%M:%S}Z {record.levelname:<7} {record.name}  {message}{bound}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _instant(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)
