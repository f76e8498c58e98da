"""`fitroom doctor`: is everything in order on this machine, and if not, how is it mended?"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from app.config import Settings
from app.guarding.access import is_loopback
from app.keeping import retention
from app.schema import SchemaError, schema_state
from trainer import sources
from trainer.errors import DataError

SAFE_SQLITE = (3, 51, 3)
LEAST_FREE = 1 << 30
WORTH_PRUNING = 100_000_000
PACKAGES = ("fastapi", "uvicorn", "sqlalchemy", "plotly", "pandas", "numpy")


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    status: Literal["ok", "warn", "fail"]
    found: str
    mend: str = ""


def main(settings: Settings) -> int:
    """Print every check; 1 when one of them fails."""
    results = checks(settings)
    width = max(len(result.name) for result in results)
    for result in results:
        print(f"{result.status:<5} {result.name:<{width}}  {result.found}")
        if result.mend:
            print(f"{'':<{width + 8}}-> {result.mend}")
    return int(any(result.status == "fail" for result in results))


def checks(settings: Settings) -> list[Check]:
    steps: tuple[Callable[[Settings], list[Check]], ...] = (
        _versions, _sqlite, _torch, _home, _disk, _data, _database, _leftovers, _port, _sign_in,
    )  # fmt: skip
    return [check for step in steps for check in step(settings)]


def _versions(_: Settings) -> list[Check]:
    found = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return [Check("Python", "ok", sys.version.split()[0]), Check("packages", "ok", found)]


def _sqlite(_: Settings) -> list[Check]:
    found = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info >= SAFE_SQLITE:
        return [Check("SQLite", "ok", found)]
    mend = "older than 3.51.3, which mends a rare corruption of WAL databases; a newer Python or system brings it"
    return [Check("SQLite", "warn", found, mend)]


def _torch(_: Settings) -> list[Check]:
    """In a process of its own: a torch that cannot be loaded, or crashes, is a finding and not the doctor's end."""
    code = "import json; from trainer.devices import describe; print(json.dumps(describe()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip() or f"ended with {done.returncode}").splitlines()[-1]
        return [Check("torch", "fail", last, "Install it again: delete .venv and run `make run`.")]
    told = json.loads(done.stdout.splitlines()[-1])
    versions = ", ".join(f"{name} {number}" for name, number in told["versions"].items())
    devices = ", ".join(f"{device['id']} ({device['name']})" for device in told["devices"])
    return [Check("torch", "ok", versions), Check("devices", "ok", devices)]


def _home(settings: Settings) -> list[Check]:
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.home) as file:
            file.write(b"Fitroom")
    except OSError as error:
        return [Check("home", "fail", f"{settings.home}: {error.strerror}", "Name a folder of yours in FITROOM_HOME.")]
    return [Check("home", "ok", f"{settings.home} can be written")]


def _disk(settings: Settings) -> list[Check]:
    place = next(folder for folder in (settings.home, *settings.home.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    found = f"{free / 1e9:.1f} GB free"
    if free >= LEAST_FREE:
        return [Check("disk", "ok", found)]
    return [Check("disk", "fail", found, f"Free at least 1 GB on the disk of {place}.")]


def _data(settings: Settings) -> list[Check]:
    try:
        train = sources.load("fashion-mnist", "train", settings.data_dir)
        val = sources.load("fashion-mnist", "val", settings.data_dir)
    except DataError as error:
        return [Check("data set", "fail", str(error), "Run `fitroom data`.")]
    return [Check("data set", "ok", f"Fashion-MNIST, {len(train):,} + {len(val):,} images")]


def _database(settings: Settings) -> list[Check]:
    path = settings.database
    if not path.exists():
        return [Check("database", "ok", f"{path} is made by the first `fitroom serve`")]
    try:
        state = schema_state(path)
        damage = _damage(path)
    except (SchemaError, sqlite3.Error) as error:
        return [
            Check(
                "database",
                "fail",
                str(error),
                "Put a backup in its place (move it away, then `fitroom restore FILE`), or begin anew.",
            )
        ]
    if damage:
        return [Check("database", "fail", f"{path}: {damage}", "Put a backup in its place.")]
    if not state.up_to_date:
        found = f"{path} is at migration {state.current or 'none'}, the newest is {state.head}"
        return [Check("database", "warn", found, "`fitroom serve` brings it up to date.")]
    return [Check("database", "ok", f"{path}, migration {state.current}, whole")]


def _damage(path: Path) -> str | None:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    finally:
        connection.close()
    return None if answer == "ok" else str(answer)


def _leftovers(settings: Settings) -> list[Check]:
    """Nobody minds them but the disk."""
    try:
        number, size = retention.of_no_run(settings)
    except sqlite3.DatabaseError:  # the check above has said what is wrong with it
        return []
    found = f"folders without a run: {number}, {size / 1e6:,.1f} MB"
    if size < WORTH_PRUNING:
        return [Check("leftovers", "ok", found)]
    return [Check("leftovers", "warn", found, "`fitroom prune --dry-run` says what can go.")]


def _port(settings: Settings) -> list[Check]:
    address = f"{settings.host} port {settings.port}"
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE and _is_fitroom(settings):
                return [Check("port", "ok", f"Fitroom is serving on {address}")]
            return [Check("port", "fail", f"{address}: {error.strerror}", "Set FITROOM_PORT to a free port.")]
    return [Check("port", "ok", f"{address} is free")]


def _is_fitroom(settings: Settings) -> bool:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104 - compared, not bound
    try:
        with urllib.request.urlopen(f"http://{host}:{settings.port}/healthz", timeout=2) as answer:
            return bool(json.load(answer) == {"status": "ok"})
    except (OSError, ValueError):
        return False


def _sign_in(settings: Settings) -> list[Check]:
    if settings.token != "none":  # noqa: S105 - a word, no secret
        return [Check("sign-in", "ok", "by the token")]
    names = _user_names(settings.database)
    if names:
        return [Check("sign-in", "ok", f"by password: {', '.join(names)}")]
    if is_loopback(settings.host):
        return [Check("sign-in", "ok", f"none: {settings.host} is reached from this machine only")]
    mend = "Set FITROOM_TOKEN=auto, or add a user by `fitroom user add NAME`."
    return [Check("sign-in", "fail", f"{settings.host} is reached from other machines", mend)]


def _user_names(path: Path) -> list[str]:
    if not path.exists():
        return []
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        try:
            return [name for (name,) in connection.execute("SELECT name FROM users ORDER BY name")]
        except sqlite3.DatabaseError:  # of an older version, or damaged, which the check above has said
            return []
