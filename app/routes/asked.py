"""The table's query as routes take it: the same parameters, and the same errors by field, wherever runs are listed."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query

from app.runs_table import listing


def _asked(
    status: Annotated[str, Query(description="queued, running, finished, cancelled or failed; empty: all.")] = "",
    q: Annotated[str, Query(description="Words in the name or a tag.")] = "",
    filter: Annotated[
        str, Query(description="Such as `lr < 0.01 and (tag = sweep or arch in (net, mlp))`.", max_length=8000)
    ] = "",
    sort: Annotated[str, Query(description="Columns with commas between, a minus before the largest-first.")] = "",
    archived: Annotated[str, Query(description="Empty: without those archived; `only`: those; `all`: both.")] = "",
    page: Annotated[int, Query(ge=1, le=10**6)] = 1,
) -> listing.Query:
    return listing.Query.of(status=status, q=q, filter=filter, sort=sort, archived=archived, page=page)


Asked = Annotated[listing.Query, Depends(_asked)]
