"""Slows down who guesses passwords: after a few wrong ones, each further try has to wait twice as long."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

FREE_TRIES = 5
LONGEST_WAIT_S = 60.0
FORGET_AFTER_S = 900.0
MOST_KEYS = 10_000


class Throttled(Exception):
    """Too many tries; `seconds` says how long to wait."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.whole_seconds = seconds, max(1, math.ceil(seconds))  # who waits as told is not told again
        super().__init__(f"Too many tries. Please wait {self.whole_seconds} s.")


class Throttle:
    """Counts tries by key (an address, a user's name), for at most `MOST_KEYS` of them."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._tries: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def attempt(self, *keys: str) -> None:
        """Count a try before it is judged, so that many at once count too. Raises `Throttled`."""
        with self._lock:
            found, now = self._may_try(keys), self._now()
            for key, (count, _) in found.items():
                self._tries[key] = (count + 1, now)
                self._tries.move_to_end(key)
            while len(self._tries) > MOST_KEYS:
                self._tries.popitem(last=False)

    def check(self, *keys: str) -> None:
        """Only look whether a try would have to wait. Raises `Throttled`."""
        with self._lock:
            self._may_try(keys)

    def passed(self, *keys: str) -> None:
        """The try was right: these keys begin anew."""
        with self._lock:
            for key in keys:
                self._tries.pop(key, None)

    def _may_try(self, keys: tuple[str, ...]) -> dict[str, tuple[int, float]]:
        """How often each has tried, and when the last time. Raises `Throttled`."""
        now = self._now()
        found = {key: self._count(key, now) for key in keys}
        wait = max(last + _pause(count) - now for count, last in found.values())
        if wait > 0:
            raise Throttled(wait)
        return found

    def _count(self, key: str, now: float) -> tuple[int, float]:
        count, last = self._tries.get(key, (0, now))
        return (0, now) if now - last > FORGET_AFTER_S else (count, last)


def _pause(count: int) -> float:
    return 0.0 if count < FREE_TRIES else min(LONGEST_WAIT_S, 2.0 ** (count - FREE_TRIES))
