"""`fitroom export`."""

from __future__ import annotations

import argparse
import os
import sys

from app import runs
from app.config import Settings
from app.db import Database
from app.exchange import tables, tensorboard
from app.exchange.sheets import WRITERS
from app.runs import RunNotFound
from app.schema import opened


def export(settings: Settings, parsed: argparse.Namespace) -> int:
    """0 when all was written, 1 when a run is not there or cannot be written, 2 for what does not go together."""
    if parsed.tensorboard is None and len(parsed.run_ids) > 1:
        print("fitroom: A table holds one run; several go into one folder with --tensorboard DIR.", file=sys.stderr)
        return 2
    try:
        with opened(settings.database) as db:
            if parsed.tensorboard is not None:
                tensorboard.write_folder(db, parsed.run_ids, parsed.tensorboard)
                print(f"{len(parsed.run_ids)} written: tensorboard --logdir {parsed.tensorboard}")
            else:
                _write_table(db, parsed)
    except BrokenPipeError:
        # The reader, `head` say, has had enough; Python must not try to flush the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (RunNotFound, OSError) as error:
        print(f"fitroom: {error}", file=sys.stderr)
        return 1
    return 0


def _write_table(db: Database, parsed: argparse.Namespace) -> None:
    writer, _ = WRITERS[parsed.format]
    with db.read() as session:
        runs.get(session, parsed.run_ids[0])
        found = (tables.steps if parsed.steps else tables.epochs)(session, parsed.run_ids[0])
        writer(sys.stdout.buffer, found.fields, found.rows)
    sys.stdout.flush()
