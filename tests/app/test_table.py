"""The page with the table: what it shows of an address, columns, groups, chips. Nothing here changes anything."""

from __future__ import annotations

import re
from contextlib import closing
from html import unescape
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.testclient import TestClient

from app import runs
from app.config import Settings
from app.db import Database
from app.main import create_app
from app.runs_table import grouping, layout, listing
from app.runs_table.columns import COLUMNS
from app.runs_table.layout import Layout
from app.schema import migrate
from tests.app.listing_store import add, filled
from tests.conftest import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, clock: FakeClock) -> Iterator[TestClient]:
    settings = Settings(home=tmp_path_factory.mktemp("table"), port=0)
    with TestClient(create_app(settings, clock=clock), base_url="http://localhost") as client:
        yield client


@pytest.fixture(scope="module")
def store(client: TestClient, clock: FakeClock) -> Iterator[Database]:
    db = filled(client.app.state.fitroom.settings.database, clock)  # type: ignore[attr-defined]
    yield db
    db.close()


def names(text: str) -> list[str]:
    return [unescape(name) for name in re.findall(r"data-value>([^<]*)</a>", text)]


def groups(text: str) -> list[str]:
    return [unescape(name) for name in re.findall(r"▸</span>([^<]*)</a>", text)]


def test_the_page_shows_what_its_address_says(client: TestClient, store: Database):
    page = client.get("/runs?filter=tag+%3D+sweep+and+lr+<+0.2&sort=-accuracy,lr&fold=off").text
    assert names(page) == ["seed 1", "seed 2", "seed 0"]
    assert page.count('aria-sort="descending"') == page.count('aria-sort="ascending"') == 1
    assert "<sup>1</sup>" in page
    assert "tag = sweep" in page
    assert "Page" not in page
    assert page.count('<polyline points="0,18 72,2"/>') == 3
    assert page.count('<rect width="100%"') >= 1


def test_a_page_beyond_the_last_is_the_last(client: TestClient, store: Database):
    assert names(client.get("/runs?page=99&sort=lr").text) == names(client.get("/runs?sort=lr").text) != []
    assert len(groups(client.get("/runs?page=99&group=lr").text)) == 3


def test_chips_take_one_condition_away_each(client: TestClient, store: Database):
    page = client.get("/runs?filter=tag+%3D+sweep+and+lr+<+0.2&q=seed").text
    chips = [unescape(href) for href in re.findall(r'class="chip" href="([^"]*)"', page)]
    left = [parse_qs(urlsplit(chip).query) for chip in chips]
    assert left == [
        {"q": ["seed"], "filter": ["lr < 0.2"]},
        {"q": ["seed"], "filter": ["tag = sweep"]},
        {"filter": ["tag = sweep and lr < 0.2"]},
    ]


@pytest.mark.parametrize(
    ("fields", "filter"),
    [
        ({"column": "lr", "operator": "<", "value": "0.2"}, "tag = sweep and lr < 0.2"),
        ({"column": "arch", "operator": "in", "value": "net, mlp"}, "tag = sweep and arch in (net, mlp)"),
        ({"column": "notes", "operator": "is empty", "value": "x"}, "tag = sweep and notes is empty"),
        ({"column": "name", "operator": "=", "value": 'a "b" or c'}, 'tag = sweep and name = "a \\"b\\" or c"'),
    ],
)
def test_the_builder_adds_a_condition(client: TestClient, store: Database, fields: dict[str, str], filter: str):
    answer = client.get("/runs/filter", params={**fields, "address": "?filter=tag+%3D+sweep"}, follow_redirects=False)
    assert parse_qs(urlsplit(answer.headers["location"]).query) == {"filter": [filter]}
    assert client.get(answer.headers["location"]).status_code == 200


def test_a_filter_that_cannot_be_read_is_told_at_its_field_and_stays_there(client: TestClient, store: Database):
    answer = client.get("/runs?filter=lr+<+many&fold=off")
    assert answer.status_code == 422
    assert 'value="lr &lt; many"' in answer.text
    assert "Filter: lr is a number, such as 0.001 or 1e-3; “many” is none (at character 6)." in answer.text
    assert len(names(answer.text)) == 5


def test_seeds_fold_into_their_mean_spread_and_best(client: TestClient, store: Database):
    page = client.get("/runs?group=config_key").text
    assert groups(page) == ["waits", "broken", "seed 2"]
    assert "3 runs" in page
    assert "85.00 %" in page
    assert "± 5.00 % · best 90.00 %" in page
    opened = unescape(re.findall(r'class="unfold" href="([^"]*)"', page)[2])
    assert names(client.get(opened).text) == ["seed 2", "seed 1", "seed 0"]
    assert "/compare?runs=3,2,1" in page


def test_groups_are_ordered_by_their_means_and_say_what_differs(client: TestClient, store: Database):
    assert groups(client.get("/runs?group=status&sort=-accuracy").text) == ["finished", "failed", "queued"]
    assert groups(client.get("/runs?group=lr&sort=-lr").text) == ["0.3", "0.2", "0.1"]
    page = client.get("/runs?group=tag&sort=name").text
    assert groups(page) == ["bad", "sweep", "No tag"]
    assert "various" in page
    assert '0.1<div class="more">to 0.2</div>' in page
    assert groups(client.get("/runs?group=created&filter=lr+<+0.3").text) == ["2026-01-02"]
    assert groups(client.get("/runs?group=momentum").text) == ["No momentum"]


def test_networks_whose_sizes_squared_go_beyond_64_bits_have_a_mean_and_no_spread_that_is_only_rounding(
    clock: FakeClock, tmp_path: Path
):
    migrate(tmp_path / "large.db")
    with closing(Database(tmp_path / "large.db")) as db:
        for parameters, network in ((1_079_000_001, "mlp"), (3_000_000_000, "net"), (4_000_000_000, "net")):
            for _ in range(11 if network == "mlp" else 1):
                started_with(db, clock, parameters, network)
        with db.read() as session:
            query = listing.Query.of(group="arch", sort="arch")
            mlp, net = grouping.page(session, query, [COLUMNS["parameters"]], 2, now=clock())
    found = mlp.summaries["parameters"]
    assert (found.mean, found.spread) == (1_079_000_001, 0)
    assert net.summaries["parameters"].spread == pytest.approx(1e9 / 2**0.5)


def started_with(db: Database, clock: FakeClock, parameters: int, network: str) -> None:
    run_id = add(db, clock, "large", arch=network)
    with db.write() as session:
        runs.get(session, run_id).facts = {"parameters": parameters}


@pytest.mark.parametrize("group", [*COLUMNS, listing.BY_TAG])
def test_one_can_group_by_any_column_and_open_what_was_found(
    client: TestClient, store: Database, clock: FakeClock, group: str
):
    with store.read() as session:
        query = listing.Query.of(group=group)
        total = grouping.total(session, query, now=clock())
        found = grouping.page(session, query, [COLUMNS["best_val_accuracy"]], total, now=clock())
        assert len(found) == total > 0
        for one in found:
            members = listing.Query.of(filter=one.filter)
            assert sorted(listing.ids(session, members, now=clock())) == sorted(one.run_ids)
            assert one.runs == len(one.run_ids)


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("", ""),
        ("name,status", "name,status"),
        ("name:240,evil|status,name,lr:9999", "name:240|status,lr:800"),
        ("lr:1,lr:abc,accuracy", "lr,best_val_accuracy"),
        ("evil", ""),
        ("|", ""),
        ("name|", "name|"),
    ],
)
def test_a_layout_is_read_and_written(text: str, again: str):
    assert str(Layout.of(text)) == again
    assert Layout.of(again) == Layout.of(text)
    assert layout.DEFAULT.keys == Layout.of("").keys


def test_every_column_can_be_shown(client: TestClient, store: Database):
    cols = ",".join([*COLUMNS, "tags", "notes", "curve"])
    for address in (f"/runs?cols={cols}", f"/runs?cols={cols}&group=tag", f"/runs/rows?cols={cols}"):
        assert client.get(address).status_code == 200


def test_a_live_page_gets_the_rows_with_its_own_columns_and_counts(client: TestClient, store: Database):
    answer = client.get("/runs/rows?cols=name,lr&sort=lr&status=finished&fold=off")
    assert answer.text.count("<tr") == 3
    assert answer.text.count("<td") == 9
    assert '"finished": 3' in answer.headers["fitroom-counts"]
