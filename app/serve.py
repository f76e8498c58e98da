"""`fitroom serve`: the web server in this process, its workers as children."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import signal
import socket
import sys
from collections.abc import Iterator
from types import FrameType

import uvicorn

from app.config import Settings, with_token
from app.db import Database
from app.guarding.access import is_loopback
from app.keeping.locks import lock_file
from app.main import create_app
from app.state import State
from app.supervisor import Supervisor

GRACE_S = 1
"""Seconds that open streams are given at the end; they reconnect by themselves when the server is back."""


class AlreadyServed(Exception):
    """Another `fitroom serve` owns this home."""


class OpenToAll(Exception):
    """The server would listen to others without knowing who they are."""


def serve(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM; everything has ended when this returns. 1 when it cannot start."""
    # uvicorn raises what ended it once more when it has shut down; SIGTERM too must then lead to the end of this.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with _owned(settings), _listening(settings) as listener:
            _run(settings, listener)
    except KeyboardInterrupt:
        return 0
    except (AlreadyServed, OpenToAll, OSError) as error:
        print(f"fitroom: {error}", file=sys.stderr)
        return 1
    return 0


def freeze() -> None:
    """Leave out of the search for garbage what is there at the start and stays: modules, models, routes.

    Going over it takes some 100 ms, in which now and then a page would have to wait.
    """
    gc.collect()
    gc.freeze()


def _run(settings: Settings, listener: socket.socket) -> None:
    made = settings.token == "auto"  # noqa: S105 - a word, no secret
    settings = with_token(settings)
    app = create_app(settings)
    freeze()
    state: State = app.state.fitroom
    if not state.gate.closed and not is_loopback(settings.host):
        raise OpenToAll(
            f"will not listen on {settings.host}, where other machines reach it, without a sign-in. Set "
            "FITROOM_TOKEN=auto (a link to sign in with is printed) or to a secret of your own, or add a user by "
            "`fitroom user add NAME`."
        )
    db = Database(settings.database)
    supervisor = Supervisor(db, settings, parent=os.getpid())
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
        log_config=None,
        server_header=False,
        http="h11",  # it bounds the head of a request; another parser that happens to be installed may not
        ws="none",
    )
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"Fitroom is ready at http://{shown}:{port}", flush=True)
    if made:
        # Of all that is told, this line alone holds the token; a wildcard is no address to go to.
        here = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(shown, shown)  # noqa: S104 - compared, not bound
        print(f"Sign in with http://{here}:{port}/login?token={settings.secret}", flush=True)
    supervisor.start()
    try:
        _Server(config, supervisor).run(sockets=[listener])
    except KeyboardInterrupt:
        pass  # uvicorn raises the signal again once it has shut down; this is the way it was asked to end
    finally:
        # The end takes some seconds at most; a second Ctrl-C must not leave workers behind.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        supervisor.stop()
        db.close()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


class _Server(uvicorn.Server):
    """Tells the workers that the end has come while open pages are still given their time."""

    def __init__(self, config: uvicorn.Config, supervisor: Supervisor) -> None:
        super().__init__(config)
        self._supervisor = supervisor

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._supervisor.tell_to_stop()
        super().handle_exit(sig, frame)


@contextlib.contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    """The bound socket: taken before anything else starts, so that a taken port is told at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio sends at once (TCP_NODELAY) only on sockets that say they are TCP. Otherwise the body of each answer on a
    # kept connection waits until the head is acknowledged, 40 ms.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as error:
            raise OSError(
                f"cannot listen on {settings.host} port {settings.port}: {error.strerror}. "
                "Set FITROOM_PORT to a free port."
            ) from error
        yield listener


@contextlib.contextmanager
def _owned(settings: Settings) -> Iterator[None]:
    """Hold the home for this server; the lock goes with the process, however it ends. Raises `AlreadyServed`."""
    with lock_file(settings.serve_lock) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise AlreadyServed(f"{settings.home} is already served by process {file.read().strip()}.") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
