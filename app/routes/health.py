"""For whoever watches over the server: is it up, can it work, and its numbers."""

from __future__ import annotations

from fastapi import APIRouter, Request
from prometheus_client.exposition import choose_encoder
from starlette.responses import JSONResponse, Response

from app.state import Shared

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers. Never touches the database."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(shared: Shared) -> Response:
    """Each check with what it found; 503 where one does not hold."""
    checks = shared.readiness.checks()
    ready = all(check.ok for check in checks)
    told = {check.name: {"ok": check.ok, "detail": check.detail} for check in checks}
    return JSONResponse({"status": "ready" if ready else "not ready", "checks": told}, 200 if ready else 503)


@router.get("/metrics")
def metrics(request: Request, shared: Shared) -> Response:
    """In Prometheus' text format."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(shared.telemetry.registry), headers={"Content-Type": content_type})
