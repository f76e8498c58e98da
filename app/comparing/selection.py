"""Which runs a page is about: their numbers in the address, short enough for a thousand of them.

`runs=7`, `runs=3,5` and `runs=1-500` mean the same as `runs` said once for each. The order is kept: the first run is
the one that the others are held against.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice

from app.forms import FormError

MOST = 1000
"""Runs that one page compares."""
_PART = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?")


def ids(parts: Iterable[str]) -> list[int]:
    """The numbers, each once, in the order asked for. Raises `FormError`."""
    found: dict[int, None] = {}
    for part in ",".join(parts).replace(" ", "").split(","):
        if part:
            found |= dict.fromkeys(islice(_numbers(part), MOST + 1))
        if len(found) > MOST:
            raise FormError({"runs": f"These are more than {MOST:,} runs: choose fewer, or narrow the table's filter."})
    return list(found)


def address(run_ids: Sequence[int]) -> str:
    """The reverse of `ids`, consecutive numbers as ranges: `runs=1-100,105`."""
    if not run_ids:
        return ""
    stretches: list[list[int]] = []
    for run_id in run_ids:
        if stretches and run_id == stretches[-1][-1] + 1:
            stretches[-1].append(run_id)
        else:
            stretches.append([run_id])
    return "runs=" + ",".join(_shown(stretch) for stretch in stretches)


def _numbers(part: str) -> Iterable[int]:
    match = _PART.fullmatch(part)
    if match is None:
        raise FormError({"runs": f"“{part[:40]}” is no number of a run. Write numbers and ranges, as 3,5,10-20."})
    first, last = int(match[1]), int(match[2] or match[1])
    return range(first, last + 1)


def _shown(stretch: Sequence[int]) -> str:
    return f"{stretch[0]}-{stretch[-1]}" if len(stretch) > 2 else ",".join(map(str, stretch))
