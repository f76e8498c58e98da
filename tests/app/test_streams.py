"""Several things followed in one stream, and what ends it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from app import runs
from app.guarding import people
from app.guarding.people import LOCAL
from app.main import create_app
from app.models import Role
from app.routes.streams import _follow
from tests.app.test_access import PASSWORD
from tests.loops import in_a_loop

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from app.config import Settings
    from app.state import State
    from tests.conftest import FakeClock


def told(text: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


def cancelled(client: TestClient) -> int:
    run_id = int(client.post("/api/v1/runs", json={"epochs": 1}).json()["id"])
    client.post(f"/api/v1/runs/{run_id}/cancel")
    return run_id


def test_two_runs_in_one_stream_are_told_each_from_its_own_cursor_to_its_end(client: TestClient):
    first, second = cancelled(client), cancelled(client)
    cursor = client.get(f"/api/v1/runs/{first}/metrics").json()["cursor"]
    events = told(client.get(f"/api/v1/streams?follow=run-{first}@{cursor}&follow=run-{second}@0").text)
    assert [event["kind"] for event in events if event["topic"] == f"run-{first}"] == ["end"]
    of_second = [event for event in events if event["topic"] == f"run-{second}"]
    assert [event["kind"] for event in of_second] == ["log", "log", "status", "end"]
    ids = [event["id"] for event in of_second]
    assert ids == sorted(ids)
    assert of_second[2]["data"]["run"]["status"] == "cancelled"


def test_a_run_that_is_gone_is_told_and_ends(client: TestClient):
    assert [event["kind"] for event in told(client.get("/api/v1/streams?follow=run-9@0").text)] == ["deleted", "end"]


@pytest.mark.parametrize(
    "query",
    ["", "follow=", "follow=run-1", "follow=run-x@1", "follow=table@-1", f"follow=run-1@{'9' * 19}", "follow=a@1"],
)
def test_what_cannot_be_followed_is_refused(client: TestClient, query: str):
    assert client.get(f"/api/v1/streams?{query}").status_code == 422


def test_a_hundred_and_one_topics_are_too_many(client: TestClient):
    assert client.get("/api/v1/streams?" + "&".join(["follow=table@0"] * 101)).status_code == 422


async def watched(state: State, clock: FakeClock, act: str) -> int:
    """Follow the table as a user; when something has come, end the sign-in or let it run out. Batches until the end."""
    with state.db.write() as session:
        people.add(session, "ann", PASSWORD, Role.VIEWER, now=clock())
        cookie = people.sign_in(session, "ann", now=clock())
        who = people.who_has(session, cookie, now=clock())
        assert who is not None
    watcher = asyncio.create_task(state.live.watch())
    count = 0
    async for _ in _follow(state, who, {"table": 0}):
        count += 1
        if act == "sign out":
            with state.db.write() as session:
                people.sign_out_everywhere(session, "ann")
        else:
            clock.forward(people.LASTS.total_seconds() + 1)
            with state.db.write() as session:
                people.set_role(session, "ann", Role.TRAINER)
    watcher.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watcher
    return count


@pytest.mark.parametrize("act", ["sign out", "run out"])
def test_a_stream_ends_when_who_asked_for_it_is_signed_out(home_with_data: Settings, clock: FakeClock, act: str):
    state: State = create_app(home_with_data, clock=clock).state.fitroom
    assert in_a_loop(asyncio.wait_for(watched(state, clock, act), 30)) == 1
    assert state.telemetry.open_streams == 0
    state.live.close()
    state.db.close()


def test_streams_are_counted_while_they_are_open(home_with_data: Settings, clock: FakeClock):
    async def one() -> int:
        state: State = create_app(home_with_data, clock=clock).state.fitroom
        with state.db.write() as session:
            runs.record_change(session, 1, "status", now=clock())
        followed = _follow(state, LOCAL, {"table": 0})
        await anext(followed)
        seen = state.telemetry.open_streams
        await followed.aclose()  # type: ignore[attr-defined]
        assert state.telemetry.open_streams == 0
        state.live.close()
        state.db.close()
        return seen

    assert in_a_loop(one()) == 1
