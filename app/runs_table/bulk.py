"""The same thing done to many runs, with a word on each that it could not be done to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel

from app import actions, forms, runs
from app.forms import Edit, FormError
from app.guarding import audit
from app.models import Run, Source
from app.runs import RunNotFound, RunStateError
from app.runs_table import labels, listing
from app.runs_table.listing import Query, QueryError
from app.state import State

MOST = 1000
"""Runs at a time."""


@dataclass(frozen=True, slots=True)
class Action:
    label: str
    done: str
    """As in "3 cancelled"."""
    refused: str = "could not be changed"
    """As in "1 had ended already", of those whose status does not allow it."""
    certain: bool = False
    """Whether it cannot be taken back, so that a person is asked first."""


ACTIONS = {
    "cancel": Action("Cancel runs", "cancelled", "had ended already"),
    "again": Action("Run again", "queued again", "could not be run again"),
    "tag": Action("Add tag", "tagged"),
    "untag": Action("Remove tag", "untagged"),
    "star": Action("Star", "starred"),
    "unstar": Action("Remove star", "without a star now"),
    "archive": Action("Archive", "archived"),
    "unarchive": Action("Take out of the archive", "taken out of the archive"),
    "delete": Action("Delete", "deleted", "still running: cancel first", certain=True),
}


class Outcome(BaseModel):
    action: str
    done: list[int]
    refused: dict[int, str]
    """By number, why not."""
    message: str


@dataclass
class _Tally:
    """What has been done so far."""

    done: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)

    def try_to(self, run_id: int, action: Action, work: Callable[[], object]) -> None:
        try:
            work()
        except RunNotFound as error:
            self._refuse(run_id, str(error), "not there any more")
        except (RunStateError, FormError) as error:
            self._refuse(run_id, str(error), action.refused)
        else:
            self.done.append(run_id)

    def _refuse(self, run_id: int, why: str, kind: str) -> None:
        self.refused[run_id] = why
        self.kinds[kind] += 1


def apply(shared: State, name: str, run_ids: Sequence[int], who: str, *, tag: str = "") -> Outcome:
    """Raises `FormError` where nothing can be done at all: no such action, no runs, no tag."""
    wanted, tag = list(dict.fromkeys(run_ids)), tag.strip()
    _check(name, wanted, tag)
    action, tally = ACTIONS[name], _Tally()
    work = {"cancel": _cancel, "again": _again, "delete": _delete}.get(name)
    if work is not None:
        for run_id in wanted:
            tally.try_to(run_id, action, lambda run_id=run_id: work(shared, run_id, who))  # type: ignore[misc]
    else:
        _label(shared, name, wanted, who, tag, tally)
    return Outcome(action=name, done=tally.done, refused=tally.refused, message=_said(action, tally))


def matching(shared: State, address: str) -> list[int]:
    """All runs of the table at this address, in its order. Raises `FormError` where they are too many."""
    now = shared.clock()
    try:
        with shared.db.read() as session:
            found = list(listing.ids(session, Query.at(address), now=now, limit=MOST + 1))
    except QueryError as error:
        raise FormError({"address": str(error)}) from error
    if len(found) > MOST:
        raise FormError({"runs": f"These are more than {MOST:,} runs: narrow the filter."})
    return found


def _check(name: str, wanted: Sequence[int], tag: str) -> None:
    errors = {}
    if name not in ACTIONS:
        errors["action"] = f"Must be one of {', '.join(ACTIONS)}."
    if not wanted:
        errors["runs"] = "Tick at least one run."
    if len(wanted) > MOST:
        errors["runs"] = f"Must be at most {MOST:,} runs at a time."
    if name in ("tag", "untag"):
        if not tag:
            errors["tag"] = "Must not be empty."
        else:
            errors |= forms.tag_errors(tag)
    if errors:
        raise FormError(errors)


def _cancel(shared: State, run_id: int, who: str) -> None:
    actions.cancel(shared, run_id, who)


def _again(shared: State, run_id: int, who: str) -> None:
    with shared.db.read() as session:
        run = runs.get(session, run_id)
        if run.source != Source.FITROOM:
            raise RunStateError(f"Run {run_id} was imported: Fitroom does not know how it was trained.")
        values = actions.values_of(run)
    actions.submit(shared, values, who)


def _delete(shared: State, run_id: int, who: str) -> None:
    actions.delete(shared, run_id, who)


def _label(shared: State, name: str, wanted: Sequence[int], who: str, tag: str, tally: _Tally) -> None:
    """All in one transaction: these are small."""
    now = shared.clock()
    with shared.db.write() as session:
        there = {run.id: run for run in listing.by_ids(session, wanted)}

        def change(run_id: int) -> None:
            if run_id not in there:
                raise RunNotFound(f"There is no run {run_id}.")
            labels.edit(session, run_id, _edit(name, there[run_id], tag), now=now)
            audit.note(session, who, name, now=now, run_id=run_id, detail=tag or there[run_id].name)

        for run_id in wanted:
            tally.try_to(run_id, ACTIONS[name], lambda run_id=run_id: change(run_id))  # type: ignore[misc]


def _edit(name: str, run: Run, tag: str) -> Edit:
    """Raises `FormError` where a run has as many tags as it may."""
    tags = {item.name for item in run.tags}
    match name:
        case "tag":
            if len(tags | {tag}) > forms.TAGS:
                raise FormError({"tags": f"Must be at most {forms.TAGS} tags."})
            return Edit(tags=tuple(tags | {tag}))
        case "untag":
            return Edit(tags=tuple(tags - {tag}))
        case "star" | "unstar":
            return Edit(starred=name == "star")
        case _:
            return Edit(archived=name == "archive")


def _said(action: Action, tally: _Tally) -> str:
    """ "3 cancelled, 1 had ended already." """
    parts = [f"{len(tally.done):,} {action.done}"] if tally.done or not tally.kinds else ["None " + action.done]
    return ", ".join([*parts, *(f"{count:,} {kind}" for kind, count in tally.kinds.items())]) + "."
