"""Arrays of bytes in JSON, for the way between the server and the process that has torch. Free of torch."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def pack(array: Bytes) -> dict[str, Any]:
    """{"shape": [...], "pixels": base64}"""
    return {"shape": array.shape, "pixels": base64.b64encode(array.tobytes()).decode()}


def unpack(packed: dict[str, Any]) -> Bytes:
    """What `pack` was given, read-only."""
    return np.frombuffer(base64.b64decode(packed["pixels"]), np.uint8).reshape(packed["shape"])
