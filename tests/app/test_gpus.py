"""NVIDIA GPUs as NVML tells of them: by a library of real entry points, called through ctypes as the driver's is."""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, c_char, c_int, c_uint, c_ulonglong, c_void_p, cast
from typing import TYPE_CHECKING, Any

import pynvml
import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.watching.machine import Gpu, Machine
from tests.app.test_health import numbers
from tests.app.test_overview import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from app.config import Settings
    from tests.conftest import FakeClock

SUCCESS, NOT_SUPPORTED, LOST = 0, pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_GPU_IS_LOST
GB = 1 << 30
WHOLE, SLICE, GONE = 0, 1, 2
"""A card that tells everything, one that tells its memory alone, and one that has fallen off its bus."""


class Library:
    """What `libnvidia-ml.so.1` exports of that which Fitroom asks, with its C signatures."""

    def __init__(self) -> None:
        self._export("nvmlInitWithFlags", lambda flags: SUCCESS, c_uint)
        self._export("nvmlDeviceGetCount_v2", lambda out: put(out, c_uint, 3), c_void_p)
        self._export("nvmlDeviceGetHandleByIndex_v2", self._handle, c_uint, c_void_p)
        self._export("nvmlDeviceGetName", self._name, c_void_p, c_void_p, c_uint)
        self._export("nvmlDeviceGetMemoryInfo", self._memory, c_void_p, c_void_p)
        self._export("nvmlDeviceGetUtilizationRates", self._utilization, c_void_p, c_void_p)
        self._export("nvmlDeviceGetTemperature", self._temperature, c_void_p, c_uint, c_void_p)

    def _export(self, name: str, does: Callable[..., int], *arguments: Any) -> None:
        setattr(self, name, CFUNCTYPE(c_int, *arguments)(does))

    @staticmethod
    def _handle(index: int, out: int) -> int:
        return LOST if index == GONE else put(out, c_void_p, 0x1000 + index)

    @staticmethod
    def _name(handle: int, out: int, length: int) -> int:
        name = b"NVIDIA H100" if card(handle) == WHOLE else b"NVIDIA H100 MIG 1g"
        return put(out, c_char, *(bytes([byte]) for byte in name[: length - 1] + b"\0"))

    @staticmethod
    def _memory(_: int, out: int) -> int:
        return put(out, c_ulonglong, 80 * GB, 60 * GB, 20 * GB)  # total, free, used

    @staticmethod
    def _utilization(handle: int, out: int) -> int:
        return put(out, c_uint, 87, 40) if card(handle) == WHOLE else NOT_SUPPORTED

    @staticmethod
    def _temperature(handle: int, sensor: int, out: int) -> int:
        return put(out, c_uint, 61) if card(handle) == WHOLE and sensor == 0 else NOT_SUPPORTED


def card(handle: int) -> int:
    return handle - 0x1000


def put(address: int, kind: Any, *values: Any) -> int:
    """Write values of a C type where the caller has said."""
    place = cast(address, POINTER(kind))
    for number, value in enumerate(values):
        place[number] = value
    return SUCCESS


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library()
    monkeypatch.setattr(pynvml, "nvmlLib", library)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    return library


@pytest.fixture
def client(library: Library, home_with_data: Settings, clock: FakeClock) -> Iterator[TestClient]:
    with TestClient(create_app(home_with_data, clock=clock), base_url="http://localhost") as client:
        yield client


def test_each_gpu_tells_what_it_can_and_one_that_is_lost_hides_no_other(library: Library, home_with_data: Settings):
    assert Machine(home_with_data.home).read().gpus == (
        Gpu(0, "NVIDIA H100", 0.87, 20 * GB, 80 * GB, 61),
        Gpu(1, "NVIDIA H100 MIG 1g", None, 20 * GB, 80 * GB, None),
        Gpu(2, "does not answer", None, None, None, None),
    )


def test_a_driver_that_stops_answering_leaves_the_rest_of_the_reading(library: Library, home_with_data: Settings):
    machine = Machine(home_with_data.home)
    library._export("nvmlDeviceGetCount_v2", lambda out: pynvml.NVML_ERROR_UNKNOWN, c_void_p)
    pynvml._nvmlGetFunctionPointer_cache.clear()
    reading = machine.read()
    assert reading.gpus == ()
    assert reading.memory_total > 0


def test_gpus_are_on_the_status_page_and_among_the_numbers(client: TestClient):
    shown = text_of(client, "machine")
    assert "NVIDIA H100" in shown
    assert "87 %" in shown
    assert "61 °C" in shown
    assert "GPU 1: NVIDIA H100 MIG 1g memory" in shown
    assert "GPU 2 does not answer" in shown
    found = numbers(client)
    assert found["fitroom_gpu_utilization_ratio gpu=0"] == 0.87
    assert found["fitroom_gpu_temperature_celsius gpu=0"] == 61
    assert found["fitroom_gpu_memory_used_bytes gpu=1"] == 20 * GB
    assert "fitroom_gpu_utilization_ratio gpu=1" not in found
    assert not [name for name in found if name.endswith("gpu=2")]


def test_the_entry_points_are_called_as_c_functions(library: Library):
    """What the library of these tests stands for: a pointer to machine code, not a Python function."""
    pointer = library.nvmlDeviceGetCount_v2  # type: ignore[attr-defined]
    assert ctypes.cast(pointer, c_void_p).value
    out = c_uint()
    assert CFUNCTYPE(c_int, c_void_p)(ctypes.cast(pointer, c_void_p).value)(ctypes.byref(out)) == SUCCESS
    assert out.value == 3
