"""Measures of imported runs in a comparison: offered where runs have them, exact, smoothed, in the report too."""

from __future__ import annotations

from html import unescape
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
import pytest

from app.comparing import measures
from app.comparing.compare_view import View
from app.comparing.curves import Window
from app.db import Database
from app.models import SeriesRow
from tests.app.listing_store import add

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.testclient import TestClient

    from app.config import Settings
    from tests.conftest import FakeClock

NAME = "weights/<norm> & more"


def series(run_id: int, name: str, steps: list[int], values: list[float]) -> SeriesRow:
    return SeriesRow(
        run_id=run_id, name=name, steps=np.array(steps, "<i8").tobytes(), values=np.array(values, "<f8").tobytes()
    )


@pytest.fixture
def store(client: TestClient, home_with_data: Settings, clock: FakeClock) -> Iterator[Database]:
    """Three runs, of which two have a measure of their own over other steps; one has a second."""
    db = Database(home_with_data.database)
    for number in range(3):
        add(db, clock, f"run {number}", lr=0.1 * (number + 1), accuracies=(0.5, 0.6), end="finished")
    with db.write() as session:
        session.add_all([
            series(1, NAME, [0, 10, 20, 30], [1.0, 2.0, float("nan"), 4.0]),
            series(2, NAME, [5, 15], [3.0, 5.0]),
            series(2, "grad", [1], [0.25]),
        ])  # fmt: skip
    yield db
    db.close()


def test_a_measure_is_offered_where_runs_have_it(client: TestClient, store: Database):
    page = client.get("/compare?runs=1-3").text
    assert [f'value="series:{name}"' in unescape(page) for name in ("grad", NAME, "lr")] == [True, True, False]
    assert 'data-chart="series" hidden' in page
    assert "series:" not in client.get("/compare?runs=3").text
    shown = client.get(f"/compare?runs=1-3&show={quote('series:' + NAME)}").text
    assert "<norm>" not in shown
    assert f'<option value="series:{NAME}" selected>' in unescape(shown)
    assert 'data-chart="series" >' in shown
    gone = client.get("/compare?runs=1-3&show=series:gone").text
    assert '<option value="four" selected>' in gone


def test_it_comes_by_its_own_steps_of_the_runs_that_have_it(client: TestClient, store: Database):
    with store.read() as session:
        assert measures.names(session, [1, 2, 3]) == ["grad", NAME]
        found = measures.of_runs(session, [3, 2, 1], NAME, Window())
        part = measures.of_runs(session, [1, 2], NAME, Window(12, 20), smoothing=0.5).of_runs()
    assert found.facts == {"first_step": 0.0, "last_step": 30.0}
    assert {run: columns["step"].tolist() for run, columns in found.of_runs().items()} == {
        1: [0.0, 10.0, 20.0, 30.0],
        2: [5.0, 15.0],
    }
    assert found.of_runs()[2]["value"].tolist() == [3.0, 5.0]
    assert part[1]["step"].tolist() == [10.0, 20.0, 30.0], "one point more at either side"
    assert np.isnan(part[1]["smoothed"]).tolist() == [False, True, False]
    answer = client.get(f"/api/v1/compare/series?runs=1-3&measure={quote(NAME)}&width=10&smooth=0.5")
    assert answer.headers["content-type"] == "application/vnd.fitroom.curves"
    assert b'"smoothed"' in answer.content
    assert client.get("/api/v1/compare/series?runs=1-3&measure=gone").status_code == 200
    assert client.get("/api/v1/compare/series?runs=1-3").status_code == 422


def test_many_points_are_thinned_to_what_a_chart_can_show(store: Database):
    values = np.random.default_rng(0).normal(size=50_000)
    with store.write() as session:
        session.add(series(3, "dense", list(range(50_000)), values.tolist()))
        found = measures.of_runs(session, [3], "dense", Window(width=100)).columns["value"]
    assert len(found) <= 4 * 100 + 2
    assert (found.min(), found.max()) == (values.min(), values.max())


def test_a_report_draws_it(client: TestClient, store: Database):
    report = client.get(f"/compare/report?runs=1-3&show={quote('series:' + NAME)}&smooth=0.5").text
    assert NAME in unescape(report)
    assert report.count("<svg") >= 1
    assert "<norm>" not in report


def test_a_view_says_what_it_shows():
    view = View.of({"show": "series:grad"})
    assert (view.measure, view.first_columns, view.query()) == ("grad", "", "show=series%3Agrad")
    assert view.showing(["grad"]) is view
    assert view.showing([]).show == "four"
    assert View.of({"show": "lr"}).measure is None
