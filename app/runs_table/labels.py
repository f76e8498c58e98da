"""What people write on runs: name, notes, tags, star, and whether they are archived. Nothing of it is a status."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from app import runs
from app.forms import Edit
from app.models import Run, Tag

CHANGED = "about"
"""The journal's word for a change of these."""


def edit(session: Session, run_id: int, wanted: Edit, *, now: datetime) -> Run:
    """Raises `RunNotFound`."""
    run = runs.get(session, run_id)
    for name in ("name", "notes", "starred", "archived"):
        value = getattr(wanted, name)
        if value is not None:
            setattr(run, name, value)
    if wanted.tags is not None:
        set_tags(run, wanted.tags)
    runs.record_change(session, run_id, CHANGED, now=now)
    session.flush()
    return run


def set_tags(run: Run, names: Sequence[str]) -> None:
    """Those that stay keep their rows."""
    kept = {tag.name: tag for tag in run.tags}
    run.tags = [kept.get(name) or Tag(name=name) for name in sorted(set(names))]
