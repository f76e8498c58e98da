"""`fitroom export`."""

from __future__ import annotations

import argparse
import os
import sys

from app import listing, runs
from app.clock import utc_now
from app.config import Settings
from app.db import Database
from app.exchange import tables, tensorboard
from app.exchange.sheets import WRITERS
from app.runs import RunNotFound
from app.schema import opened


def export(settings: Settings, parsed: argparse.Namespace) -> int:
    """0 when all was written, 1 when a run is not there or cannot be written, 2 for what does not go together."""
    try:
        query = listing.Query.of(filter=parsed.filter)
    except listing.QueryError as error:
        print(f"fitroom: {error}", file=sys.stderr)
        return 2
    if parsed.tensorboard is None and len(parsed.run_ids) > 1:
        print("fitroom: A table holds one run; several go into one folder with --tensorboard DIR.", file=sys.stderr)
        return 2
    try:
        with opened(settings.database) as db:
            if parsed.tensorboard is not None:
                _write_event_files(db, parsed, query)
            else:
                _write_table(db, parsed, query)
    except BrokenPipeError:
        # The reader, `head` say, has had enough; Python must not try to flush the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (RunNotFound, OSError) as error:
        print(f"fitroom: {error}", file=sys.stderr)
        return 1
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
