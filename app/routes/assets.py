"""Stylesheets, modules and plotly.js: under versioned addresses, cached for ever."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import plotly
from fastapi import APIRouter, HTTPException, Request
from starlette.responses import FileResponse, RedirectResponse, Response

from app.pages import PLOTLY_JS, STATIC, static
from app.state import Shared, State

router = APIRouter(include_in_schema=False)

FOR_EVER = "public, max-age=31536000, immutable"


@router.get("/static/{version}/{path:path}")
def static_file(version: str, path: str) -> FileResponse:
    """Any version's address serves today's file: relative imports between modules stay within one version."""
    file = _inside(path)
    if file is None:
        raise HTTPException(404)
    return FileResponse(file, headers={"Cache-Control": FOR_EVER})


@router.get("/assets/plotly-{version}.min.js")
def plotly_js(version: str, request: Request, shared: Shared) -> Response:
    if version != plotly.__version__:
        raise HTTPException(404)
    headers = {"Cache-Control": FOR_EVER, "Vary": "Accept-Encoding"}
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return FileResponse(PLOTLY_JS, media_type="text/javascript", headers=headers)
    return FileResponse(
        compressed_plotly(shared), media_type="text/javascript", headers=headers | {"Content-Encoding": "gzip"}
    )


@router.get("/favicon.ico")
def favicon() -> RedirectResponse:
    return RedirectResponse(static("favicon.svg"))


def _inside(path: str) -> Path | None:
    """The file below static/ that this names; None where there is none, or where it leads out."""
    try:
        file = (STATIC / path).resolve()
        return file if file.is_relative_to(STATIC) and file.is_file() else None
    except (OSError, ValueError, RuntimeError):  # too long a name, a NUL, a link that leads to itself
        return None


def compressed_plotly(shared: State) -> Path:
    """plotly.js compressed once for all times: 4.8 MB become 1.4 MB."""
    file = shared.settings.cache_dir / f"plotly-{plotly.__version__}.min.js.gz"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(gzip.compress(PLOTLY_JS.read_bytes(), compresslevel=6, mtime=0))
        part.replace(file)
    return file
