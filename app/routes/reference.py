"""The page about the API, made from its own description."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from app import api_reference
from app.pages import templates
from app.state import Shared

router = APIRouter(include_in_schema=False)


@router.get("/api")
def show_api(request: Request, shared: Shared) -> Response:
    """Every operation with an example; what is shown is what `openapi.json` says."""
    document = request.app.openapi()
    base = str(request.base_url).rstrip("/")
    context = {
        "groups": api_reference.groups(document, base),
        "base": base,
        "needs_token": shared.gate.closed,
        "document_url": request.app.openapi_url,
        "nav": "api",
    }
    return templates.TemplateResponse(request, "api.html", context)
