"""What a request leaves behind: an id, a line in the log, a measured duration. Plain ASGI, so streams stay streams."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from prometheus_client import CollectorRegistry, Gauge, Histogram, PlatformCollector, ProcessCollector
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import DATABASE_BUSY, answer, database_busy
from app.middleware import SAFE_METHODS
from app.watching import logs

logger = logging.getLogger("fitroom.web")

REQUEST_ID = "X-Request-ID"
_GIVEN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What is taken from a proxy or a client; anything else could be mistaken for more of the log's line."""
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Telemetry:
    """The numbers that this process counts itself, and what else is in `registry` for Prometheus."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.durations = Histogram(
            "fitroom_http_request_duration_seconds",
            "From a request to the end of its answer, streams excluded.",
            ("method", "route", "status"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.open_streams = 0
        streams = Gauge("fitroom_streams", "Event streams that are open.", registry=self.registry)
        streams.set_function(lambda: self.open_streams)

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Count an event stream as long as it is open. All of them live in the event loop's thread."""
        self.open_streams += 1
        try:
            yield
        finally:
            self.open_streams -= 1


class Observed:
    """Gives each request an id, logs how it went and measures it. Outermost, so that nothing goes by unseen.

    Safe requests that went well are told at level debug: pages ask many times a minute.
    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self.app, self.telemetry = app, telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _id_of(Headers(scope=scope))
        begun, status, streams = time.perf_counter(), 0, False

        async def seen(message: Message) -> None:
            nonlocal status, streams
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = request_id
                status = message["status"]
                streams = headers.get("content-type", "").startswith("text/event-stream")
            await send(message)

        with logs.bound(request=request_id):
            try:
                await self.app(scope, receive, seen)
            finally:
                self._tell(scope, status, time.perf_counter() - begun, streams=streams)

    def _tell(self, scope: Scope, status: int, seconds: float, *, streams: bool) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        if not streams:
            self.telemetry.durations.labels(method, route_of(scope), str(status or "gone")).observe(seconds)
        level = logging.DEBUG if method in SAFE_METHODS and status < 500 else logging.INFO
        # The path without its query, which may hold the token that one signs in with.
        logger.log(level, "%s %s: %s in %.1f ms", scope["method"], scope["path"], status or "gone", seconds * 1000)


class Unexpected:
    """Answers an error that nobody foresaw with a page that says so, inside of what puts headers on all answers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except Exception as error:
            if _client_left(error):
                logger.debug("the client went away")
                return
            if scope["type"] != "http" or started:
                raise
            await self._told(Request(scope, receive), error)(scope, receive, send)

    def _told(self, request: Request, error: Exception) -> Response:
        if isinstance(error, DATABASE_BUSY):
            return database_busy(request, error)
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return answer(request, 500, "Something went wrong here. The server's log says what.")


def _client_left(error: Exception) -> bool:
    """Before its request was whole, or, as FastAPI tells it, while a stream had something for it."""
    if isinstance(error, ExceptionGroup):
        return all(_client_left(one) for one in error.exceptions)
    return isinstance(error, ClientDisconnect | anyio.BrokenResourceError)


def route_of(scope: Scope) -> str:
    """The route's template, so that there are as many of them as routes and not as addresses."""
    return str(getattr(scope.get("route"), "path", "none"))


def _id_of(headers: Headers) -> str:
    given = headers.get(REQUEST_ID, "")
    return given if _GIVEN_ID.fullmatch(given) else secrets.token_hex(8)
