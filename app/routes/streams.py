"""Server-sent events: what came after a cursor, then what comes.

Every event's id is its place in the journal, so a reconnect (`Last-Event-ID`) goes on exactly where it broke off.
A stream holds no session: it reads when the database has changed, and only then.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, HTTPException, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from app import journal, runs
from app.journal import Batch
from app.models import Status
from app.state import Shared, State

router = APIRouter(prefix="/api/v1", tags=["streams"])

RECONNECT_MS = 1000


def _cursor(
    after: Annotated[int, Query(ge=0, le=2**62, description="Only what came after this cursor.")] = 0,
    last_event_id: Annotated[str | None, Header()] = None,
) -> int:
    """Where the client left off: a reconnecting browser says it in a header, which is newer than its address."""
    if last_event_id is not None and last_event_id.isascii() and last_event_id.isdigit():
        return min(int(last_event_id[:18]), 2**62)
    return after


Cursor = Annotated[int, Depends(_cursor)]


def _something_to_tell(run_id: int, cursor: Cursor, shared: Shared) -> None:
    """Checked before the first byte: 404 for no such run, 204 (which ends an EventSource) when all has been told."""
    with shared.db.read() as session:
        run = runs.get(session, run_id)
        if Status(run.status).over and not journal.of_run(session, run_id, cursor, now=shared.clock()).events:
            raise HTTPException(204)


@router.get("/events", response_class=EventSourceResponse)
async def stream_runs(cursor: Cursor, shared: Shared) -> AsyncIterator[ServerSentEvent]:
    """Changes of the table of runs: `run` and `deleted`."""
    async for event in _follow(shared, cursor, lambda after: _read_table(shared, after)):
        yield event


@router.get("/runs/{run_id}/events", response_class=EventSourceResponse, dependencies=[Depends(_something_to_tell)])
async def stream_run(run_id: int, cursor: Cursor, shared: Shared) -> AsyncIterator[ServerSentEvent]:
    """One run's `status`, `steps`, `epoch`, `log` and `deleted`; ends when the run has ended and all is told."""
    async for event in _follow(shared, cursor, lambda after: _read_run(shared, run_id, after)):
        yield event


async def _follow(shared: State, cursor: int, read: Callable[[int], Batch]) -> AsyncIterator[ServerSentEvent]:
    yield ServerSentEvent(retry=RECONNECT_MS, comment="connected")
    while True:
        change = shared.live.next_change()
        batch = await run_in_threadpool(read, cursor)
        for event in batch.events:
            yield ServerSentEvent(event=event.kind, id=str(event.id), raw_data=_json(event.data))
        cursor = batch.cursor
        if batch.over:
            return
        if not batch.more:
            await change.wait()


def _read_run(shared: State, run_id: int, after: int) -> Batch:
    with shared.db.read() as session:
        return journal.of_run(session, run_id, after, now=shared.clock())


def _read_table(shared: State, after: int) -> Batch:
    with shared.db.read() as session:
        return journal.of_table(session, after, now=shared.clock())


class _Payload(BaseModel):
    model_config = {"ser_json_inf_nan": "null"}
    data: Any


def _json(data: dict[str, Any]) -> str:
    """As JSON with instants in ISO format; on one line, as the stream's format wants."""
    return _Payload(data=data).model_dump_json()[len('{"data":') : -1]
