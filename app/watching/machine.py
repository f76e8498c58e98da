"""What this machine is doing: processor and memory by psutil, NVIDIA GPUs by NVML.

The server reads it when somebody looks. It needs no torch for that, and workers run on the same machine: had they to
report it, every reading would be a write to the database, and every write wakes every stream.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
import pynvml

T = TypeVar("T")

LEAST_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class Gpu:
    """One NVIDIA GPU; what it does not tell is None."""

    index: int
    name: str
    utilization: float | None
    """Share of the last moments in which a kernel ran, from 0 to 1."""
    memory_used: int | None
    memory_total: int | None
    """Bytes."""
    temperature: int | None
    """Degrees Celsius."""


@dataclass(frozen=True, slots=True)
class Reading:
    cpu: float
    """Share of all cores' time since a reading a second ago or more, from 0 to 1."""
    cores: int
    memory_used: int
    memory_total: int
    disk_free: int
    disk_total: int
    """Of the disk that holds the home, in bytes."""
    gpus: tuple[Gpu, ...]


@dataclass(frozen=True, slots=True)
class ProcessReading:
    memory: int
    """Resident bytes, children included: a DataLoader's processes are the worker's too."""
    cpu: float
    """Cores kept busy since it started, on average."""


class Machine:
    """Thread-safe."""

    def __init__(self, home: Path) -> None:
        self._home, self._lock = home, threading.Lock()
        psutil.cpu_percent()  # the first call only begins to count
        self._read_at, self._cpu = time.monotonic(), 0.0
        self._nvml = _nvml_is_there()

    def read(self) -> Reading:
        memory, disk = psutil.virtual_memory(), shutil.disk_usage(self._home)
        with self._lock:
            cpu = self._busy()
            gpus = _gpus() if self._nvml else ()
        return Reading(
            cpu=cpu,
            cores=psutil.cpu_count() or 1,
            memory_used=memory.total - memory.available,
            memory_total=memory.total,
            disk_free=disk.free,
            disk_total=disk.total,
            gpus=gpus,
        )

    def _busy(self) -> float:
        """Of the last second or more: between two looks at once there is nothing to count."""
        now = time.monotonic()
        if now - self._read_at >= LEAST_INTERVAL_S:
            self._read_at, self._cpu = now, psutil.cpu_percent() / 100
        return self._cpu


def process(pid: int, now: float) -> ProcessReading | None:
    """What a process of this machine takes; None when it is gone. `now` is in seconds since the epoch."""
    try:
        found = psutil.Process(pid)
        family = [found, *found.children(recursive=True)]
        memory = busy = 0.0
        for member in family:
            with suppress(psutil.NoSuchProcess):
                memory += member.memory_info().rss
                times = member.cpu_times()
                busy += times.user + times.system
        return ProcessReading(int(memory), busy / max(1.0, now - found.create_time()))
    except psutil.Error:
        return None


def _nvml_is_there() -> bool:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    return True


def _gpus() -> tuple[Gpu, ...]:
    return tuple(_gpu(index) for index in range(_told(pynvml.nvmlDeviceGetCount) or 0))


def _gpu(index: int) -> Gpu:
    handle = _told(lambda: pynvml.nvmlDeviceGetHandleByIndex(index))
    if handle is None:
        # It has fallen off its bus, say: then above all the page that tells of it must still come.
        return Gpu(index, "does not answer", None, None, None, None)
    memory = _told(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle))
    utilization = _told(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle))
    name = _told(lambda: pynvml.nvmlDeviceGetName(handle)) or "has no name"
    return Gpu(
        index=index,
        name=name.decode() if isinstance(name, bytes) else name,
        utilization=None if utilization is None else utilization.gpu / 100,
        memory_used=None if memory is None else int(memory.used),
        memory_total=None if memory is None else int(memory.total),
        temperature=_told(lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)),
    )


def _told(ask: Callable[[], T]) -> T | None:
    """Not every card, and no slice of one, tells everything."""
    try:
        return ask()
    except pynvml.NVMLError:
        return None
