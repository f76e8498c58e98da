"""Pages on which past runs of other tools are brought in: chosen, looked at, and then imported or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse, Response

from app import metrics
from app.actions import Form
from app.comparing import settings_diff
from app.data_sets.multipart import receive_form
from app.data_sets.pieces import UploadError
from app.exchange import arrivals, importing, series
from app.exchange.importing import Planned
from app.exchange.past import ImportProblem, PastRun
from app.forms import FormError
from app.guarding.access import Who, is_loopback
from app.models import SOURCES, Role, Run, Source
from app.pages import templates
from app.runs_table.columns import COLUMNS
from app.schemas import EpochOut, RunOut
from app.state import Shared, State
from trainer.config import OPTIONS

router = APIRouter(include_in_schema=False)

MOST_CHARTS = 60
UNPACKED = "unpacked"
SHOWN = 200
"""Runs of a preview that are listed one by one."""


@dataclass(frozen=True, slots=True)
class _Arrival:
    kind: Source
    path: Path
    name: str
    """What the person calls it."""

    @property
    def called(self) -> str:
        """What is read: the file itself, or the folder that was in it."""
        if self.path.name == UNPACKED:
            return Path(self.name).stem
        return self.path.name if self.path.is_dir() else Path(self.name).name


def imported_page(request: Request, session: Session, run: Run, now: datetime) -> Response:
    """A run that another tool has trained: what it recorded, and nothing that needs its weights."""
    info = run.source_info or {}
    known = [option for name, option in OPTIONS.items() if name in run.config and name != "epochs"]
    context = {
        "run": RunOut.of(run, now=now),
        "label": SOURCES[Source(run.source)],
        "epochs": EpochOut.all_of(metrics.epochs(session, run.id)),
        "series": series.names(session, run.id),
        "most": MOST_CHARTS,
        "config_rows": [
            {"label": option.label, "value": settings_diff.shown(option.name, run.config[option.name])}
            for option in known
        ],
        "others": info.get("settings", {}),
        "nav": "runs",
    }
    return templates.TemplateResponse(request, "imported_run.html", context)


@router.get("/import")
def show_import(request: Request, shared: Shared) -> Response:
    return _page(request, shared)


@router.post("/import")
async def upload_past(request: Request, shared: Shared, who: Who) -> Response:
    """A file from the browser: a CSV, an MLflow database, or a zip of a folder."""
    try:
        upload = await receive_form(request, shared.imports, who)
    except FormError as error:
        return _page(request, shared, error.errors, status=422)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody is left to read it
    except UploadError as error:
        return _page(request, shared, {"files": str(error)}, status=error.status)
    return await run_in_threadpool(_checked, request, shared, upload.id)


def _checked(request: Request, shared: State, upload_id: str) -> Response:
    """What cannot be read is told where it was chosen, and nothing of it stays."""
    try:
        _read(_arrived(shared, upload_id))
    except ImportProblem as error:
        shared.imports.remove(upload_id)
        return _page(request, shared, {"files": str(error)}, status=422)
    return RedirectResponse(f"/import/{upload_id}", 303)


@router.post("/import/path")
def preview_path(request: Request, shared: Shared, values: Form) -> Response:
    """A folder or file on this machine, named by its path."""
    try:
        arrival = _named(request, shared, values)
        found = _read(arrival)
    except FormError as error:
        return _page(request, shared, error.errors, values, status=422)
    except ImportProblem as error:
        return _page(request, shared, {"path": str(error)}, values, status=422)
    hidden = {"kind": str(arrival.kind), "path": str(arrival.path)}
    return _preview(request, shared, arrival, found, "/import/path/confirm", hidden)


@router.post("/import/path/confirm")
def import_path(request: Request, shared: Shared, values: Form, who: Who) -> Response:
    try:
        found = _read(_named(request, shared, values))
    except FormError as error:
        return _page(request, shared, error.errors, values, status=422)
    except ImportProblem as error:
        return _page(request, shared, {"path": str(error)}, values, status=422)
    return _carried_out(shared, found, who)


@router.get("/import/{upload_id}")
def show_preview(request: Request, upload_id: str, shared: Shared) -> Response:
    """What would be imported; nothing is yet. Raises `NoSuchUpload`."""
    arrival = _arrived(shared, upload_id)
    return _preview(request, shared, arrival, _read(arrival), f"/import/{upload_id}/confirm", {})


@router.post("/import/{upload_id}/confirm")
def import_upload(upload_id: str, shared: Shared, who: Who) -> Response:
    answer = _carried_out(shared, _read(_arrived(shared, upload_id)), who)
    shared.imports.remove(upload_id)
    return answer


@router.post("/import/{upload_id}/discard")
def discard(upload_id: str, shared: Shared) -> Response:
    shared.imports.get(upload_id)
    shared.imports.remove(upload_id)
    return RedirectResponse("/import", 303)


def _arrived(shared: State, upload_id: str) -> _Arrival:
    upload = shared.imports.get(upload_id)
    if len(upload.files) != 1:
        raise ImportProblem("Choose one file; several go into a .zip.")
    name = upload.files[0].filename
    folder = shared.imports.path(upload_id, UNPACKED)
    kind, path = arrivals.recognised(shared.imports.path(upload_id, "0"), name, folder)
    return _Arrival(kind, path, name)


def _named(request: Request, shared: State, values: dict[str, str]) -> _Arrival:
    """Raises `FormError`. Who may not name paths gets the same answer whether or not there is something."""
    if not may_name_paths(request, shared):
        raise FormError({"path": "Paths of this machine can only be named by an admin, on the machine itself."})
    kind, path = values.get("kind", ""), Path(values.get("path", "").strip())
    if kind not in importing.READERS:
        raise FormError({"kind": f"Must be one of {', '.join(importing.READERS)}."})
    try:
        path = path.expanduser()
        there = path.exists()
    except (OSError, RuntimeError) as error:
        # A name that is too long, a folder that may not be entered, the home of nobody.
        raise FormError({"path": f"{path} cannot be looked at: {error}."}) from error
    if not path.is_absolute():
        raise FormError({"path": "Must be a whole path, such as /home/me/logs."})
    if not there:
        raise FormError({"path": f"There is no {path}."})
    return _Arrival(Source(kind), path, str(path))


def may_name_paths(request: Request, shared: State) -> bool:
    """Only where nobody but this machine's own people can ask, since a path says what is on it."""
    identity = request.state.identity
    return is_loopback(shared.settings.host) and identity is not None and identity.role.includes(Role.ADMIN)


def _read(arrival: _Arrival) -> list[PastRun]:
    """Raises `ImportProblem`, which speaks of the file by the person's own name for it."""
    return importing.read(arrival.kind, arrival.path, arrival.called)


def _carried_out(shared: State, found: Sequence[PastRun], who: str) -> Response:
    with shared.db.read() as session:
        plan = importing.planned(session, found)
    with shared.db.write() as session:
        # Somebody may have imported the same in the meantime.
        importing.look_again(session, plan)
        done = importing.carry_out(session, plan, who=who, now=shared.clock())
    changed = [*done.made, *done.updated]
    if len(changed) == 1:
        return RedirectResponse(f"/runs/{changed[0]}", 303)
    return RedirectResponse(f"/runs?filter=source%20%3D%20{found[0].source}", 303)


def _preview(
    request: Request, shared: State, arrival: _Arrival, found: Sequence[PastRun], action: str, hidden: dict[str, str]
) -> Response:
    with shared.db.read() as session:
        plan = importing.planned(session, found)
    context = {
        "source": SOURCES[arrival.kind],
        "name": Path(arrival.name).name,
        "plan": plan[:SHOWN],
        "more": max(0, len(plan) - SHOWN),
        "new": sum(item.here_as is None for item in plan),
        "grown": sum(item.grown for item in plan),
        "known": sum(item.here_as is not None and not item.grown for item in plan),
        "measures": _measures(plan),
        "settings": sorted({name for item in plan for name in item.mapped.config}),
        "others": sorted({name for item in plan for name in item.mapped.other_settings}),
        "kept": sorted({name for item in plan for name in item.mapped.kept}),
        "remarks": sorted({remark for item in plan for remark in item.mapped.remarks}),
        "columns": {key: COLUMNS[key].label for key in COLUMNS},
        "action": action,
        "hidden": hidden,
        "nav": "runs",
    }
    return templates.TemplateResponse(request, "import_preview.html", context)


def _measures(plan: Sequence[Planned]) -> list[tuple[str, str]]:
    """(as it was called, what it becomes) of all that becomes a column."""
    return sorted({(name, column) for item in plan for column, name in item.mapped.names.items()})


def _page(
    request: Request,
    shared: State,
    errors: dict[str, str] | None = None,
    values: dict[str, str] | None = None,
    *,
    status: int = 200,
) -> Response:
    context: dict[str, Any] = {
        "errors": errors or {},
        "values": values or {},
        "kinds": [(str(source), label) for source, label in SOURCES.items() if source in importing.READERS],
        "by_path": may_name_paths(request, shared),
        "limit": shared.imports.limit,
        "nav": "runs",
    }
    return templates.TemplateResponse(request, "import.html", context, status_code=status)
