"""The status page, and its parts again for a page that is looked at."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.pages import templates
from app.state import Shared
from app.watching import overview

router = APIRouter(include_in_schema=False)


@router.get("/status")
def show_status(request: Request, shared: Shared) -> Response:
    return templates.TemplateResponse(request, "status.html", overview.of(shared) | {"nav": "status"})


@router.get("/status/parts")
def show_parts(request: Request, shared: Shared) -> Response:
    headers = {"Cache-Control": "no-store"}
    return templates.TemplateResponse(request, "partials/status.html", overview.of(shared), headers=headers)
