"""How the whole is doing, in numbers read from the database: the queue, the runs, the workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.clock import Clock
from app.db import Database
from app.models import Run, Status, WorkerRow
from app.watching.machine import Machine


@dataclass(frozen=True, slots=True)
class Vitals:
    by_status: dict[str, int]
    """How many runs have each status; all of them are named."""
    failures: dict[str, int]
    """How many runs failed, by reason."""
    epochs: int
    """Epochs done by the runs that are kept."""
    times_lost: int
    """How often one of these runs lost its worker."""
    oldest_queued_s: float
    """Age of the oldest queued run, 0 where none waits."""
    oldest_running_s: float
    heartbeats_s: dict[str, float]
    """Seconds since each registered worker was heard of, by its name."""


def of(session: Session, now: datetime) -> Vitals:
    counts: dict[str, int] = dict(session.execute(select(Run.status, func.count()).group_by(Run.status)).all())
    reasons = select(Run.reason, func.count()).where(Run.status == Status.FAILED).group_by(Run.reason)
    sums = session.execute(
        select(func.coalesce(func.sum(Run.epochs_done), 0), func.coalesce(func.sum(Run.times_lost), 0))
    ).one()
    queued = session.scalar(select(func.min(Run.created_at)).where(Run.status == Status.QUEUED))
    running = session.scalar(select(func.min(Run.started_at)).where(Run.status == Status.RUNNING))
    return Vitals(
        by_status={str(status): counts.get(status, 0) for status in Status},
        failures={reason or "unknown": count for reason, count in session.execute(reasons)},
        epochs=sums[0],
        times_lost=sums[1],
        oldest_queued_s=_age(queued, now),
        oldest_running_s=_age(running, now),
        heartbeats_s={worker.name: _age(worker.seen_at, now) for worker in session.scalars(select(WorkerRow))},
    )


class ForPrometheus(Collector):
    """Reads the database and the machine whenever Prometheus asks."""

    def __init__(self, db: Database, clock: Clock, machine: Machine) -> None:
        self._db, self._clock, self._machine = db, clock, machine

    def collect(self) -> Iterator[Metric]:
        with self._db.read() as session:
            found = of(session, self._clock())
        yield _labelled("fitroom_runs", "Runs by status.", "status", found.by_status)
        yield _labelled("fitroom_failed_runs", "Failed runs by reason.", "reason", found.failures)
        yield GaugeMetricFamily("fitroom_epochs", "Epochs done by the runs that are kept.", found.epochs)
        yield GaugeMetricFamily("fitroom_workers_lost", "How often kept runs lost their worker.", found.times_lost)
        yield GaugeMetricFamily("fitroom_queue_length", "Runs that wait.", found.by_status[Status.QUEUED])
        yield GaugeMetricFamily(
            "fitroom_queue_oldest_age_seconds", "Age of the oldest queued run.", found.oldest_queued_s
        )
        yield GaugeMetricFamily(
            "fitroom_running_oldest_age_seconds", "Seconds since the start of the oldest run under way.",
            found.oldest_running_s,
        )  # fmt: skip
        yield _labelled(
            "fitroom_worker_heartbeat_age_seconds", "Since the worker was heard of.", "worker", found.heartbeats_s
        )
        yield from self._of_machine()

    def _of_machine(self) -> Iterator[Metric]:
        reading = self._machine.read()
        yield GaugeMetricFamily("fitroom_disk_free_bytes", "Free on the home's disk.", reading.disk_free)
        for gpu in reading.gpus:
            for name, value in (
                ("utilization_ratio", gpu.utilization),
                ("memory_used_bytes", gpu.memory_used),
                ("temperature_celsius", gpu.temperature),
            ):
                if value is not None:
                    yield _labelled(f"fitroom_gpu_{name}", "As NVML tells it.", "gpu", {str(gpu.index): value})


def _labelled(name: str, text: str, label: str, values: dict[str, int] | dict[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _age(since: datetime | None, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds()) if since else 0.0
