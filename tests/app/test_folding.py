"""The seeds of one configuration stand as one row: which runs fold, what counts in the mean, where the row stands."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from html import unescape
from statistics import mean
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import event, func, select

from app.runs_table import columns, folded, folds
from app.runs_table.listed import listed
from app.runs_table.listing import Query
from tests.app.listing_store import add, filled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.testclient import TestClient

    from app.config import Settings
    from app.db import Database
    from tests.conftest import FakeClock


@pytest.fixture
def store(client: TestClient, home_with_data: Settings, clock: FakeClock) -> Iterator[Database]:
    db = filled(home_with_data.database, clock)
    client.post("/api/v1/runs/bulk", json={"action": "cancel", "runs": [5]})  # so that what is added is trained next
    yield db
    db.close()


def lines(page: str) -> list[str]:
    """The table's rows from top to bottom: a run by its name, seeds by theirs in brackets and how many they are."""
    found = []
    for row in re.findall(r"<tr (.*?)</tr>", page, re.DOTALL):
        name = re.search(r"data-value>([^<]*)</a>", row)
        seeds = re.search(r'class="turn">▸</span>([^<]*)</a>', row)
        if name:
            found.append(unescape(name[1]))
        elif seeds:
            found.append(f"[{unescape(seeds[1])}] {re.findall(r'small soft..([^<·]*)', row)[0].strip()}")
    return found


def test_a_newcomer_finds_the_seeds_of_one_configuration_as_one_row(client: TestClient, store: Database):
    page = client.get("/runs").text
    assert lines(page) == ["waits", "broken", "[seed 2] 3 seeds"]
    assert "85.00 %" in page
    assert "± 5.00 % · best 90.00 %" in page
    assert 'value="3,2,1"' in page
    assert '/compare?runs=3,2,1"' in page
    assert "sorted by the mean" in page
    opened = unescape(re.findall(r'class="unfold" href="([^"]*)"', page)[0])
    assert lines(client.get(opened).text) == ["seed 2", "seed 1", "seed 0"]
    assert len(client.get("/api/v1/runs").json()["runs"]) == 5, "the API lists runs one by one"


def test_only_seeds_that_have_finished_count_and_those_that_train_until_one_has(
    client: TestClient, store: Database, clock: FakeClock
):
    add(store, clock, "seed 3", lr=0.1, seed=3, accuracies=(0.2,), end="failed")
    page = client.get("/runs?cols=name,status,seed,best_val_accuracy").text
    assert lines(page)[0] == "[seed 3] 4 seeds"
    assert "± 5.00 % · best 90.00 %" in page
    assert [int(count) for count in re.findall(r'soft small">(\d)</span></div>', page)] == [3, 1]
    assert '0<div class="more">to 3</div>' in page
    finished = "filter=lr+=+0.1+and+status+!=+finished&cols=name,best_val_accuracy"
    add(store, clock, "seed 4", lr=0.1, seed=4, accuracies=(0.4,))
    assert lines(client.get(f"/runs?{finished}").text) == ["[seed 4] 2 seeds"]
    assert "40.00 %" in client.get(f"/runs?{finished}").text
    with store.write() as session:
        session.connection().exec_driver_sql("UPDATE runs SET status = 'cancelled' WHERE name = 'seed 4'")
    assert " %" not in re.findall(r"<tbody>.*</tbody>", client.get(f"/runs?{finished}").text, re.DOTALL)[0]


def test_a_rerun_with_the_same_seed_folds_with_nothing(client: TestClient, store: Database, clock: FakeClock):
    for name in ("first", "again"):
        add(store, clock, name, lr=0.5, seed=7, accuracies=(0.3,), end="finished")
    assert lines(client.get("/runs").text)[:2] == ["again", "first"]
    # Where there are other seeds, it is one more run of them; but of those that a filter leaves, no other seed.
    add(store, clock, "other", lr=0.5, seed=8)
    assert lines(client.get("/runs").text)[0] == "[other] 2 seeds, 3 runs"
    assert lines(client.get("/runs?filter=seed+=+7&sort=name").text) == ["again", "first"]
    assert lines(client.get("/runs?filter=seed+<+9&sort=name").text)[1] == "[other] 2 seeds, 3 runs"


def test_a_filter_goes_first_and_what_it_leaves_is_folded(client: TestClient, store: Database):
    assert lines(client.get("/runs?filter=accuracy+>+82%25").text) == ["[seed 2] 2 seeds"]
    assert "87.50 %" in client.get("/runs?filter=accuracy+>+82%25").text
    assert lines(client.get("/runs?filter=accuracy+>+88%25").text) == ["seed 1"]
    assert lines(client.get("/runs?status=finished&page=9").text) == ["[seed 2] 3 seeds"]
    assert lines(client.get("/runs?q=nothing&page=9").text) == []


def test_the_switch_is_in_the_address_in_views_and_remembered(client: TestClient, store: Database):
    assert len(lines(client.get("/runs?fold=off").text)) == 5
    answer = client.get("/runs/fold?address=%3Fsort%3Dname%26page%3D3", follow_redirects=False)
    assert answer.headers["location"] == "/runs?sort=name&fold=off"
    page = client.get("/runs?sort=name").text
    assert lines(page) == ["broken", "seed 0", "seed 1", "seed 2", "waits"]
    assert "checked> Fold seeds" not in page
    assert "fold=off" in unescape(re.findall(r'href="([^"]*)" data-share', page)[0])
    assert len(lines(client.get("/runs?fold=on").text)) == 3, "what an address says goes before"
    client.put("/api/v1/views/folded", json={"address": "fold=on&sort=name"})
    assert len(lines(client.get("/runs/views/folded").text)) == 3
    client.get("/runs/fold?fold=on")
    assert len(lines(client.get("/runs").text)) == 3
    wrong = client.get("/runs?fold=sideways")
    assert (wrong.status_code, "Fold: Must be on, off or empty." in unescape(wrong.text)) == (422, True)


def test_what_is_done_to_a_ticked_row_is_done_to_all_its_seeds(client: TestClient, store: Database):
    form = {"action": "archive", "runs": ["1-3", "5"], "address": ""}
    assert "4 archived." in client.post("/runs/bulk", data=form).text
    assert lines(client.get("/runs").text) == ["broken"]
    assert lines(client.get("/runs?archived=only").text) == ["waits", "[seed 2] 3 seeds"]
    refused = client.post("/runs/bulk", data=form | {"runs": "1-5000"})
    assert (refused.status_code, "more than 1,000 runs" in refused.text) == (422, True)


def test_archived_seeds_fold_among_themselves(client: TestClient, store: Database, clock: FakeClock):
    add(store, clock, "seed 3", lr=0.1, seed=3)
    client.post("/api/v1/runs/bulk", json={"action": "archive", "runs": [1, 2]})
    assert lines(client.get("/runs").text)[0] == "[seed 3] 2 seeds"
    page = client.get("/runs?archived=all&sort=name").text
    assert lines(page) == ["broken", "[seed 1] 2 seeds", "[seed 3] 2 seeds", "waits"]
    opened = [unescape(url) for url in re.findall(r'class="unfold" href="([^"]*)"', page)]
    assert "archived = true" in parse_qs(urlsplit(opened[0]).query)["filter"][0]
    assert lines(client.get(opened[0]).text) == ["seed 0", "seed 1"]


def test_a_starred_seed_brings_its_row_to_the_top(client: TestClient, store: Database):
    client.patch("/api/v1/runs/1", json={"starred": True})
    for address in ("/runs?sort=-starred,-created", "/runs?sort=-starred,-created&filter=id+>+0"):
        page = client.get(address).text
        assert lines(page)[0] == "[seed 2] 3 seeds"
        assert 'aria-label="has a starred run"' in page


SORTS = [f"{sign}{key}" for key in columns.COLUMNS for sign in ("", "-")] + ["lr,-accuracy", "-starred,loss", "status"]


def test_what_is_kept_and_what_is_worked_out_of_a_filter_are_the_same_rows(store: Database, clock: FakeClock):
    """Without a filter an index answers, with one the runs are gone through: the order is the same for every sort."""
    at_random(store, clock, random.Random(5), 60)
    with store.read() as session:
        for sort in SORTS:
            for archived in ("", "all"):
                kept = folded.page(session, Query.of(sort=sort, archived=archived), now=clock())
                worked_out = Query.of(sort=sort, archived=archived, filter="id > 0")
                assert kept == folded.page(session, worked_out, now=clock()), sort


@pytest.mark.parametrize("seed", range(3))
def test_what_is_kept_follows_whatever_happens_to_runs(store: Database, clock: FakeClock, seed: int):
    at_random(store, clock, random.Random(seed), 80)
    with store.read() as session:
        rows = session.execute(select(listed)).all()
    for row in rows:
        together = [one for one in rows if (one.archived, one.config_key) == (row.archived, row.config_key)]
        folds_here = len({one.seed for one in together}) > 1
        newest = max(one.run_id for one in together)
        assert row.leads == (not folds_here or row.run_id == newest)
        assert row.fold == (min(one.run_id for one in together) if folds_here else None)
        if row.leads:
            assert row.shown_best_val_accuracy == said(together, "best_val_accuracy", folds_here, row)
            assert row.shown_val_loss == said(together, "val_loss", folds_here, row)
            assert row.shown_starred == (max(one.starred for one in together) if folds_here else row.starred)


def said(together: Sequence[Any], name: str, folds_here: bool, row: Any) -> Any:
    if not folds_here:
        return getattr(row, name)
    for status in folds.COUNTED:
        known = [one for one in together if one.status == status]
        if known and any(getattr(one, name) is not None for one in known):
            return pytest.approx(mean(getattr(one, name) for one in known if getattr(one, name) is not None))
    return None


def at_random(db: Database, clock: FakeClock, chance: random.Random, count: int) -> None:
    """Runs come, train, end, are archived, starred and deleted: by SQL, because no writer may be forgotten."""
    for _ in range(count):
        if chance.random() < 0.4:
            add(db, clock, chance.choice("abc"), lr=chance.choice((0.1, 0.6, 0.7)), seed=chance.randrange(3))
            continue
        change = chance.choice((
            "UPDATE runs SET status = 'running', best_val_accuracy = ?, val_loss = 0.5",
            "UPDATE runs SET status = 'finished', best_val_accuracy = ?",
            "UPDATE runs SET status = 'failed', best_val_accuracy = ?",
            "UPDATE runs SET archived = ? < 0.5",
            "UPDATE runs SET starred = ? < 0.5",
            "DELETE FROM runs /* ? */",
        ))  # fmt: skip
        value = () if change.startswith("DELETE") else (round(chance.random(), 3),)
        with db.write() as session:
            some = "WHERE id = (SELECT id FROM runs ORDER BY abs(id * 7919 % 31 - ?) LIMIT 1)"
            connection = session.connection()
            connection.exec_driver_sql(f"{change.removesuffix(' /* ? */')} {some}", (*value, chance.randrange(31)))


def test_what_seeds_say_together_is_every_measure_of_the_table():
    assert set(folds.MEASURES) == {key for key, column in columns.COLUMNS.items() if column.is_measured}
    assert {key for key in columns.COLUMNS if folds.are_one(key)} == {*folds.MEASURES, "starred"}


BY_DEFAULT = ["", "created"] + [
    f"{sign}{key}" for key in columns.DEFAULT if key in columns.COLUMNS for sign in ("", "-")
]


def test_no_sort_of_the_folded_table_goes_through_all_of_it(store: Database, clock: FakeClock):
    for sort in BY_DEFAULT:
        for plan in plans(store, clock, Query.of(sort=sort)):
            assert not any(step.startswith("SCAN listed") or "USE TEMP B-TREE FOR ORDER" in step for step in plan), sort
            assert any("ix_listed_" in step for step in plan)


def test_the_page_as_a_newcomer_finds_it_is_read_out_of_one_index_in_its_order(store: Database, clock: FakeClock):
    counts, rows = plans(store, clock, Query.of())
    assert rows == ["SEARCH listed USING INDEX ix_listed_leads_created_at (archived=? AND leads=?)"]
    assert sum("USING COVERING INDEX ix_listed_" in step for step in counts) == 2


def plans(db: Database, clock: FakeClock, query: Query) -> list[list[str]]:
    """How SQLite answers each statement that finds the page's rows: the counts, then the rows."""
    seen: list[tuple[str, Any]] = []
    listener = lambda _c, _u, statement, values, *_: seen.append((statement, values))  # noqa: E731
    event.listen(db._readers, "before_cursor_execute", listener)
    with db.read() as session:
        folded.page(session, query, now=clock())
        event.remove(db._readers, "before_cursor_execute", listener)
        asked = [pair for pair in seen if pair[0].startswith("SELECT")]
        connection = session.connection()
        explained = [connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values) for sql, values in asked]
        return [[row.detail for row in rows] for rows in explained]


def test_pages_of_folded_rows_hold_every_run_once(store: Database, clock: FakeClock):
    for number in range(60):
        add(store, clock, f"alone {number}", lr=0.001 * (number + 1))
        add(store, clock, f"two {number}", lr=0.001 * (number + 1), seed=number % 2)
    with store.read() as session:
        for query in (Query.of(), Query.of(filter="id > 0")):
            found = [folded.page(session, replace(query, page=page), now=clock()) for page in (1, 2, 9)]
            assert {(one.total, one.runs) for one in found} == {(93, 125)}
            assert [len(one.units) for one in found] == [50, 43, 43]
            assert found[1] == found[2]
            assert len({unit.run_id for one in found for unit in one.units}) == 93
        assert session.scalar(select(func.count()).select_from(listed)) == 125
