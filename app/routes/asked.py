"""The table's query as routes take it: the same parameters wherever runs are listed, exported or compared."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query

from app.runs_table import listing


def _parts(
    status: Annotated[str, Query(description="queued, running, finished, cancelled or failed; empty: all.")] = "",
    q: Annotated[str, Query(description="Words in the name or a tag.")] = "",
    filter: Annotated[
        str, Query(description="Such as `lr < 0.01 and (tag = sweep or arch in (net, mlp))`.", max_length=8000)
    ] = "",
    sort: Annotated[str, Query(description="Columns with commas between, a minus before the largest-first.")] = "",
    archived: Annotated[str, Query(description="Empty: without those archived; `only`: those; `all`: both.")] = "",
) -> dict[str, str]:
    return {"status": status, "q": q, "filter": filter, "sort": sort, "archived": archived}


Parts = Annotated[dict[str, str], Depends(_parts)]
"""What of an address says which runs, and in which order; nothing of it has been looked at."""


def _asked(parts: Parts, page: Annotated[int, Query(ge=1, le=10**6)] = 1) -> listing.Query:
    return listing.Query.of(**parts, page=page)


def _lenient(
    parts: Parts, page: int = 1, group: str = "", cols: str = "", fold: str = ""
) -> tuple[listing.Query, dict[str, str]]:
    return listing.Query.lenient(**parts, page=page, group=group, cols=cols, fold=fold)


Asked = Annotated[listing.Query, Depends(_asked)]
"""For programs: what cannot be read is refused, by field."""
Lenient = Annotated[tuple[listing.Query, dict[str, str]], Depends(_lenient)]
"""For the page: the query, and what of the address could not be read, by field."""
