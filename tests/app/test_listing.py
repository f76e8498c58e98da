"""The table as a query: order, pages, counts, what is derived, and that indexes answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, select

from app import metrics, runs
from app.models import Run, Status
from app.runs_table import columns, listed, listing, sparks
from app.runs_table.folding import config_key
from app.runs_table.listing import Query, QueryError
from app.schema import migrate
from app.schemas import RunOut
from tests.app.listing_store import add
from trainer.config import OPTIONS, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.db import Database
    from tests.conftest import FakeClock


@pytest.fixture
def store(db: Database, clock: FakeClock) -> Database:
    add(db, clock, "a", lr=0.1, accuracies=(0.5, 0.7), end="finished")
    add(db, clock, "b", lr=0.01, accuracies=(0.9,), end="failed")
    add(db, clock, "c", lr=0.01, accuracies=(0.7,), end="finished")
    add(db, clock, "d", lr=0.1)
    return db


def names(db: Database, clock: FakeClock, **parts: Any) -> str:
    with db.read() as session:
        return "".join(run.name for run in listing.rows(session, Query.of(**parts), now=clock()))


def test_runs_are_sorted_by_several_columns_and_empty_ones_come_last(store: Database, clock: FakeClock):
    assert {sort: names(store, clock, sort=sort) for sort in SORTED} == SORTED


SORTED = {
    "": "dcba",
    "created": "abcd",
    "-best_val_accuracy": "bcad",
    "best_val_accuracy": "acbd",
    "accuracy,-name": "cabd",
    "lr,-best_val_accuracy": "bcad",
    "-lr,name": "adbc",
    "-lr,-lr,name": "adbc",
    "duration": "bcad",
    "status,name": "bacd",
}


def test_an_address_that_cannot_be_read_says_by_part_what_is_wrong():
    with pytest.raises(QueryError) as caught:
        Query.of(status="evil", sort="-acuracy", filter="lr <", archived="no")
    assert caught.value.errors == {
        "status": "Must be one of queued, running, cancelled, finished, failed.",
        "sort": "There is no column “acuracy” to sort by; did you mean accuracy?",
        "filter": "Expected a value, found the end (at character 5).",
        "archived": "Must be only, all or empty.",
    }
    with pytest.raises(QueryError, match="at most 6 columns"):
        Query.of(sort=",".join(list(columns.COLUMNS)[:7]))
    query, errors = Query.lenient(filter="lr <", sort="-lr", q=" a ")
    assert (query.sort, query.q, list(errors)) == ("-lr", "a", ["filter"])


def test_an_address_names_what_differs_from_the_defaults():
    query = Query.of(filter="lr < 0.1", sort="-accuracy,lr", page=3)
    assert query.url() == "/runs?filter=lr+%3C+0.1&sort=-best_val_accuracy%2Clr&page=3"
    assert query.url(page=1, sort=listing.DEFAULT_SORT, filter="") == "/runs"
    assert Query.of().url("/runs/rows") == "/runs/rows"


def test_archived_runs_are_shown_when_asked_for(store: Database, clock: FakeClock):
    with store.write() as session:
        runs.get(session, 2).archived = True
    assert names(store, clock) == "dca"
    assert names(store, clock, archived="only") == "b"
    assert names(store, clock, archived="all") == "dcba"
    with store.read() as session:
        assert listing.counts(session)["all"] == 3
        assert listing.counts(session, "all")["failed"] == 1
        assert listing.total(session, Query.of(archived="all", status="failed"), now=clock()) == 1


def test_every_column_has_the_same_value_in_sql_and_on_the_page(store: Database, clock: FakeClock):
    add(store, clock, "mlp", arch="mlp", mlp_depth=3, optimizer="sgd", nesterov=True, mix="mixup", schedule="step")
    with store.read() as session:
        for column in columns.COLUMNS.values():
            stored = dict(session.execute(select(listed.listed.c.run_id, column.sql)).all())
            for run in session.scalars(select(Run)):
                # Of a run that goes on, the page counts the time up to now.
                if column.key != "duration_s" or run.finished_at or not run.started_at:
                    value = column.value(RunOut.of(run, now=clock()))
                    assert stored[run.id] == (pytest.approx(value, abs=1e-3) if isinstance(value, float) else value)


def test_every_setting_is_a_column_and_says_what_it_is():
    assert set(OPTIONS) <= set(columns.COLUMNS)
    labels = [column.label for column in columns.COLUMNS.values()]
    assert len(set(labels)) == len(labels)
    assert set(columns.ALIASES.values()) | set(columns.DEFAULT) <= set(columns.COLUMNS) | set(columns.EXTRAS)


def test_the_narrow_table_follows_every_writer(store: Database, clock: FakeClock):
    with store.write() as session:
        session.connection().exec_driver_sql("UPDATE runs SET name = 'renamed', starred = 1 WHERE id = 1")
        runs.remove(session, 2, now=clock())
    assert names(store, clock, filter="starred = yes", q="renamed") == "renamed"
    assert names(store, clock) == "dcrenamed"


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TRIGGER listed_about",
        "DROP INDEX ix_listed_lr",
        "DROP TABLE listed",
        "ALTER TABLE listed ADD COLUMN other INTEGER",
    ],
)
def test_the_narrow_table_is_made_anew_where_it_is_another(store: Database, clock: FakeClock, damage: str):
    with store.write() as session:
        for name in (
            ("listed_insert", "listed_about", "listed_results", "listed_settings") if "TABLE listed" in damage else ()
        ):
            session.connection().exec_driver_sql(f"DROP TRIGGER {name}")
        session.connection().exec_driver_sql(damage)
        session.connection().exec_driver_sql("UPDATE runs SET name = 'z' WHERE id = 1")
    migrate(store.path)
    assert names(store, clock, sort="-name") == "zdcb"
    with store.read() as session:
        assert listed.in_step(session.connection())


def test_seeds_of_one_configuration_share_a_key():
    key = config_key(TrainConfig(lr=0.1, seed=1).to_dict())
    assert key == config_key(TrainConfig(lr=0.1, seed=2).to_dict())
    assert key == config_key({"lr": 0.1}), "a setting that an old run does not know counts as its default"
    assert key == config_key(TrainConfig(lr=0.1, momentum=0.5).to_dict()), "momentum means nothing to Adam"
    others = [TrainConfig(lr=0.2), TrainConfig(lr=0.1, epochs=3), TrainConfig(lr=0.1, optimizer="sgd", momentum=0.5)]
    assert len({key, *(config_key(other.to_dict()) for other in others)}) == 4


def test_a_runs_curve_is_kept_in_small(db: Database, clock: FakeClock):
    accuracies = [number / 100 for number in range(1, 98)]
    add(db, clock, "long", accuracies=(*accuracies, float("nan")))
    with db.read() as session:
        points = sparks.unpack(runs.get(session, 1).spark)
        whole = [row.val_accuracy for row in metrics.epochs(session, 1)]
    assert points[:2] == [pytest.approx(0.03, abs=1e-4), pytest.approx(0.06, abs=1e-4)]
    assert points[-1] is None
    assert len(points) <= sparks.POINTS + 1
    assert sparks.unpack(sparks.pack(sparks.thinned(whole))) == points
    assert sparks.unpack(None) == []


SORTS = [f"{sign}{key}" for key in columns.DEFAULT if key in columns.COLUMNS for sign in ("", "-")]


def test_no_sort_that_the_page_offers_goes_through_the_whole_table(db: Database, clock: FakeClock):
    for sort in ("", "created", *SORTS):
        plan = plan_of(db, clock, Query.of(sort=sort))
        assert len(plan) == 1, sort
        assert plan[0].startswith("SEARCH listed USING COVERING INDEX ix_listed_"), sort


def test_the_newest_runs_of_a_status_come_out_of_an_index_in_order(db: Database, clock: FakeClock):
    for status in Status:
        (step,) = plan_of(db, clock, Query.of(status=status))
        assert step == "SEARCH listed USING COVERING INDEX ix_listed_newest (archived=? AND status=?)"


def test_a_filter_is_answered_from_its_index(db: Database, clock: FakeClock):
    for asked, index in INDEXED.items():
        with db.read() as session:
            statement = select(listed.listed.c.run_id).where(*listing.where(Query.of(filter=asked), clock()))
            assert index in explained(session, statement)[0]


INDEXED = {
    "lr < 0.01": "ix_listed_lr (archived=? AND lr<?)",
    "seed = 3": "ix_listed_seed (archived=? AND seed=?)",
    "created > 2026-01-01": "ix_listed_created_at (archived=? AND created_at>?)",
    "accuracy > 0.9 and accuracy < 0.95": "ix_listed_best_val_accuracy (archived=? AND best_val_accuracy>?",
    "config = 0123456789abcdef": "ix_listed_folding (archived=? AND config_key=?)",
}


def test_a_page_of_runs_takes_the_same_few_statements_however_many_there_are(store: Database, clock: FakeClock):
    few = statements(store, clock)
    for number in range(60):
        add(store, clock, f"run {number}", tags=("x",))
    assert statements(store, clock) == few == 5


def statements(db: Database, clock: FakeClock) -> int:
    seen: list[str] = []
    engine = db._readers
    listener = lambda _c, _u, statement, *_: seen.append(statement)  # noqa: E731
    event.listen(engine, "before_cursor_execute", listener)
    with db.read() as session:
        query = Query.of(sort="-accuracy", filter="lr > 0")
        page = [RunOut.of(run, now=clock()) for run in listing.page(session, query, now=clock())]
        assert page
        listing.total(session, query, now=clock())
        listing.counts(session)
    event.remove(engine, "before_cursor_execute", listener)
    return sum(statement.startswith("SELECT") for statement in seen)


def plan_of(db: Database, clock: FakeClock, query: Query) -> Sequence[str]:
    wanted = select(listed.listed.c.run_id).where(*listing.where(query, clock())).order_by(*listing.order(query))
    with db.read() as session:
        return explained(session, wanted.limit(50))


def explained(session: Any, statement: Any) -> list[str]:
    compiled = statement.compile(session.get_bind(), compile_kwargs={"literal_binds": True})
    return [row.detail for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")]
