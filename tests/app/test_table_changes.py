"""What is changed from the table: columns, edits, many runs at once, views; from JSON and from plain forms."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from sqlalchemy import event

from app import metrics
from tests.app.listing_store import add, filled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.testclient import TestClient

    from app.config import Settings
    from app.db import Database
    from tests.conftest import FakeClock


@pytest.fixture
def store(client: TestClient, home_with_data: Settings, clock: FakeClock) -> Iterator[Database]:
    db = filled(home_with_data.database, clock)
    yield db
    db.close()


@pytest.fixture
def statements(client: TestClient) -> Iterator[list[str]]:
    """What is asked of the database by those who only read."""
    engine, seen = client.app.state.fitroom.db._readers, []  # type: ignore[attr-defined]
    listener = lambda _c, _u, statement, *_: seen.append(statement)  # noqa: E731
    event.listen(engine, "before_cursor_execute", listener)
    yield seen
    event.remove(engine, "before_cursor_execute", listener)


def test_columns_are_chosen_ordered_pinned_and_remembered(client: TestClient, store: Database):
    chosen = "/runs/columns?col=lr&col=notes&col=name&pin=name&width.lr=120&address=%3Fsort%3Dlr"
    answer = client.get(chosen, follow_redirects=False)
    assert answer.headers["location"] == "/runs?sort=lr"
    page = client.get("/runs").text
    assert re.findall(r'<th scope="col" data-key="(\w+)"', page) == ["name", "lr", "notes"]
    assert 'data-key="name" class="pinned"' in page
    assert 'width="120"' in page
    # What an address says goes before what a browser remembers.
    assert re.findall(r'<th scope="col" data-key="(\w+)"', client.get("/runs?cols=status").text) == ["status"]
    client.get("/runs/columns")
    assert re.findall(r'<th scope="col" data-key="(\w+)"', client.get("/runs").text)[:2] == ["name", "status"]


def test_what_people_write_on_a_run_is_changed(client: TestClient, store: Database):
    run = client.patch("/api/v1/runs/1", json={"name": "new", "tags": ["b", "a"], "starred": True}).json()
    assert (run["name"], run["tags"], run["starred"], run["archived"]) == ("new", ["a", "b"], True, False)
    assert client.patch("/api/v1/runs/1", json={"tags": "b, c", "notes": "why\nnot"}).json()["tags"] == ["b", "c"]
    assert client.get("/api/v1/runs/1").json()["notes"] == "why\nnot"
    refused = client.patch("/api/v1/runs/1", json={"name": " ", "tags": ["x" * 41], "starred": 3, "status": "failed"})
    assert refused.json()["errors"] == {
        "name": "Must not be empty.",
        "tags": "Each tag: must be at most 40 characters; it has 41.",
        "starred": "Must be true or false.",
        "status": "Cannot be changed.",
    }
    assert client.patch("/api/v1/runs/99", json={"name": "x"}).status_code == 404
    with store.read() as session:
        told = [change for change in metrics.changes_after(session, 0, run_id=1) if change.kind == "about"]
    assert len(told) == 2


def test_a_run_is_edited_by_a_plain_form(client: TestClient, store: Database):
    assert 'value="seed 0"' in client.get("/runs/1/edit").text
    refused = client.post("/runs/1/edit", data={"name": "", "tags": "", "notes": "x"})
    assert (refused.status_code, "Must not be empty." in refused.text) == (422, True)
    answer = client.post("/runs/1/edit", data={"name": "z", "tags": "q, r", "notes": ""}, follow_redirects=False)
    assert answer.headers["location"] == "/runs/1"
    assert client.get("/api/v1/runs/1").json()["tags"] == ["q", "r"]


def bulk(client: TestClient, action: str, *runs: int, tag: str = "") -> tuple[str, list[int]]:
    answer = client.post("/api/v1/runs/bulk", json={"action": action, "runs": runs, "tag": tag})
    assert answer.status_code == 200, answer.text
    return answer.json()["message"], answer.json()["done"]


def test_many_runs_are_changed_at_once_with_a_word_on_each_that_is_not(client: TestClient, store: Database):
    assert bulk(client, "cancel", 5, 4, 3, 99) == ("1 cancelled, 2 had ended already, 1 not there any more.", [5])
    assert bulk(client, "tag", 1, 2, 2, tag="kept") == ("2 tagged.", [1, 2])
    assert bulk(client, "untag", 1, tag="sweep") == ("1 untagged.", [1])
    assert client.get("/api/v1/runs/1").json()["tags"] == ["kept"]
    assert bulk(client, "star", 1, 2)[1] == [1, 2]
    starred_first = unescape(
        re.findall(r'href="([^"]*)">Starred first', client.get("/runs?sort=lr,-name&fold=off").text)[0]
    )
    assert starred_first == "/runs?sort=-starred%2Clr%2C-name&fold=off"
    assert re.findall(r'data-run-id="(\d)"', client.get(starred_first).text)[:3] == ["2", "1", "3"]
    assert bulk(client, "archive", 4)[0] == "1 archived."
    assert client.get("/api/v1/runs").json()["total"] == 4
    assert client.get("/api/v1/runs?archived=only").json()["runs"][0]["name"] == "broken"
    assert bulk(client, "again", 1, 2) == ("2 queued again.", [1, 2])
    assert client.get("/api/v1/runs?status=queued").json()["total"] == 2
    assert bulk(client, "delete", 1, 4, 4)[1] == [1, 4]
    assert bulk(client, "delete", 1) == ("None deleted, 1 not there any more.", [])


EVIL = "<script>alert(1)</script>\"'&"


def test_what_people_write_is_inert_wherever_the_table_shows_it(client: TestClient, store: Database):
    client.patch("/api/v1/runs/1", json={"name": EVIL, "tags": [EVIL], "notes": EVIL, "starred": True})
    client.put(f"/api/v1/views/{quote('<b>view', safe='')}", json={"address": f"q={quote(EVIL)}"})
    asked = quote(f'name = "{EVIL}')
    for address in (
        "/runs?cols=name,tags,notes|status",
        "/runs?group=name&cols=notes",
        "/runs?group=tag",
        f"/runs?q={quote(EVIL)}&filter={asked}&cols={quote(EVIL)}&group={quote(EVIL)}&sort={quote(EVIL)}",
        "/runs/rows?cols=tags,notes",
        "/runs/1/edit",
    ):
        page = client.get(address).text
        assert "<script>alert" not in page, address
        assert "<b>view" not in page, address
    many = {"action": "delete", "runs": ["1"], "address": EVIL, "tag": EVIL}
    assert "<script>alert" not in client.post("/runs/bulk", data=many).text


def test_all_that_match_are_changed_and_compared(client: TestClient, store: Database):
    answer = client.post("/api/v1/runs/bulk", json={"action": "star", "address": "?filter=tag+%3D+sweep&page=9"})
    assert answer.json()["message"] == "4 starred."
    done = client.post("/runs/bulk", data={"action": "archive", "all": "yes", "address": "?status=failed"})
    assert "1 archived." in done.text
    answer = client.get("/runs/compare?q=seed&sort=-accuracy", follow_redirects=False)
    assert answer.headers["location"] == "/compare?runs=2,3,1"
    refused = client.post("/api/v1/runs/bulk", json={"action": "star", "address": "filter=lr"})
    assert set(refused.json()["errors"]) == {"address"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"action": "explode", "runs": [1]}, "action"),
        ({"action": "cancel", "runs": []}, "runs"),
        ({"action": "cancel", "runs": ["x"]}, "runs"),
        ({"action": "cancel", "runs": [2**64]}, "runs"),
        ({"runs": [1]}, "action"),
        ({"action": "cancel", "runs": list(range(1, 1002))}, "runs"),
        ({"action": "tag", "runs": [1]}, "tag"),
        ({"action": "tag", "runs": [1], "tag": "a,b"}, "tag"),
        ({"action": "tag", "runs": [1], "tag": "x" * 41}, "tag"),
    ],
)
def test_what_cannot_be_done_to_any_run_is_refused_by_field(
    client: TestClient, store: Database, body: dict[str, object], field: str
):
    answer = client.post("/api/v1/runs/bulk", json=body)
    assert (answer.status_code, set(answer.json()["errors"])) == (422, {field})


def test_a_run_takes_no_more_tags_than_it_may(client: TestClient, store: Database):
    client.patch("/api/v1/runs/1", json={"tags": [f"t{number}" for number in range(20)]})
    assert bulk(client, "tag", 1, 2, tag="one more") == ("1 tagged, 1 could not be changed.", [2])


def test_many_runs_are_deleted_by_a_plain_form_after_a_question(client: TestClient, store: Database):
    form = {"action": "delete", "runs": ["1", "2"], "address": "?sort=lr", "tag": ""}
    asked = client.post("/runs/bulk", data=form).text
    assert "Delete these 2 runs?" in asked
    assert client.get("/api/v1/runs").json()["total"] == 5
    done = client.post("/runs/bulk", data=form | {"certain": "yes"}).text
    assert "2 deleted." in done
    assert 'href="/runs?sort=lr"' in done
    assert client.get("/api/v1/runs").json()["total"] == 3
    assert "Tick at least one run." in client.post("/runs/bulk", data={"action": "cancel"}).text
    assert client.post("/runs/bulk", data={"action": "cancel", "runs": "x"}).status_code == 422


def test_a_view_is_saved_opened_replaced_and_deleted(client: TestClient, store: Database):
    form = {"name": " Best of  sweep 1 ", "address": "filter=tag+%3D+sweep&sort=-accuracy&page=3&evil=1&cols=name,lr"}
    answer = client.post("/runs/views", data=form, follow_redirects=False)
    assert answer.headers["location"] == "/runs/views/Best%20of%20sweep%201"
    opened = client.get("/api/v1/views").json()[0]
    assert opened["address"] == "filter=tag+%3D+sweep&sort=-best_val_accuracy&cols=name%2Clr"
    client.put("/api/v1/views/mine", json={"address": "?q=seed"})
    client.put("/api/v1/views/mine", json={"address": "q=waits"})
    page = client.get("/runs/views/mine")
    assert "seed 1" not in page.text
    assert "/runs/views/mine" in page.text
    assert client.put("/api/v1/views/mine", json={"address": "sort=evil"}).status_code == 422
    for name in ("", "x" * 61, "a/b", "a\u202eb"):
        assert client.post("/runs/views", data={"name": name}).status_code == 422
    client.post("/runs/views/mine/delete")
    assert client.get("/runs/views/mine").status_code == 404
    assert client.delete("/api/v1/views/mine").status_code == 404
    assert len(client.get("/api/v1/views").json()) == 1


@pytest.mark.parametrize(
    "path",
    ["/runs", "/runs?fold=off", "/runs?q=e", "/runs?group=config_key", "/runs?group=tag", "/runs/rows", "/api/v1/runs"],
)
def test_the_table_asks_as_often_for_many_runs_as_for_few(
    client: TestClient, store: Database, clock: FakeClock, path: str, statements: list[str]
):
    client.get(path)
    few = len(statements)
    for number in range(30):
        add(store, clock, f"more {number}", lr=0.001 * (number + 1), tags=(f"t{number}",))
    statements.clear()
    client.get(path)
    assert 0 < len(statements) == few <= 10
