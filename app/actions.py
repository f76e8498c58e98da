"""What people do to runs, the same from pages and from JSON; each is noted in the audit trail with who did it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import Depends, HTTPException, Request
from pydantic import BaseModel, ValidationError

from app import forms, runs, workers
from app.data_sets.datasets import DataSetOut
from app.forms import FormError
from app.guarding import audit
from app.models import Run, View
from app.runs_table import labels, views
from app.schemas import RunOut
from app.state import State
from trainer import sources
from trainer.config import TrainConfig
from trainer.errors import DataMissing
from trainer.fit import misfits


async def _form(request: Request) -> dict[str, str]:
    async with request.form(max_files=0, max_fields=200) as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}


async def _json(request: Request) -> dict[str, Any]:
    try:
        values = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"The body is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise HTTPException(400, "The body must be a JSON object of fields.")
    return values


Form = Annotated[dict[str, str], Depends(_form)]
JsonObject = Annotated[dict[str, Any], Depends(_json)]


Model = TypeVar("Model", bound=BaseModel)


def checked(model: type[Model], values: dict[str, Any]) -> Model:
    """A body as its model. Raises `FormError`; what the body calls itself does not matter, so that `curl -d` does."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise FormError({str(item["loc"][0]): f"{item['msg']}." for item in error.errors()}) from error


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI says of a body that `checked` reads."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}}


def submit(shared: State, values: dict[str, Any], who: str) -> RunOut:
    """Queue what was asked for, on the newest version where a data set's is not named.

    Raises `FormError`, `QueueFull`.
    """
    wanted = forms.parse(values)
    now = shared.clock()
    with shared.db.write() as session:
        # Looked for in here, so that it cannot be removed before the run that names it is seen.
        config = _on_a_version(wanted.config, shared.settings.data_dir)
        run = runs.submit(
            session, config, name=wanted.name, notes=wanted.notes, tags=wanted.tags, now=now,
            most_queued=shared.settings.queue_limit,
        )  # fmt: skip
        audit.note(session, who, "started", now=now, run_id=run.id, detail=run.name)
        return RunOut.of(run, now=now)


def _on_a_version(config: TrainConfig, data_dir: Path) -> TrainConfig:
    """Raises `FormError` where the data set is not there or does not suit the settings."""
    try:
        dataset = sources.resolve(config.dataset, data_dir)
    except DataMissing as error:
        raise FormError({"dataset": str(error)}) from error
    if dataset not in dict(sources.available(data_dir)):
        raise FormError({"dataset": f"There is no data set {dataset}."})
    config = replace(config, dataset=dataset)
    if problems := misfits(config, data_dir):
        raise FormError(problems)
    return config


def cancel(shared: State, run_id: int, who: str) -> RunOut:
    """Raises `RunNotFound`, `RunStateError`."""
    now = shared.clock()
    with shared.db.write() as session:
        run = runs.request_cancel(session, run_id, now=now)
        audit.note(session, who, "cancelled", now=now, run_id=run_id, detail=run.name)
        return RunOut.of(run, now=now)


def delete(shared: State, run_id: int, who: str) -> None:
    """The run, then its folder, so that no row ever points at files that are gone.

    Raises `RunNotFound`, `RunStateError`.
    """
    now = shared.clock()
    with shared.db.write() as session:
        name = runs.get(session, run_id).name
        runs.remove(session, run_id, now=now)
        audit.note(session, who, "deleted", now=now, run_id=run_id, detail=name)
    shutil.rmtree(shared.settings.run_dir(run_id), ignore_errors=True)


def edit(shared: State, run_id: int, values: dict[str, Any], who: str) -> RunOut:
    """What people write on a run. Raises `RunNotFound`, `FormError`."""
    wanted, now = forms.parse_edit(values), shared.clock()
    with shared.db.write() as session:
        run = labels.edit(session, run_id, wanted, now=now)
        audit.note(session, who, "edited", now=now, run_id=run_id, detail=run.name)
        return RunOut.of(run, now=now)


def save_view(shared: State, name: str, address: str, who: str) -> View:
    """Raises `FormError`."""
    now = shared.clock()
    with shared.db.write() as session:
        view = views.save(session, name, address, who=who, now=now)
        audit.note(session, who, "saved view", now=now, detail=view.name)
        return view


def delete_view(shared: State, name: str, who: str) -> None:
    """Raises `ViewNotFound`."""
    with shared.db.write() as session:
        views.remove(session, name)
        audit.note(session, who, "removed view", now=shared.clock(), detail=name)


def values_of(run: Run) -> dict[str, Any]:
    """A run's settings as the form takes them, for running it again. Raises `RunStateError` for an imported one."""
    runs.must_be_own(run)
    return {**run.config, "name": run.name, "notes": run.notes, "tags": [tag.name for tag in run.tags]}


def dataset_choices(offered: Sequence[tuple[str, Sequence[DataSetOut]]], chosen: str) -> forms.Choices:
    """Those there are, under titles; one that is gone stays offered where it was chosen, and is refused with a word."""
    groups = [(title, [(item.id, item.label) for item in items]) for title, items in offered]
    if any(chosen == value for _, items in groups for value, _ in items):
        return groups
    return [*groups, ("Not here", [(chosen[:80], chosen[:80])])]


def device_choices(shared: State, chosen: str) -> list[tuple[str, str]]:
    """Auto, and each device that the newest worker has; the one already chosen stays offered."""
    with shared.db.read() as session:
        info = workers.newest_info(session) or {}
    found = [(device["id"], f"{device['id']}: {device['name']}") for device in info.get("devices", [])]
    choices = [("auto", "Auto"), *(found or [("cpu", "cpu")])]
    known = {value for value, _ in choices}
    return choices if chosen in known else [*choices, (chosen[:20], f"{chosen[:20]} (not seen here)")]
