"""The `fitroom` command. Each subcommand imports what it needs when it runs, so that none waits for torch in vain."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from sqlalchemy.exc import DatabaseError

from app.clock import utc_now
from app.config import Settings, SettingsError, load_settings
from app.keeping.locks import lock_file
from app.models import Role
from app.refusal import Refusal
from app.schema import migrate, opened
from app.watching import logs
from trainer.errors import DataError

logger = logging.getLogger("fitroom.cli")


def main(argv: Sequence[str] | None = None) -> int:
    """0 when all went well, 1 when it did not, 2 for a wrong command line or setting."""
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()  # here, where it is no traceback that nobody reads on
        return code
    except BrokenPipeError:
        # The reader, `head` say, has had enough; Python must not try to flush the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SettingsError as error:
        return _refused(str(error), 2)
    except (Refusal, DataError) as error:
        return _refused(str(error))
    except DatabaseError as error:
        logger.debug("the database", exc_info=True)
        return _refused(f"the database cannot be used now: {error.orig}.")
    except OSError as error:
        logger.debug("the system", exc_info=True)
        return _refused(f"{error.filename}: {error.strerror}." if error.filename else str(error))


def _run(arguments: Sequence[str]) -> int:
    settings = load_settings()
    if arguments[:1] == ["train"]:  # its options are the trainer's own
        return _train(settings, arguments[1:])
    parsed = _parser().parse_args(arguments)
    logs.configure(settings.log_level, settings.log_format)
    run: Callable[[Settings, argparse.Namespace], int] = parsed.run
    return run(settings, parsed)


def _refused(why: str, code: int = 1) -> int:
    print(f"fitroom: {why}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fitroom", description="A training dashboard for image classifiers.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("serve", help="the web server and its workers").set_defaults(run=_serve)
    worker = commands.add_parser("worker", help="one more worker, here or on another terminal")
    worker.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    worker.set_defaults(run=_worker)
    commands.add_parser("train", help="train in this terminal, without server or database", add_help=False)
    data = commands.add_parser("data", help="fetch Fashion-MNIST, or another small set by its name")
    named = "fashion-mnist, mnist, kmnist, emnist, cifar10, cifar100 or svhn"
    data.add_argument("name", metavar="NAME", nargs="?", default="fashion-mnist", help=named)
    data.set_defaults(run=_data)
    commands.add_parser("doctor", help="check versions, devices, data, database, disk").set_defaults(run=_doctor)
    _add_user_commands(commands)
    audit = commands.add_parser("audit", help="who did what, newest first")
    audit.add_argument("--count", type=int, default=50, help="how many lines; 50 unless told")
    audit.set_defaults(run=_audit)
    _add_exchange_commands(commands)
    _add_upkeep_commands(commands)
    return parser


def _add_user_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    user = commands.add_parser("user", help="who may sign in: add, list, role, password, token, sign-out, remove")
    actions = user.add_subparsers(required=True, metavar="ACTION", dest="action")
    add = actions.add_parser("add", help="a new user; the password is asked for, or read from standard input")
    add.add_argument("--role", choices=[str(role) for role in Role], default="trainer")
    described = {
        "password": "set a new password, and sign out everywhere",
        "token": "make a token for the API and print it once",
        "sign-out": "end all sign-ins and API tokens",
        "remove": "remove the user",
    }
    role = actions.add_parser("role", help="change what the user may do")
    role.add_argument("--role", choices=[str(role) for role in Role], required=True)
    for parser in (add, role, *(actions.add_parser(name, help=text) for name, text in described.items())):
        parser.add_argument("name", metavar="NAME")
    actions.add_parser("list", help="all users and their roles")
    user.set_defaults(run=_user)


def _add_exchange_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    export = commands.add_parser("export", help="the table of runs, a run's epochs or steps, or runs for TensorBoard")
    export.add_argument("run_ids", type=int, metavar="RUN", nargs="*", help="a run's number; none: the table of runs")
    export.add_argument("--filter", default="", metavar="TEXT", help="which runs, as the page has it: 'lr < 0.01'")
    export.add_argument("--steps", action="store_true", help="the training loss of every step instead of the epochs")
    export.add_argument("--format", choices=("csv", "json", "parquet"), default="csv", help="csv unless told")
    export.add_argument("--tensorboard", type=Path, metavar="DIR", help="event files for tensorboard --logdir DIR")
    export.set_defaults(run=_export)
    past = commands.add_parser("import", help="past runs of other tools: tensorboard DIR, mlflow STORE, csv FILE")
    past.add_argument(
        "kind", choices=("tensorboard", "mlflow", "csv"), metavar="KIND", help="tensorboard, mlflow or csv"
    )
    past.add_argument("path", type=Path, metavar="PATH", help="a log directory, mlruns or mlflow.db, a CSV file")
    past.add_argument("--dry-run", action="store_true", help="only say what would be imported")
    past.set_defaults(run=_import)


def _add_upkeep_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    backup = commands.add_parser("backup", help="database and checkpoints into one file, while runs train too")
    backup.add_argument("file", type=Path, metavar="FILE", help="a tar file that is not there yet")
    backup.add_argument("--no-checkpoints", action="store_true", help="the database alone: curves, but no weights")
    backup.add_argument("--data", action="store_true", help="the data sets too")
    backup.set_defaults(run=_backup)
    restore = commands.add_parser("restore", help="a backup into a FITROOM_HOME that holds no database")
    restore.add_argument("file", type=Path, metavar="FILE", help="what `fitroom backup` has written")
    restore.set_defaults(run=_restore)
    prune = commands.add_parser("prune", help="remove what old runs no longer need, or say what that would be")
    prune.add_argument(
        "--days", type=_number_of_days, default=30, metavar="N", help="of runs that ended so long ago; 30 unless told"
    )
    prune.add_argument("--failed", action="store_true", help="such runs too that failed or were archived")
    prune.add_argument("--dry-run", action="store_true", help="remove nothing")
    prune.set_defaults(run=_prune)


def _number_of_days(given: str) -> float:
    days = float(given)
    if not 0 <= days <= 36_500:
        raise ValueError
    return days


def _serve(settings: Settings, _: argparse.Namespace) -> int:
    from app.serve import serve

    return serve(settings)


def _worker(settings: Settings, parsed: argparse.Namespace) -> int:
    # Until it has claimed a run it holds nothing to give back, and loading torch takes seconds: end at once.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    # What is wrong with the home or its database is said before that, too.
    with lock_file(settings.workers_lock):
        migrate(settings.database)
    from app.worker_main import main as work

    return work(settings, parent=parsed.parent)


def _backup(settings: Settings, parsed: argparse.Namespace) -> int:
    from app.keeping.backup import backup

    size = backup(settings, parsed.file, checkpoints=not parsed.no_checkpoints, data=parsed.data)
    print(f"{parsed.file}, {size / 1e6:,.1f} MB.")
    return 0


def _restore(settings: Settings, parsed: argparse.Namespace) -> int:
    from app.keeping.backup import restore

    number = restore(settings, parsed.file)
    print(f"{number:,} runs are in {settings.home} now.")
    return 0


def _prune(settings: Settings, parsed: argparse.Namespace) -> int:
    from app.keeping import retention

    older_than = timedelta(days=parsed.days)
    with opened(settings.database, existing=True) as db:
        freed = retention.prune(
            settings, db, now=utc_now(), older_than=older_than, failed=parsed.failed, dry_run=parsed.dry_run
        )
    for line in retention.lines(freed, dry_run=parsed.dry_run):
        print(line)
    return 0


def _train(settings: Settings, arguments: Sequence[str]) -> int:
    from trainer.__main__ import main as train

    return train(arguments, data_dir=settings.data_dir)


def _data(settings: Settings, parsed: argparse.Namespace) -> int:
    from trainer.fetch import fetch_fashion_mnist
    from trainer.small_sets import SMALL, fetch

    if parsed.name not in ("fashion-mnist", *SMALL):
        return _refused(f"There is no {parsed.name} to fetch; there are fashion-mnist, {', '.join(SMALL)}.", 2)
    if parsed.name == "fashion-mnist":
        fetch_fashion_mnist(settings.data_dir, print)
    else:
        print(f"{SMALL[parsed.name].label} is ready as {fetch(parsed.name, settings.data_dir).id}.")
    return 0


def _doctor(settings: Settings, _: argparse.Namespace) -> int:
    from app.watching.doctor import main as doctor

    return doctor(settings)


def _user(settings: Settings, parsed: argparse.Namespace) -> int:
    from app.guarding.command import main as user

    return user(settings, parsed)


def _audit(settings: Settings, parsed: argparse.Namespace) -> int:
    from app.guarding import audit

    with opened(settings.database, existing=True) as db, db.read() as session:
        for line in audit.lines(audit.newest(session, max(0, parsed.count))):
            print(line)
    return 0


def _export(settings: Settings, parsed: argparse.Namespace) -> int:
    from app.exchange.command import export

    return export(settings, parsed)


def _import(settings: Settings, parsed: argparse.Namespace) -> int:
    from app.exchange.command import import_

    return import_(settings, parsed)
