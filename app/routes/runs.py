"""The page with the table of runs, and what its forms post to. Everything works without JavaScript."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import quote, unquote

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from starlette.responses import RedirectResponse, Response

from app import actions, runs
from app.actions import Form
from app.comparing import selection
from app.exchange import tensorboard
from app.forms import FormError
from app.guarding.access import Who
from app.pages import templates
from app.routes.asked import Lenient
from app.runs_table import bulk, columns, filters, listing, table, views
from app.runs_table.layout import Layout
from app.runs_table.listing import QueryError
from app.schemas import RunOut
from app.state import Shared, State

router = APIRouter(include_in_schema=False)

COLUMNS_COOKIE = "fitroom-columns"
FOLD_COOKIE = "fitroom-fold"
A_YEAR_S = 365 * 24 * 3600
_EVERY_RUN = {"page": 1, "group": "", "cols": "", "fold": ""}
"""Of an address: what says how a page shows its runs, and nothing to a file of them."""
OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "~", "!~", "in", "is empty", "is not empty")


@router.get("/runs")
def show_runs(request: Request, asked: Lenient, shared: Shared) -> Response:
    query, errors = asked
    layout = _layout(request, query)
    fold = _folds(request, query)
    context = _table(shared, query, layout, fold) | {
        "nav": "runs",
        "errors": errors,
        "typed": request.query_params.get("filter", ""),
        "offered": table.offered(),
        "operators": OPERATORS,
        "choices": {key: [word for word, _ in column.choices] for key, column in columns.COLUMNS.items()},
        "files_url": lambda kind: query.url(f"/api/v1/runs.{kind}", **_EVERY_RUN),
        "events_url": query.url("/api/v1/tensorboard.zip", **_EVERY_RUN),
        "columns_shown": ",".join(key for key in layout.keys if key != "curve"),
        "most_event_files": tensorboard.MOST_RUNS,
        "share_url": query.url(cols=str(layout), page=1, fold="" if query.group else "on" if fold else "off"),
        "actions": bulk.ACTIONS,
    }
    with shared.db.read() as session:
        context["views"] = views.all_of(session)
    return templates.TemplateResponse(request, "runs.html", context, status_code=422 if errors else 200)


@router.get("/runs/rows")
def show_rows(request: Request, asked: Lenient, shared: Shared) -> Response:
    """The table's rows alone, for a page that has heard of new ones."""
    query, _ = asked
    context = _table(shared, query, _layout(request, query), _folds(request, query))
    headers = {"Fitroom-Counts": json.dumps(context["counts"])}
    return templates.TemplateResponse(request, "partials/run_rows.html", context, headers=headers)


@router.get("/runs/columns")
def choose_columns(
    request: Request,
    col: Annotated[list[str] | None, Query(max_length=200)] = None,
    pin: Annotated[list[str] | None, Query(max_length=200)] = None,
    address: Annotated[str, Query(max_length=8000)] = "",
) -> Response:
    """Remember this browser's columns; without any, forget them."""
    widths = {name.removeprefix("width."): value for name, value in request.query_params.items()}
    layout = Layout.chosen(col or (), pin or (), widths)
    answer = RedirectResponse(_query_at(address).url(cols=""), 303)
    if col and str(layout):
        answer.set_cookie(COLUMNS_COOKIE, quote(str(layout)), max_age=A_YEAR_S, samesite="lax")
    else:
        answer.delete_cookie(COLUMNS_COOKIE)
    return answer


@router.get("/runs/fold")
def choose_folding(
    fold: Annotated[str, Query(pattern="^(on)?$")] = "",
    address: Annotated[str, Query(max_length=8000)] = "",
) -> Response:
    """Remember in this browser whether the seeds of one configuration are one row; the address says it too."""
    query = _query_at(address)
    answer = RedirectResponse(query.url(fold="" if fold else "off", page=1), 303)
    if fold:
        answer.delete_cookie(FOLD_COOKIE)
    else:
        answer.set_cookie(FOLD_COOKIE, "off", max_age=A_YEAR_S, samesite="lax")
    return answer


@router.get("/runs/filter")
def add_to_filter(
    column: Annotated[str, Query(max_length=60)],
    operator: Annotated[str, Query(max_length=20)] = "=",
    value: Annotated[str, Query(max_length=200)] = "",
    address: Annotated[str, Query(max_length=8000)] = "",
) -> Response:
    """One more condition, from the builder; what is wrong with it is then told where a filter is typed."""
    if operator not in OPERATORS:
        raise HTTPException(422, "There is no such comparison.")
    query = _query_at(address)
    condition = filters.Comparison(column, operator, _words(operator, value))  # type: ignore[arg-type]
    return RedirectResponse(query.url(filter=filters.joined([*filters.parts(query.filter), condition]), page=1), 303)


def _words(operator: str, value: str) -> tuple[str, ...]:
    if "empty" in operator:
        return ()
    return tuple(word.strip() for word in value.split(",")) if operator == "in" else (value.strip(),)


async def _many(request: Request) -> tuple[list[str], dict[str, str]]:
    """The ticked runs, those of folded seeds as `1-3,7`, and the other fields of the form."""
    async with request.form(max_files=0, max_fields=bulk.MOST + 20) as form:
        ticked = [str(value) for value in form.getlist("runs")]
        fields = {name: value for name, value in form.items() if name != "runs" and isinstance(value, str)}
    return ticked, fields


@router.post("/runs/bulk")
def do_to_many(
    request: Request, shared: Shared, who: Who, posted: Annotated[tuple[list[str], dict[str, str]], Depends(_many)]
) -> Response:
    """What a person does to the ticked runs, and a page on how it went; what cannot be undone is asked first."""
    boxes, fields = posted
    name, back = fields.get("action", ""), _query_at(fields.get("address", "")).url()
    context: dict[str, Any] = {"nav": "runs", "back": back, "action": name, "names": {}, "ticked": []}
    try:
        whole = fields.pop("all", "")
        ticked = bulk.matching(shared, fields.get("address", "")) if whole else selection.ids(boxes)
    except FormError as error:
        return _refused(request, context | {"fields": fields}, error)
    context["fields"] = fields
    with shared.db.read() as session:
        names = {run.id: run.name for run in listing.by_ids(session, ticked[: bulk.MOST])}
    context |= {"names": names, "ticked": ticked}
    if name in bulk.ACTIONS and bulk.ACTIONS[name].certain and ticked and not fields.get("certain"):
        return templates.TemplateResponse(request, "bulk.html", context | {"ask": True})
    try:
        outcome = bulk.apply(shared, name, ticked, who, tag=fields.get("tag", ""))
    except FormError as error:
        return _refused(request, context, error)
    return templates.TemplateResponse(request, "bulk.html", context | {"outcome": outcome})


def _refused(request: Request, context: dict[str, Any], error: FormError) -> Response:
    return templates.TemplateResponse(request, "bulk.html", context | {"errors": error.errors}, status_code=422)


@router.get("/runs/compare")
def compare_matching(request: Request, shared: Shared) -> Response:
    """All runs of the table at this address, side by side."""
    return RedirectResponse(f"/compare?{selection.address(bulk.matching(shared, request.url.query))}", 303)


@router.get("/runs/{run_id}/edit")
def show_edit(request: Request, run_id: int, shared: Shared) -> Response:
    """Name, tags and notes of a run in a form."""
    with shared.db.read() as session:
        run = RunOut.of(runs.get(session, run_id), now=shared.clock())
    values = {"name": run.name, "tags": ", ".join(run.tags), "notes": run.notes}
    return _edit_page(request, run, values, {})


@router.post("/runs/{run_id}/edit")
def edit(request: Request, run_id: int, shared: Shared, who: Who, values: Form) -> Response:
    with shared.db.read() as session:
        run = RunOut.of(runs.get(session, run_id), now=shared.clock())
    try:
        actions.edit(shared, run_id, dict(values), who)
    except FormError as error:
        return _edit_page(request, run, values, error.errors)
    return RedirectResponse(f"/runs/{run_id}", 303)


@router.get("/runs/views/{name}")
def open_view(name: str, shared: Shared) -> Response:
    """The table as it was saved under this name."""
    with shared.db.read() as session:
        view = views.get(session, name)
    return RedirectResponse(f"/runs?{view.address}" if view.address else "/runs", 303)


@router.post("/runs/views")
def save_view(shared: Shared, who: Who, values: Form) -> Response:
    view = actions.save_view(shared, values.get("name", ""), values.get("address", ""), who)
    return RedirectResponse(f"/runs/views/{quote(view.name, safe='')}", 303)


@router.post("/runs/views/{name}/delete")
def delete_view(name: str, shared: Shared, who: Who, values: Form) -> Response:
    actions.delete_view(shared, name, who)
    return RedirectResponse(_query_at(values.get("address", "")).url(), 303)


def _edit_page(request: Request, run: RunOut, values: dict[str, str], errors: dict[str, str]) -> Response:
    context = {"run": run, "values": values, "errors": errors, "nav": "runs"}
    return templates.TemplateResponse(request, "edit_run.html", context, status_code=422 if errors else 200)


def _layout(request: Request, query: listing.Query) -> Layout:
    """What the address says, else what this browser remembers."""
    return Layout.of(query.cols or unquote(request.cookies.get(COLUMNS_COOKIE, ""))[: listing.LONGEST_COLS])


def _folds(request: Request, query: listing.Query) -> bool:
    """What the address says, else what this browser remembers, else yes."""
    return (query.fold or request.cookies.get(FOLD_COOKIE, "on")) != "off"


def _table(shared: State, query: listing.Query, layout: Layout, fold: bool) -> dict[str, Any]:
    with shared.db.read() as session:
        return table.page(session, query, layout, fold=fold, now=shared.clock())


def _query_at(address: str) -> listing.Query:
    """Of the page that a form was on; one that cannot be read leads to the whole table."""
    try:
        return listing.Query.at(address)
    except QueryError:
        return listing.Query()
