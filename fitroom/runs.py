"""A run and its numbers, as the server tells them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

OVER = ("finished", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Run:
    """`told` holds everything that the server said; what is used most stands beside it."""

    id: int
    name: str
    status: str
    """queued, running, finished, failed or cancelled."""
    config: Mapping[str, Any]
    """Every setting by its name."""
    tags: tuple[str, ...]
    notes: str
    message: str | None
    """How it ended, in a sentence."""
    epochs: int
    epochs_done: int
    best_epoch: int | None
    best_val_accuracy: float | None
    val_accuracy: float | None
    val_loss: float | None
    train_accuracy: float | None
    train_loss: float | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_s: float | None
    told: Mapping[str, Any]

    @property
    def over(self) -> bool:
        return self.status in OVER

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Run:
        same = {field.name: told.get(field.name) for field in fields(cls) if field.name != "told"}
        moments = {name: instant(told.get(name)) for name in ("created_at", "started_at", "finished_at")}
        return cls(**(same | moments | {"tags": tuple(told.get("tags", ())), "told": told}))


@dataclass(frozen=True, slots=True)
class Metrics:
    """All that a run has recorded so far."""

    epochs: list[dict[str, Any]]
    """One for each epoch done, by the names that the API has; a value that was not finite is None."""
    losses: list[float | None]
    """The training loss of every step from 0 on."""
    cursor: int
    """Where `Client.events` goes on."""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Metrics:
        losses = [loss for block in told["steps"] for loss in block["losses"]]
        return cls(list(told["epochs"]), losses, int(told["cursor"]))


def instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
