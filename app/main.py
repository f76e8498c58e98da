"""`create_app`: routers, middleware, error pages. Importing this must not import torch."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from app import errors
from app.clock import Clock, utc_now
from app.config import Settings
from app.data_sets.fetching import Fetching
from app.data_sets.intake import Intake
from app.data_sets.uploads import Uploads
from app.db import Database
from app.guarding.access import Gate, KnownHostsOnly, SignedInOnly
from app.live import Live
from app.middleware import BodyLimit, Compressed, SameSiteOnly, SecurityHeaders
from app.routes import (
    account,
    admin,
    api,
    assets,
    bring,
    compare,
    compare_api,
    datasets,
    datasets_api,
    exchange,
    health,
    images,
    imports,
    pages,
    reference,
    runs,
    status,
    streams,
    uploads,
)
from app.schema import migrate
from app.sidecar import Sidecar
from app.state import State
from app.watching.machine import Machine
from app.watching.readiness import Readiness
from app.watching.telemetry import Observed, Telemetry, Unexpected
from app.watching.vitals import ForPrometheus
from trainer.store import Store

MOST_BYTES = 256 * 1024
"""Of a request's body: a submission is some kilobytes."""
MOST_IMPORTED = 250_000_000
"""Of a file with past runs: event files of some hundred runs."""
LARGER = {"/predict": 8 * 1024 * 1024}
"""A photograph to be classified is some megabytes."""
SWEEP_S = 3600.0


def create_app(settings: Settings, *, clock: Clock = utc_now) -> FastAPI:
    """The web application on the database of `settings`, which is brought to the newest migration first.

    Raises ValueError where the token is still to be made (`app.config.with_token`).
    """
    migrate(settings.database)
    db = Database(settings.database)
    telemetry, machine = Telemetry(), Machine(settings.home)
    telemetry.registry.register(ForPrometheus(db, clock, machine))
    uploaded = Uploads(settings.uploads_dir, settings.upload_limit, clock)
    state = State(
        settings=settings,
        db=db,
        live=Live(settings.database),
        gate=Gate(db, clock, token=settings.secret),
        clock=clock,
        telemetry=telemetry,
        machine=machine,
        readiness=Readiness(settings, db, clock),
        torch=Sidecar("trainer.helper"),
        exporter=Sidecar("trainer.helper", timeout_s=180.0),
        uploads=uploaded,
        imports=Uploads(settings.imports_dir, MOST_IMPORTED, clock),
        intake=Intake(uploaded),
        fetching=Fetching(settings.data_dir),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(state.live.watch()), asyncio.create_task(_sweeping(state))]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            state.live.close()
            state.torch.close()
            state.exporter.close()
            state.intake.close()
            state.fetching.close()
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
    for module in (
        account,
        compare,
        runs,
        pages,
        reference,
        imports,
        exchange,
        api,
        compare_api,
        admin,
        status,
        uploads,
        streams,
        images,
        bring,
        datasets_api,
        datasets,
        assets,
        health,
    ):
        app.include_router(module.router)
    errors.install(app)
    # What is uploaded goes to the disk as it comes, and `Uploads` sees to the limit of what all files have together.
    files = dict.fromkeys(("/content", "/datasets/upload"), 2 * settings.upload_limit + MOST_BYTES)
    app.add_middleware(BodyLimit, most=MOST_BYTES, larger=LARGER | files | {"/import": MOST_IMPORTED + MOST_BYTES})
    app.add_middleware(SignedInOnly, gate=state.gate)
    app.add_middleware(Unexpected)
    app.add_middleware(SameSiteOnly)
    app.add_middleware(KnownHostsOnly, settings=settings)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Compressed)
    app.add_middleware(Observed, telemetry=telemetry)
    return app


async def _sweeping(state: State) -> None:
    """Remove abandoned uploads: at the start, and every hour."""
    while True:
        await run_in_threadpool(_sweep, state)
        await asyncio.sleep(SWEEP_S)


def _sweep(state: State) -> None:
    state.uploads.sweep(busy=state.intake.busy())
    state.imports.sweep()
    Store(state.settings.data_dir).sweep()
