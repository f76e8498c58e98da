"""What a comparison costs in a real Chromium; `rows` is called by `benchmarks.compare`, or alone:

    python -m benchmarks.compare_browser --home /tmp/curves

- first curves: a hundred runs of 2,000 epochs, from the navigation to the first chart with all of its curves
- the same hundred curves by Plotly in the same browser, as a ratio of drawing times
- 100,000 steps: a run's page, from the navigation to the curve; and that every column's extremes are drawn
- a live redraw: twenty runs train, one more epoch of each; the four charts' drawing, and all the main thread did
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import plotly
from playwright.sync_api import Browser, Page
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app import runs
from app.clock import utc_now
from app.config import Settings
from app.db import Database
from app.models import Epoch, Run, Status, StepBlock
from app.schema import opened
from tools.browser import chromium
from tools.server import Server, serving
from trainer.config import TrainConfig

COMPARED, EPOCHS = 100, 2_000
LIVE, LIVE_EPOCHS = 20, 100
STEPS = 100_000
ROUNDS, REDRAWS = 5, 20
Row = tuple[str, str, str]
"""What, how much, and what is aimed at."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="a new FITROOM_HOME, or one already filled")
    arguments = parser.parse_args()
    with serving(arguments.home, workers="0") as server, chromium() as browser:
        for row in rows(server, browser):
            print(" | ".join(row))


def rows(server: Server, browser: Browser) -> list[Row]:
    """Adds its runs to the server's store where they are not there yet, and measures."""
    compared, stepped, live = prepare(server.home)
    return [
        *first_curves(server, browser, compared),
        *long_curve(server, browser, stepped),
        *live_redraw(server, browser, live),
    ]


def prepare(home: Path) -> tuple[list[int], int, list[int]]:
    """The runs to compare, the one of many steps, and those that train."""
    with opened(Settings(home=home).database) as db:
        compared = _made(db, "long curve", COMPARED, EPOCHS, Status.FINISHED)
        (stepped,) = _made(db, "many steps", 1, 10, Status.FINISHED)
        with db.write() as session:
            if session.get(StepBlock, (stepped, 0)) is None:
                losses = np.exp(-np.arange(STEPS) / 2e4) + np.random.default_rng(0).normal(0, 0.1, STEPS)
                blob = losses.astype("<f4").tobytes()
                session.add(StepBlock(run_id=stepped, first_step=0, epoch=1, attempt=1, losses=blob))
        return compared, stepped, _made(db, "live curve", LIVE, LIVE_EPOCHS, Status.RUNNING)


def first_curves(server: Server, browser: Browser, ids: Sequence[int]) -> Iterator[Row]:
    address = f"{server.url}/compare?runs={ids[0]}-{ids[-1]}"
    times, drawing = [], []
    for _ in range(ROUNDS + 1):
        page = _page(browser)
        page.goto(address, wait_until="commit")
        times.append(_first_drawn(page, "chart-val_accuracy", COMPARED))
        page.wait_for_load_state("networkidle")
        drawing.append(float(page.evaluate("document.getElementById('chart-val_accuracy').dataset.drawMs")))
        page.close()
    yield (
        f"first curves of {COMPARED} compared runs of {EPOCHS:,} points, from the navigation",
        f"median {statistics.median(times[1:]):.0f} ms, most {max(times[1:]):.0f} ms",
        "< 1,000 ms",
    )
    ours, theirs = statistics.median(drawing), _plotly(server, browser, address)
    yield (
        f"drawing {COMPARED} curves of {EPOCHS:,} points: Fitroom and Plotly in the same browser",
        f"{ours:.0f} ms and {theirs:.0f} ms: {theirs / ours:.0f}x",
        "",
    )


def _plotly(server: Server, browser: Browser, address: str) -> float:
    """Milliseconds that Plotly takes for one chart of the same curves, library loaded before."""
    page = _page(browser, bypass_csp=True)
    page.goto(address)
    _first_drawn(page, "chart-val_accuracy", COMPARED)
    page.add_script_tag(url=f"{server.url}{_plotly_url()}")
    return float(page.evaluate(_BY_PLOTLY))


_BY_PLOTLY = """async () => {
    const from = document.getElementById("chart-val_accuracy");
    const place = from.parentElement.appendChild(document.createElement("div"));
    const data = from.curves.map(({ x, y, label }) => ({ x: [...x], y: [...y], name: label, mode: "lines" }));
    const layout = { width: from.clientWidth, height: from.clientHeight, showlegend: false };
    const begun = performance.now();
    await Plotly.newPlot(place, data, layout);
    return performance.now() - begun;
}"""


def long_curve(server: Server, browser: Browser, run_id: int) -> Iterator[Row]:
    times = []
    for _ in range(ROUNDS + 1):
        page = _page(browser)
        page.goto(f"{server.url}/runs/{run_id}", wait_until="commit")
        times.append(_first_drawn(page, "chart-steps", 1))
        exact = page.evaluate(_EXACT)
        page.close()
    yield (
        f"a curve of {STEPS:,} points opens on a run's page, from the navigation",
        f"median {statistics.median(times[1:]):.0f} ms, most {max(times[1:]):.0f} ms",
        "< 500 ms",
    )
    yield ("columns of pixels whose extremes are drawn exactly", f"{exact['right']} of {exact['all']}", "all")


_EXACT = """async () => {
    const { kept } = await import(new URL("plot/thin.js", document.querySelector("script[type=module]").src));
    const element = document.getElementById("chart-steps");
    const [{ x, y }] = element.curves, width = element.clientWidth - 68, from = x[0], to = x[x.length - 1];
    const extremes = (places) => {
        const found = new Map();
        for (const i of places) {
            const column = Math.floor(((x[i] - from) * width) / (to - from));
            const [low, high] = found.get(column) ?? [Infinity, -Infinity];
            found.set(column, [Math.min(low, y[i]), Math.max(high, y[i])]);
        }
        return found;
    };
    const all = extremes(x.keys()), drawn = extremes(kept(x, y, from, to, width));
    const right = [...all].filter(([column, ends]) => String(drawn.get(column)) === String(ends));
    return { all: all.size, right: right.length };
}"""


def live_redraw(server: Server, browser: Browser, ids: Sequence[int]) -> Iterator[Row]:
    page = _page(browser)
    page.goto(f"{server.url}/compare?runs={ids[0]}-{ids[-1]}")
    _first_drawn(page, "chart-val_accuracy", LIVE)
    page.wait_for_load_state("load")
    page.evaluate(_WATCH)
    protocol = page.context.new_cdp_session(page)
    protocol.send("Performance.enable", {"timeDomain": "threadTicks"})
    db = Database(Settings(home=server.home).database)
    drawing, tasks = [], []
    for _ in range(REDRAWS):
        before, idle_from = _busy(protocol), time.monotonic()
        page.wait_for_timeout(500)
        idle = (_busy(protocol) - before) / (time.monotonic() - idle_from)
        seen, busy, begun = page.evaluate("drawings.length"), _busy(protocol), time.monotonic()
        with db.write() as session:
            for run_id in ids:
                _one_more(session, run_id)
        page.evaluate(_DRAWN, seen + 4)
        page.wait_for_timeout(200)
        drawing.append(sum(page.evaluate(f"drawings.slice({seen})")))
        tasks.append((_busy(protocol) - busy - idle * (time.monotonic() - begun)) * 1000)
    db.close()
    alone = _redraws_alone(page, protocol)
    page.close()
    yield (
        f"redrawing {LIVE} running curves in four charts, all of the main thread, its painting included",
        f"mean {alone:.1f} ms",
        "< 16 ms",
    )
    yield (
        f"a live redraw of {LIVE} running curves in four charts, its script",
        f"median {statistics.median(drawing):.1f} ms, p95 {np.quantile(drawing, 0.95):.1f} ms",
        "< 16 ms",
    )
    yield (
        "the same, everything the main thread did for it: 20 events, table, fetch, drawing",
        f"median {statistics.median(tasks):.1f} ms",
        "",
    )


def _redraws_alone(page: Page, protocol: Any) -> float:
    """Milliseconds of the main thread's processor time for one redraw of all charts, and nothing else."""
    before, begun = _busy(protocol), time.monotonic()
    page.wait_for_timeout(1000)
    idle = (_busy(protocol) - before) / (time.monotonic() - begun)
    before, begun = _busy(protocol), time.monotonic()
    page.evaluate(_REDRAW, REDRAWS)
    return (_busy(protocol) - before - idle * (time.monotonic() - begun)) / REDRAWS * 1000


_REDRAW = """async (times) => {
    const button = document.querySelector("#legend button");
    for (let n = 0; n < times; n++) {
        button.dispatchEvent(new FocusEvent(n % 2 ? "focusout" : "focusin", { bubbles: true }));
        await new Promise((shown) => requestAnimationFrame(() => requestAnimationFrame(shown)));
    }
}"""
"""Brings one curve forward and back: all four charts draw all of their curves."""
_WATCH = """() => {
    window.drawings = [];
    for (const chart of document.querySelectorAll("figure:not([hidden]) .chart")) {
        const drawn = new MutationObserver(() => drawings.push(Number(chart.dataset.drawMs)));
        drawn.observe(chart, { attributeFilter: ["data-draw-ms"] });
    }
}"""


_DRAWN = """(number) => new Promise((done) => {
    const look = () => (drawings.length >= number ? done() : setTimeout(look, 100));
    look();
})"""
"""Asked for often from outside, the page would be busy answering."""


def _page(browser: Browser, *, bypass_csp: bool = False) -> Page:
    return browser.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=bypass_csp).new_page()


def _first_drawn(page: Page, chart: str, curves: int) -> float:
    """Milliseconds from the navigation's start to the curves on the canvas."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = page.evaluate(f"document.getElementById('{chart}')?.dataset.curves === '{curves}'")
        if found:
            return float(page.evaluate(f"document.getElementById('{chart}').dataset.firstDrawn"))
        page.wait_for_timeout(10)
    raise TimeoutError(f"{chart} was not drawn")


def _busy(protocol: Any) -> float:
    """Seconds that the page's main thread has worked."""
    metrics = protocol.send("Performance.getMetrics")["metrics"]
    return float(next(item["value"] for item in metrics if item["name"] == "TaskDuration"))


def _plotly_url() -> str:
    return f"/assets/plotly-{plotly.__version__}.min.js"


def _made(db: Database, name: str, number: int, epochs: int, status: Status) -> list[int]:
    """So many runs of this name with so many epochs, made where they are not there yet."""
    with db.write() as session:
        known = list(session.scalars(select(Run.id).where(Run.name.startswith(f"{name} ")).order_by(Run.id)))
        if known:
            return known
        now = utc_now()
        for place in range(number):
            run = runs.submit(session, TrainConfig(epochs=max(epochs, 2), seed=place), name=f"{name} {place}", now=now)
            known.append(run.id)
        for run_id in known:
            row = runs.get(session, run_id)
            row.status, row.attempt, row.started_at, row.worker = status, 1, now, "bench"
            row.finished_at = now if status.over else None
            row.heartbeat_at = now + timedelta(days=1)
            row.facts = {"steps_per_epoch": 234, "parameters": 582_026, "classes": []}
            row.epochs_done, row.best_epoch, row.best_val_accuracy = epochs, epochs, 0.9
            session.execute(insert(Epoch), [_epoch(run_id, epoch, now) for epoch in range(1, epochs + 1)])
    return known


def _one_more(session: Session, run_id: int) -> None:
    """Another epoch of a run, told as training tells it."""
    run = runs.get(session, run_id)
    run.epochs_done += 1
    session.execute(insert(Epoch), [_epoch(run_id, run.epochs_done, utc_now())])
    runs.record_change(session, run_id, "epoch", ref=run.epochs_done, now=utc_now())


def _epoch(run_id: int, epoch: int, at: datetime) -> dict[str, Any]:
    wave = np.sin(epoch * 12.9898 + run_id) * 0.01
    loss = float(np.exp(-epoch / 300) + 0.2 + wave)
    shares = {"train_accuracy": 1 - loss / 3, "val_accuracy": 1 - loss / 2.9}
    return {
        "run_id": run_id, "epoch": epoch, "attempt": 1, "lr": 0.001, "seconds": 2.0, "train_seconds": 1.8,
        "images_per_s": 5000.0, "finished_at": at.astimezone(UTC) + timedelta(seconds=2 * epoch), "diverged": False,
        "train_loss": loss, "val_loss": loss + 0.05, **shares,
    }  # fmt: skip


if __name__ == "__main__":
    main()
