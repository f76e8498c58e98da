"""Coroutines in tests that are none themselves."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

Result = TypeVar("Result")


def in_a_loop(coroutine: Coroutine[object, object, Result]) -> Result:
    """What the coroutine gives, run in a thread: in the main one Playwright keeps a loop of its own between tests."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
