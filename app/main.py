"""`create_app`: routers, middleware, error pages. Importing this must not import torch."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from app import errors
from app.access import Gate, KnownHostsOnly, SignedInOnly
from app.clock import Clock, utc_now
from app.config import Settings
from app.db import Database
from app.live import Live
from app.middleware import BodyLimit, SameSiteOnly, SecurityHeaders
from app.routes import account, api, assets, datasets, health, images, pages, streams
from app.schema import migrate
from app.sidecar import Sidecar
from app.state import State

MOST_BYTES = 256 * 1024
"""Of a request's body: a submission is some kilobytes."""
LARGER = {"/predict": 8 * 1024 * 1024}
"""A photograph to be classified is some megabytes."""


def create_app(settings: Settings, *, clock: Clock = utc_now) -> FastAPI:
    """The web application on the database of `settings`, which is brought to the newest migration first.

    Raises ValueError where the token is still to be made (`app.config.with_token`).
    """
    migrate(settings.database)
    db = Database(settings.database)
    state = State(
        settings=settings,
        db=db,
        live=Live(settings.database),
        gate=Gate(db, clock, token=settings.secret),
        clock=clock,
        torch=Sidecar("trainer.helper"),
        exporter=Sidecar("trainer.helper", timeout_s=180.0),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        watcher = asyncio.create_task(state.live.watch())
        try:
            yield
        finally:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
            state.live.close()
            state.torch.close()
            state.exporter.close()
            state.db.close()

    app = FastAPI(
        title="Fitroom",
        summary="Train image classifiers: start runs, watch them live, compare them.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    app.state.fitroom = state
    for module in (account, pages, api, streams, images, datasets, assets, health):
        app.include_router(module.router)
    errors.install(app)
    app.add_middleware(BodyLimit, most=MOST_BYTES, larger=LARGER)
    app.add_middleware(SignedInOnly, gate=state.gate)
    app.add_middleware(SameSiteOnly)
    app.add_middleware(KnownHostsOnly, settings=settings)
    app.add_middleware(SecurityHeaders)
    return app
