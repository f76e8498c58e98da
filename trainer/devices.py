"""Which device a run computes on, and what a machine has to offer."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from trainer.errors import DeviceError


def resolve(wanted: str) -> torch.device:
    """ "auto" becomes the first CUDA device, or the CPU. Raises `DeviceError` naming what there is instead."""
    if wanted == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"There is no {wanted} on this machine; it has {', '.join(_ids())}.")
    return device


def name_of(device: torch.device) -> str:
    """The hardware's own name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def describe() -> dict[str, Any]:
    """Versions and devices as JSON-able values; `CUDA_VISIBLE_DEVICES` is respected, as torch does."""
    cpu = {"id": "cpu", "name": cpu_name(), "threads": torch.get_num_threads(), "cores": os.cpu_count()}
    cuda = [
        {
            "id": f"cuda:{index}",
            "name": torch.cuda.get_device_name(index),
            "memory_bytes": torch.cuda.get_device_properties(index).total_memory,
        }
        for index in range(torch.cuda.device_count())
    ]
    return {
        "devices": [cpu, *cuda],
        "versions": {name: version(name) for name in ("torch", "torchvision", "numpy")},
        "python": platform.python_version(),
    }


def _ids() -> list[str]:
    return ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
