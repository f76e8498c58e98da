"""Which device a run computes on, and what a machine has to offer."""

from __future__ import annotations

import math
import os
import platform
import time
from functools import cache
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


def precision(wanted: str, device: torch.device) -> str:
    """ "auto" becomes bfloat16 where the device computes it natively, else float32. Raises `DeviceError`.

    On CUDA it also sets, for this process, whether float32 products may be computed as TF32.
    """
    if wanted == "auto":
        wanted = "bfloat16" if _native_bfloat16(device) else "float32"
    if device.type == "cuda":
        kind = "tf32" if wanted == "tf32" else "ieee"
        torch.backends.cuda.matmul.fp32_precision = kind
        torch.backends.cudnn.conv.fp32_precision = kind  # type: ignore[attr-defined]
    elif wanted == "tf32":
        raise DeviceError("TF32 is a format of NVIDIA GPUs; on a CPU choose float32 or bfloat16.")
    return wanted


def _native_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Older torch cannot tell; float32 is right everywhere.
    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


@cache
def matmul_rate(device: torch.device, precision: str) -> float:
    """Floating-point operations per second of a large matrix product there, the best of several; takes about 0.2 s."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    if precision == "bfloat16":
        a, b = a.bfloat16(), b.bfloat16()
    best = math.inf
    for _ in range(6):
        _wait(device)
        begun = time.perf_counter()
        torch.mm(a, b)
        _wait(device)
        best = min(best, time.perf_counter() - begun)
    return 2 * size**3 / best


def out_of_memory(error: BaseException) -> bool:
    """Whether a device had no memory left: torch's allocator has an exception of its own, CUDA's libraries have not."""
    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in said or "alloc_failed" in said)
    )


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


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
