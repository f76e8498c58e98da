"""Server-sent events: what came after a cursor, then what comes.

Every event's id is its place in the journal, so a reconnect (`Last-Event-ID`) goes on exactly where it broke off.
A stream holds no session: it reads when the database has changed, and only then.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, HTTPException, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from app import journal, runs
from app.guarding import people
from app.guarding.access import Asker
from app.guarding.people import Identity
from app.journal import Batch
from app.models import Status
from app.schemas import Problem
from app.state import Shared, State

router = APIRouter(
    prefix="/api/v1",
    responses={status: {"model": Problem} for status in (404, 422)},
    generate_unique_id_function=lambda route: route.name,
)

TABLE = "table"
_TOPIC = re.compile(r"(table|run-[0-9]{1,18})@[0-9]{1,18}")
_CONNECTED = ServerSentEvent(retry=1000, comment="connected")


def _cursor(
    after: Annotated[int, Query(ge=0, le=2**62, description="Only what came after this cursor.")] = 0,
    last_event_id: Annotated[str | None, Header()] = None,
) -> int:
    """Where the client left off: a reconnecting browser says it in a header, which is newer than its address."""
    if last_event_id is not None and last_event_id.isascii() and last_event_id.isdigit():
        return min(int(last_event_id[:18]), 2**62)
    return after


Cursor = Annotated[int, Depends(_cursor)]


def _topics(
    follow: Annotated[
        list[str],
        Query(min_length=1, max_length=100, description="`table@CURSOR` or `run-NUMBER@CURSOR`, several times."),
    ],
) -> dict[str, int]:
    """What is followed, each from its own cursor on."""
    if not all(_TOPIC.fullmatch(one) for one in follow):
        raise HTTPException(422, "follow: table@CURSOR or run-NUMBER@CURSOR")
    return {topic: int(cursor) for topic, _, cursor in (one.partition("@") for one in follow)}


Topics = Annotated[dict[str, int], Depends(_topics)]


def _something_to_tell(run_id: int, cursor: Cursor, shared: Shared) -> None:
    """Checked before the first byte: 404 for no such run, 204 (which ends an EventSource) when all has been told."""
    with shared.db.read() as session:
        run = runs.get(session, run_id)
        if Status(run.status).over and not journal.of_run(session, run_id, cursor, now=shared.clock()).events:
            raise HTTPException(204)


@router.get("/events", response_class=EventSourceResponse)
async def stream_runs(cursor: Cursor, shared: Shared, who: Asker) -> AsyncIterator[ServerSentEvent]:
    """Changes of the table of runs: `run` and `deleted`."""
    async for event in _alone(shared, who, TABLE, cursor):
        yield event


@router.get("/runs/{run_id}/events", response_class=EventSourceResponse, dependencies=[Depends(_something_to_tell)])
async def stream_run(run_id: int, cursor: Cursor, shared: Shared, who: Asker) -> AsyncIterator[ServerSentEvent]:
    """One run's `status`, `steps`, `epoch`, `log` and `deleted`; ends when the run has ended and all is told."""
    async for event in _alone(shared, who, f"run-{run_id}", cursor):
        yield event


@router.get("/streams", response_class=EventSourceResponse)
async def stream_many(topics: Topics, shared: Shared, who: Asker) -> AsyncIterator[ServerSentEvent]:
    """The table and any runs in one stream: each event is `told`, with its `topic`, `id`, `kind` and `data`.

    When a run has ended and all is told, its topic's last `kind` is `end`. There is no event id: who reconnects asks
    with the cursors it has come to.
    """
    yield _CONNECTED
    async for topic, batch in _follow(shared, who, topics):
        for event in batch.events:
            yield _told(topic, event.kind, event.id, event.data)
        if batch.over:
            yield _told(topic, "end", batch.cursor, {})


async def _alone(shared: State, who: Identity, topic: str, cursor: int) -> AsyncIterator[ServerSentEvent]:
    yield _CONNECTED
    async for _, batch in _follow(shared, who, {topic: cursor}):
        for event in batch.events:
            yield ServerSentEvent(event=event.kind, id=str(event.id), raw_data=_json(event.data))


async def _follow(shared: State, who: Identity, cursors: dict[str, int]) -> AsyncIterator[tuple[str, Batch]]:
    """What is new of each topic, again and again; ends when all are over, or when who asked is signed out."""
    with shared.telemetry.stream():
        while cursors:
            change = shared.live.next_change()
            batches = await run_in_threadpool(_read, shared, who, cursors)
            for topic, batch in batches.items():
                yield topic, batch
            if not batches:
                return
            cursors = {topic: batch.cursor for topic, batch in batches.items() if not batch.over}
            if cursors and not any(batch.more for batch in batches.values()):
                await change.wait()


def _read(shared: State, who: Identity, cursors: dict[str, int]) -> dict[str, Batch]:
    """One snapshot's news of each topic; empty when who asked may not know them any more."""
    now = shared.clock()
    with shared.db.read() as session:
        if not people.still_in(session, who, now=now):
            return {}
        return {
            topic: journal.of_table(session, after, now=now)
            if topic == TABLE
            else journal.of_run(session, int(topic.removeprefix("run-")), after, now=now)
            for topic, after in cursors.items()
        }


def _told(topic: str, kind: str, number: int, data: dict[str, Any]) -> ServerSentEvent:
    return ServerSentEvent(event="told", raw_data=_json({"topic": topic, "id": number, "kind": kind, "data": data}))


class _Payload(BaseModel):
    model_config = {"ser_json_inf_nan": "null"}
    data: Any


def _json(data: dict[str, Any]) -> str:
    """As JSON with instants in ISO format; on one line, as the stream's format wants."""
    return _Payload(data=data).model_dump_json()[len('{"data":') : -1]
