"""Server-sent events, read line by line as they come."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    id: int
    """Its place in the server's journal: give it to `Client.events` as `after` to get what comes next."""
    kind: str
    """status, steps, epoch, log or deleted."""
    data: dict[str, Any]


def parse(lines: Iterable[bytes]) -> Iterator[Event]:
    """Events that are whole; comments, which keep the connection open, are passed over."""
    fields: dict[str, list[str]] = {}
    for raw in lines:
        line = raw.decode().rstrip("\r\n")
        if line == "":
            if "data" in fields and "id" in fields:
                kind = fields.get("event", ["message"])[-1]
                yield Event(int(fields["id"][-1]), kind, json.loads("\n".join(fields["data"])))
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
