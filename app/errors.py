"""Errors as the asker can read them: a page for a browser, problem+json (RFC 9457) under /api."""

from __future__ import annotations

import json
import logging
import sqlite3
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.exc import TimeoutError as NoFreeConnection
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from app.data_sets.pieces import UploadError, WrongOffset
from app.exchange.past import ImportProblem
from app.forms import FormError
from app.looking.images import NoSuchImage
from app.pages import templates
from app.runs import QueueFull, RunNotFound, RunStateError
from app.runs_table.listing import QueryError
from app.runs_table.views import ViewNotFound
from app.schemas import Problem
from app.sidecar import SidecarError
from trainer.errors import DataError, DataMissing

logger = logging.getLogger("fitroom.web")

QUEUE_RETRY_S = 60
"""When to try again where the queue is full."""
DATABASE_BUSY = (OperationalError, NoFreeConnection)
"""It is locked or its disk is full, or so many ask it at once that no connection is free."""


def install(app: FastAPI) -> None:
    """Register the handlers."""
    plain: list[tuple[type[Exception], int]] = [
        (RunNotFound, 404),
        (NoSuchImage, 404),
        (ViewNotFound, 404),
        (DataMissing, 404),
        (DataError, 503),
        (SidecarError, 503),
        (RunStateError, 409),
        (ImportProblem, 422),
    ]
    for kind, status in plain:
        app.add_exception_handler(kind, _answer_with(status))
    app.add_exception_handler(FormError, _bad_form)
    app.add_exception_handler(QueueFull, _queue_full)
    app.add_exception_handler(UploadError, _upload)
    app.add_exception_handler(QueryError, _bad_query)
    app.add_exception_handler(RequestValidationError, _bad_request)
    app.add_exception_handler(HTTPException, _http)
    for busy in DATABASE_BUSY:
        app.add_exception_handler(busy, database_busy)
    app.add_exception_handler(DatabaseError, _database_damaged)


class _ProblemJson(JSONResponse):
    media_type = "application/problem+json"

    def render(self, content: Any) -> bytes:
        """A field's name that came as half of a surrogate pair goes out as the escape that it was: that is JSON too."""
        return json.dumps(content, ensure_ascii=False).encode("utf-8", "backslashreplace")


def answer(
    request: Request,
    status: int,
    detail: str,
    *,
    errors: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    title = HTTPStatus(status).phrase
    if request.url.path.startswith("/api/"):
        problem = Problem(title=title, status=status, detail=detail, errors=errors)
        return _ProblemJson(problem.model_dump(exclude_none=True), status, headers)
    context = {"status": status, "title": title, "detail": detail, "errors": errors or {}}
    return templates.TemplateResponse(request, "error.html", context, status_code=status, headers=headers)


def _answer_with(status: int):  # type: ignore[no-untyped-def]  # noqa: ANN202 - Starlette's handler type
    def handler(request: Request, error: Exception) -> Response:
        return answer(request, status, str(error))

    return handler


def _bad_form(request: Request, error: Exception) -> Response:
    assert isinstance(error, FormError)  # noqa: S101
    return answer(request, 422, "Some fields cannot be used as they are.", errors=error.errors)


def _upload(request: Request, error: Exception) -> Response:
    assert isinstance(error, UploadError)  # noqa: S101
    headers = {"Upload-Offset": str(error.offset)} if isinstance(error, WrongOffset) else None
    return answer(request, error.status, str(error), headers=headers)


def _bad_query(request: Request, error: Exception) -> Response:
    assert isinstance(error, QueryError)  # noqa: S101
    return answer(request, 422, str(error), errors=error.errors)


def _queue_full(request: Request, error: Exception) -> Response:
    return answer(request, 429, str(error), headers={"Retry-After": str(QUEUE_RETRY_S)})


def _bad_request(request: Request, error: Exception) -> Response:
    """A path or query that does not parse: an address that leads nowhere, or a parameter that is not a number."""
    assert isinstance(error, RequestValidationError)  # noqa: S101
    wrong = {str(item["loc"][-1]): str(item["msg"]) for item in error.errors()}
    if any(item["loc"][0] == "path" for item in error.errors()):
        return answer(request, 404, "There is nothing at this address.")
    sentence = "; ".join(f"{name}: {text}" for name, text in wrong.items())
    return answer(request, 422, f"{sentence}.", errors=wrong)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    headers = dict(error.headers or {})
    if error.status_code in (204, 304):
        return Response(status_code=error.status_code, headers=headers)
    default = HTTPStatus(error.status_code).phrase
    detail = {
        "Not Found": "There is nothing at this address.",
        "Method Not Allowed": f"This address does not take {request.method}.",
    }.get(str(error.detail), error.detail or f"{default}.")
    return answer(request, error.status_code, str(detail), headers=headers)


def database_busy(request: Request, error: Exception) -> Response:
    logger.error("database: %s", error)
    detail = "The database did not answer in time. Please try again in a moment."
    return answer(request, 503, detail, headers={"Retry-After": "5"})


def _database_damaged(request: Request, error: Exception) -> Response:
    """Unlike a busy one it will not mend by waiting. What else a database raises is an error that nobody foresaw."""
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", 0) & 0xFF
    if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        raise error
    logger.error("database: %s", error)
    detail = (
        "The database is damaged, and this part of it cannot be read. Whoever keeps this server should stop it, move "
        "the database away and put a backup in its place: fitroom restore FILE."
    )
    return answer(request, 500, detail)
