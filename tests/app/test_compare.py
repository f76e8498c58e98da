"""Comparing runs: which, how they are looked at, their curves as binary, where they differ and what that says."""

from __future__ import annotations

import itertools
import json
import re
import struct
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sqlalchemy import event

from app import metrics, recording, runs
from app.comparing import compare_view, comparison, curves, selection, svg
from app.comparing.compare_view import View
from app.db import Database
from app.forms import FormError
from app.models import StepBlock
from tests.app import factories

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.testclient import TestClient

    from app.config import Settings
    from tests.conftest import FakeClock

EVIL = "<script>alert(1)</script>\"'&"


@pytest.fixture
def db(client: TestClient, home_with_data: Settings) -> Iterator[Database]:
    database = Database(home_with_data.database)
    yield database
    database.close()


@pytest.fixture
def made(client: TestClient, db: Database, clock: FakeClock):
    """Makes a finished run of three epochs of four steps that reaches the accuracy."""

    def make(accuracy: float = 0.8, epochs: int = 3, **fields: object) -> int:
        run_id = int(client.post("/api/v1/runs", json=fields).json()["id"])
        with db.write() as session:
            held = runs.claim(session, "w1", now=clock())
            assert held is not None
            recording.record(session, held, factories.started(), now=clock())
            for number in range(1, epochs + 1):
                losses = [run_id + number + step / 4 for step in range(4)]
                recording.record(session, held, factories.steps(number, 0, *losses), now=clock())
                told = factories.epoch(number, val_accuracy=accuracy - 0.1 * (epochs - number))
                recording.record(session, held, told, now=clock())
            clock.forward(10)
            runs.finish(session, held, now=clock())
        return run_id

    return make


def unpacked(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Reads the binary form as its description says, on its own."""
    (length,) = struct.unpack_from("<I", data)
    header = json.loads(data[4 : 4 + length])
    total, offset, columns = sum(run["points"] for run in header["runs"]), 4 + length, {}
    for column in header["columns"]:
        kind = np.dtype("<" + column["type"])
        assert offset % kind.itemsize == 0
        columns[column["name"]] = np.frombuffer(data, kind, total, offset)
        offset += total * kind.itemsize
    assert offset == len(data)
    return header, columns


# Which runs


@pytest.mark.parametrize(
    ("parts", "ids"),
    [
        (["7"], [7]),
        (["3", "1"], [3, 1]),
        (["3,1,3"], [3, 1]),
        (["2-4,9", "1"], [2, 3, 4, 9, 1]),
        (["", " 5 , 6 "], [5, 6]),
        ([f"1-{selection.MOST}"], list(range(1, selection.MOST + 1))),
        (["9-3"], []),
    ],
)
def test_runs_are_named_by_numbers_and_ranges(parts: list[str], ids: list[int]):
    assert selection.ids(parts) == ids


@pytest.mark.parametrize("part", ["x", "1-", "-3", "1-2-3", "1.5", "<b>", "9" * 30, "1-999999999999999999"])
def test_what_names_no_run_is_refused_in_words(client: TestClient, part: str):
    with pytest.raises(FormError):
        selection.ids([part])
    answer = client.get("/api/v1/compare", params={"runs": part})
    assert answer.status_code == 422
    assert answer.json()["errors"]["runs"]
    assert client.get("/compare", params={"runs": part}).status_code == 422


def test_the_address_of_many_runs_is_short_and_means_the_same():
    wanted = [5, *range(10, 500), 3, 4]
    address = selection.address(wanted)
    assert address == "runs=5,10-499,3,4"
    assert selection.ids([address.removeprefix("runs=")]) == wanted


# How they are looked at


def test_the_view_lives_in_the_address():
    view = View.of({"x": "time", "smooth": "0.5", "log": "1", "group": "lr", "metric": "val_loss", "a": "3"})
    assert (view.x, view.smooth, view.log, view.group, view.outcome.label, view.a) == (
        "time", 0.5, True, "lr", "Last validation loss", 3,
    )  # fmt: skip
    assert View.of(dict(part.split("=") for part in view.query().split("&"))) == view
    assert View().query() == ""
    assert View.of({"smooth": "nan"}) == View.of({"smooth": "-inf"}) == View.of({"smooth": "-3"}) == View()


def test_a_view_that_means_nothing_falls_back(client: TestClient, made: Any):
    made()
    for name in View.__slots__:
        page = client.get("/compare", params={"runs": "1", name: EVIL})
        assert page.status_code == 200, name
        assert "<script>alert" not in page.text, name


# Curves


def test_curves_come_as_columns_of_numbers(client: TestClient, made: Any):
    first, second = made(0.8), made(0.9, epochs=2)
    answer = client.get(f"/api/v1/compare/curves?runs={first},{second},77&columns=val_accuracy,seconds,finished_at")
    assert answer.headers["content-type"] == curves.MEDIA_TYPE
    header, columns = unpacked(answer.content)
    assert header["runs"] == [{"id": first, "points": 3}, {"id": second, "points": 2}]
    assert columns["epoch"].tolist() == [1, 2, 3, 1, 2]
    assert columns["val_accuracy"] == pytest.approx([0.6, 0.7, 0.8, 0.8, 0.9])
    assert columns["seconds"].tolist() == [2, 4, 6, 2, 4]
    assert columns["finished_at"] == pytest.approx([1_767_323_046.0 + i for i in (0, 1, 2, 0, 1)], abs=0.01)


def test_only_new_epochs_are_asked_for(client: TestClient, made: Any):
    made()
    _, columns = unpacked(client.get("/api/v1/compare/curves?runs=1&after=2").content)
    assert columns["epoch"].tolist() == [3]


def test_a_column_that_is_none_is_refused(client: TestClient):
    answer = client.get("/api/v1/compare/curves?runs=1&columns=val_accuracy,worker")
    assert answer.status_code == 422
    assert "worker" in answer.json()["errors"]["columns"]


def test_no_runs_have_no_curves(client: TestClient):
    for path in ("curves?runs=77", "steps?runs=77", "curves", "steps?smooth=0.5"):
        header, columns = unpacked(client.get(f"/api/v1/compare/{path}").content)
        assert header["runs"] == []
        assert all(len(values) == 0 for values in columns.values())


def test_a_value_that_was_not_finite_is_a_gap(client: TestClient, db: Database, clock: FakeClock, made: Any):
    made()
    with db.write() as session:
        row = metrics.epochs(session, 1)[1]
        row.val_loss = None
    _, columns = unpacked(client.get("/api/v1/compare/curves?runs=1&columns=val_loss").content)
    assert np.isnan(columns["val_loss"]).tolist() == [False, True, False]


def test_steps_come_thinned_to_the_window_and_smoothed(client: TestClient, made: Any):
    made(epochs=100)
    made(epochs=2)
    header, columns = unpacked(client.get("/api/v1/compare/steps?runs=1-2&width=10&smooth=0.9").content)
    assert header["steps"] == {"1": 400, "2": 8}
    assert header["last_step"] == 399
    assert header["runs"][0]["points"] <= 42
    assert columns["smoothed"].shape == columns["loss"].shape
    header, columns = unpacked(client.get("/api/v1/compare/steps?runs=1&first=100&last=110&width=10").content)
    assert columns["step"].tolist() == list(range(99, 112))
    assert columns["loss"].tolist() == [1 + 1 + step // 4 + step % 4 / 4 for step in range(99, 112)]


def test_a_runs_steps_come_as_plain_floats(client: TestClient, made: Any):
    made()
    whole = np.frombuffer(client.get("/api/v1/runs/1/steps").content, "<f4")
    assert whole.tolist() == [2, 2.25, 2.5, 2.75, 3, 3.25, 3.5, 3.75, 4, 4.25, 4.5, 4.75]
    assert np.frombuffer(client.get("/api/v1/runs/1/steps?after=10").content, "<f4").tolist() == [4.75]
    assert client.get("/api/v1/runs/77/steps").status_code == 404


def test_smoothing_is_the_debiased_average_of_tensorboard():
    """By hand: last = 0.5 last + 0.5 y, over 1 - 0.5^n."""
    values = np.array([1.0, np.nan, 3.0, 2.0], np.float32)
    smooth = curves.smoothed(values, 0.5)
    assert np.isnan(smooth[1])
    assert smooth[[0, 2, 3]] == pytest.approx([1.0, 1.75 / 0.75, 1.875 / 0.875])


# Settings, groups, fronts


def test_only_settings_that_differ_are_shown_and_a_link_shows_all(client: TestClient, made: Any):
    made(lr=0.1)
    made(lr=0.01)
    page = client.get("/compare?runs=1,2").text
    assert re.findall(r'<th scope="row">(.*?)</th>', differences(page)) == ["Learning rate"]
    whole = client.get("/compare?runs=1,2&settings=all").text
    assert {"Learning rate", "Batch size", "Seed"} <= set(re.findall(r'<th scope="row">(.*?)</th>', differences(whole)))


def test_settings_are_marked_against_the_first_run(client: TestClient, made: Any):
    made(optimizer="sgd", lr=0.1)
    made(optimizer="adam", lr=0.1)
    diff = {row["name"]: row for row in client.get("/api/v1/compare?runs=1,2").json()["diff"]}
    assert (diff["optimizer"]["values"], diff["optimizer"]["marks"]) == (["SGD", "Adam"], ["", "changed"])
    assert (diff["momentum"]["values"], diff["momentum"]["marks"]) == (["0.9", "–"], ["", "removed"])
    diff = {row["name"]: row for row in client.get("/api/v1/compare?runs=2,1").json()["diff"]}
    assert diff["momentum"]["marks"] == ["", "added"]


def test_of_many_runs_the_values_are_counted_and_stand_in_the_table(client: TestClient, made: Any):
    for number in range(14):
        made(lr=0.1 if number < 10 else 0.2)
    page = client.get("/compare?runs=1-14").text
    words = " ".join(re.sub(r"<[^>]+>", "", differences(page)).split())
    assert words.endswith("Learning rate0.1 10 0.2 4")
    assert page.count("<td>0.2</td>") == 4


def test_seeds_of_one_config_are_one_group(client: TestClient, made: Any):
    for lr, accuracies in ((0.1, (0.80, 0.81, 0.82)), (0.01, (0.90, 0.902, 0.904))):
        for seed, accuracy in enumerate(accuracies):
            made(accuracy, lr=lr, seed=seed)
    page = client.get("/compare?runs=1-6").text
    rows = re.findall(r"<tr>(.*?)</tr>", page[page.index('id="group-table"') :], re.DOTALL)
    cells = [re.sub(r"<[^>]+>", " ", row).split() for row in rows[1:3]]
    assert cells == [
        ["A", "Learning", "rate", "0.1", "3", "81.00", "%", "1.00", "points", "82.00", "%"],
        ["B", "Learning", "rate", "0.01", "3", "90.20", "%", "0.20", "points", "90.40", "%"],
    ]
    assert "B is better by" in page
    turned = client.get("/compare/groups?runs=1-6&a=1&b=0").text
    assert "B is worse by" in turned
    assert "<html" not in turned
    assert "Choose two different groups" in client.get("/compare/groups?runs=1-6&a=1&b=1").text
    by_seed = client.get("/compare/groups?runs=1-6&group=seed&metric=val_loss").text
    assert by_seed.count('<th scope="row"') == 3
    assert "There are 3 pairs here" in by_seed


def test_runs_of_a_common_name_give_their_group_its_name(client: TestClient, made: Any, db: Database, clock: FakeClock):
    for name in ("base", "base", "wide", "wide"):
        made(name=name, lr=0.1 if name == "base" else 0.2)
    with db.read() as session:
        compared = comparison.of(session, [1, 2, 3, 4], now=clock())
    assert comparison.groupings(compared)["seeds"].groups == ["base", "wide"]
    assert comparison.groupings(compared)["lr"].groups == ["Learning rate 0.1", "Learning rate 0.2"]


def test_runs_that_another_beats_in_everything_are_not_worth_their_cost(client: TestClient, made: Any):
    for accuracy in (0.8, 0.9, 0.7):
        made(accuracy)
    page = client.get("/compare?runs=1-3").text
    front = page[page.index('id="front"') :]
    assert re.findall(r'data-run-id="(\d+)"', front[: front.index("</table>")]) == ["2"]


def test_few_runs_tell_nothing_of_importance_and_the_words_say_so(client: TestClient, made: Any):
    made(lr=0.1)
    made(lr=0.2)
    found = client.get("/api/v1/compare/importance?runs=1,2").json()
    assert "too few" in found["words"]
    assert found["settings"] == []
    assert "do not differ" in client.get("/api/v1/compare/importance?runs=1").json()["words"]
    assert client.get("/api/v1/compare/importance?runs=1&metric=x").json()["errors"]["metric"]


def test_the_importance_page_names_the_setting_that_matters(client: TestClient, made: Any):
    for number in range(16):
        made(0.7 + 0.02 * (number % 4), lr=0.1 * (1 + number % 4), dropout=0.1 * (number // 4))
    page = client.get("/compare/importance?runs=1-16").text
    assert re.findall(r'<th scope="row">(.*?)</th>', page)[0] == "Learning rate"
    assert "can be told for runs that were left out" in page


def test_columns_are_the_values_that_are_not_the_same_for_all(
    client: TestClient, made: Any, db: Database, clock: FakeClock
):
    made(0.8, lr=0.1, optimizer="sgd", momentum=0.5)
    made(0.9, lr=0.1, optimizer="adam")
    with db.read() as session:
        columns = {column.key: column for column in comparison.columns(comparison.of(session, [1, 2], now=clock()))}
    assert "lr" not in columns
    assert columns["optimizer"].values == ["SGD", "Adam"]
    assert columns["best_val_accuracy"].values == [0.8, 0.9]
    assert (columns["best_val_accuracy"].better, columns["started_at"].kind) == (1, "instant")
    assert "momentum" not in columns, "a single value is nothing to compare"


# The page


def test_names_are_text_on_the_page_and_in_its_data(client: TestClient, made: Any):
    made(name=EVIL)
    made(name=EVIL, lr=0.5)
    for path in ("/compare?runs=1,2", "/compare/groups?runs=1,2", "/compare/importance?runs=1,2"):
        assert "<script>alert" not in client.get(path).text, path


def test_runs_that_are_gone_are_told(client: TestClient, made: Any):
    made()
    page = client.get("/compare?runs=1,70-72").text
    assert "3 of the runs asked for are not there" in page
    assert "Compare 1 run</h1>" in page


def test_the_page_asks_as_little_for_many_runs_as_for_few(client: TestClient, made: Any):
    for number in range(40):
        made(0.5 + number / 100, epochs=1, lr=0.01 * (1 + number), tags=["a", "b"])
    with counted() as few:
        client.get("/compare?runs=1-3")
    with counted() as many:
        client.get("/compare?runs=1-40")
    assert len(many) == len(few) <= 6
    with counted() as asked:
        client.get("/api/v1/compare/steps?runs=1-40")
    assert len([statement for statement in asked if "SELECT" in statement]) == 2


def test_a_thousand_runs_fit(client: TestClient, made: Any):
    made()
    page = client.get(f"/compare?runs=1-{selection.MOST}")
    assert page.status_code == 200
    assert client.get(f"/compare?runs=1-{selection.MOST + 1}").status_code == 422


def test_the_page_offers_every_axis_and_chart(client: TestClient, made: Any):
    made()
    page = client.get("/compare?runs=1&x=wall&show=lr&smooth=0.6&log=1").text
    for value in (*compare_view.X_AXES, *compare_view.SHOWN):
        assert f'<option value="{value}"' in page
    assert '<option value="wall" selected>' in page
    assert re.search(r'name="smooth"[^>]*value="0.6"', page)


def test_statistics_are_not_imported_at_the_start():
    code = "import app.main, sys; print({'scipy', 'sklearn'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "set()"


def differences(page: str) -> str:
    found = re.search(r'id="differences".*?</table>', page, re.DOTALL)
    assert found is not None
    return found[0][len('id="differences">') :]


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that SQLAlchemy sends meanwhile."""
    from sqlalchemy import Engine

    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield asked
    event.remove(Engine, "before_cursor_execute", note)


# Runs that the table finds


def test_runs_are_also_those_that_the_tables_filter_finds(client: TestClient, made: Any):
    for number, lr in enumerate((0.1, 0.01, 0.2)):
        made(0.8 + number / 100, lr=lr, name=f"run {number}")
    found = client.get("/api/v1/compare", params={"filter": "lr > 0.05", "sort": "-best_val_accuracy"}).json()
    assert [run["id"] for run in found["runs"]] == [3, 1]
    assert "Compare 2 runs" in client.get("/compare", params={"filter": "lr > 0.05"}).text
    wrong = client.get("/api/v1/compare", params={"filter": "lr >"})
    assert (wrong.status_code, list(wrong.json()["errors"])) == (422, ["filter"])
    assert client.get("/compare", params={"sort": "-lr"}).text.count("Nothing to compare yet") == 1


# The report


def test_the_report_draws_every_view(client: TestClient, made: Any):
    made(lr=0.1, name=EVIL)
    made(lr=0.2, epochs=1)
    views = ("", "&smooth=0.6&log=1", "&group=seeds&x=time", "&x=wall&clip=1", "&x=step&group=lr")
    for show, view in itertools.product(("four", "lr", "steps"), views):
        page = client.get(f"/compare/report?runs=1,2&show={show}{view}").text
        assert page.count('<svg class="curves"') == (4 if show == "four" else 1)
        assert not re.search(r'd="[^"]*(nan|inf)', page)
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)" in page


def test_a_saved_report_is_one_file_that_asks_for_nothing(client: TestClient, made: Any):
    for number in range(16):
        made(0.5 + number % 4 / 10, lr=0.1 * (1 + number % 4), seed=number)
    answer = client.get("/compare/report?runs=1-16&save=1")
    assert re.fullmatch(r'attachment; filename="comparison-\d{8}-\d{4}\.html"', answer.headers["content-disposition"])
    assert "--series-0:" in answer.text
    assert not re.search(r"<(script|link|img|iframe|object)\b|url\(|@import|\bsrc=|href=", answer.text)
    assert "default-src 'none'" in answer.text
    for part in ("differences", "group-table", "importances", "front"):
        assert f'id="{part}"' in answer.text


def test_an_outlier_does_not_press_the_other_curves_flat():
    y = np.r_[np.linspace(1.0, 0.5, 499), 1000.0]
    line = svg.Line("one", "series-0", np.arange(500.0), y)
    pictures = [
        svg.chart("Loss", [line], svg.Axis("Epoch", "number"), svg.Axis("Loss", "loss", clip=c)) for c in (0, 1)
    ]
    assert ["1,000" in picture for picture in pictures] == [True, False]
    assert "0.6" in pictures[1]


def test_a_report_of_no_runs_says_so(client: TestClient):
    assert "There are no runs in it." in client.get("/compare/report?runs=77").text


def test_a_report_stays_small_with_long_curves(client: TestClient, made: Any, db: Database):
    """Of each curve the extremes of two hundred columns: of these two runs the second has a hundred thousand steps."""
    made()
    made()
    with db.write() as session:
        losses = np.random.default_rng(0).random(100_000).astype("<f4").tobytes()
        session.add(StepBlock(run_id=2, first_step=1000, epoch=9, attempt=1, losses=losses))
    assert len(client.get("/compare/report?runs=1,2&show=steps").content) < 40_000
