"""`fitroom export` and `fitroom import`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from app import runs
from app.clock import utc_now
from app.config import Settings
from app.db import Database
from app.exchange import importing, tables, tensorboard
from app.exchange.importing import Planned
from app.exchange.sheets import WRITERS
from app.runs_table import listing
from app.schema import opened

SHOWN = 20


def export(settings: Settings, parsed: argparse.Namespace) -> int:
    """0 when all was written, 2 for what does not go together. Raises `RunNotFound`, `OSError`."""
    try:
        query = listing.Query.of(filter=parsed.filter)
    except listing.QueryError as error:
        print(f"fitroom: {error}", file=sys.stderr)
        return 2
    if parsed.tensorboard is None and len(parsed.run_ids) > 1:
        print("fitroom: A table holds one run; several go into one folder with --tensorboard DIR.", file=sys.stderr)
        return 2
    with opened(settings.database, existing=True) as db:
        if parsed.tensorboard is not None:
            _write_event_files(db, parsed, query)
        else:
            _write_table(db, parsed, query)
    return 0


def _write_event_files(db: Database, parsed: argparse.Namespace, query: listing.Query) -> None:
    with db.read() as session:
        wanted = parsed.run_ids or listing.ids(session, query, now=utc_now())
    tensorboard.write_folder(db, wanted, parsed.tensorboard)
    print(f"{len(wanted)} written; look at them with: tensorboard --logdir {parsed.tensorboard}")


def _write_table(db: Database, parsed: argparse.Namespace, query: listing.Query) -> None:
    writer, _ = WRITERS[parsed.format]
    with db.read() as session:
        if parsed.run_ids:
            (run_id,) = parsed.run_ids
            runs.get(session, run_id)
            table = (tables.steps if parsed.steps else tables.epochs)(session, run_id)
        else:
            table = tables.runs(session, query, now=utc_now())
        writer(sys.stdout.buffer, table.fields, table.rows)
    sys.stdout.flush()


def import_(settings: Settings, parsed: argparse.Namespace) -> int:
    """0 when all was imported or is here already. Raises `ImportProblem`, `OSError`."""
    found = importing.read(parsed.kind, parsed.path)
    with opened(settings.database) as db:
        with db.read() as session:
            plan = importing.planned(session, found)
        _print_plan(plan)
        if parsed.dry_run:
            return 0
        with db.write() as session:
            importing.look_again(session, plan)
            done = importing.carry_out(session, plan, who="terminal", now=utc_now())
    print(_said(done, len(plan)))
    return 0


def _said(done: importing.Done, count: int) -> str:
    made = done.made
    numbers = f": {made[0]}" if len(made) == 1 else f": {made[0]} to {made[-1]}" if made else ""
    updated = f"{len(done.updated)} brought up to date; " if done.updated else ""
    return f"{len(made)} imported{numbers}; {updated}{count - len(made) - len(done.updated)} were here already."


def _here(item: importing.Planned) -> str:
    return "has grown, brings up to date" if item.grown else "here already as"


def _print_plan(plan: Sequence[Planned]) -> None:
    for item in plan[:SHOWN]:
        best = "" if item.best is None else f", best validation accuracy {100 * item.best:.2f} %"
        here = "" if item.here_as is None else f"  ({_here(item)} run {item.here_as})"
        kept = len(item.mapped.kept)
        more = f", {kept} more measure{'s' if kept > 1 else ''}" if kept else ""
        epochs = "1 epoch" if item.epochs == 1 else f"{item.epochs} epochs"
        print(f"{item.name}: {epochs}{best}{more}{here}")
    if len(plan) > SHOWN:
        print(f"... and {len(plan) - SHOWN} more")
