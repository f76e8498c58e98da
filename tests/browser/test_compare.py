"""Comparing in a real browser: curves, legend, zoom, handles, and that what is drawn is exact."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_main_job import wait_until
from tools import store
from tools.server import Server, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

RUNS = 60
CURVES = "document.getElementById('chart-{}').dataset.curves"

ALL_DRAWN = "[...document.querySelectorAll('figure:not([hidden]) .chart')].every((chart) => chart.dataset.curves > 0)"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on a generated store: many runs, and nothing trains."""
    home = tmp_path_factory.mktemp("stored")
    store.generate(home, RUNS)
    with serving(home, workers="0") as server:
        yield server


def shown(page: Page, chart: str = "val_accuracy") -> int:
    return int(page.evaluate(CURVES.format(chart)))


def wait_for_curves(page: Page, number: int, chart: str = "val_accuracy") -> None:
    wait_until(page, f"{CURVES.format(chart)} === '{number}'")


def opened(page: Page, server: Server, query: str) -> int:
    """The page, its charts drawn. Returns how many of the runs have curves."""
    page.goto(f"{server.url}/compare?{query}")
    wait_until(page, ALL_DRAWN)
    return shown(page)


def test_a_click_on_the_legend_isolates_and_another_brings_all_back(page: Page, stored: Server):
    curves = opened(page, stored, "runs=1-12")
    entry = page.locator("#legend button").first
    entry.click()
    wait_for_curves(page, 1)
    expect(page.locator("#legend [aria-pressed=true]")).to_have_count(1)
    entry.click()
    wait_for_curves(page, curves)
    page.locator("#legend button").nth(1).click(modifiers=["Control"])
    wait_for_curves(page, curves - 1)
    page.get_by_role("button", name="Show all").click()
    wait_for_curves(page, curves)


def test_pointing_reads_the_runs_from_the_highest_down(page: Page, stored: Server):
    opened(page, stored, "runs=1-8")
    page.locator("#chart-val_accuracy").hover(position={"x": 90, "y": 80})
    readout = page.locator("#chart-val_accuracy .readout")
    expect(readout).to_be_visible()
    expect(readout.locator(".near")).to_have_count(1)
    values = [float(text.removesuffix(" %")) for text in readout.locator("div b").all_inner_texts()]
    assert len(values) > 1
    assert values == sorted(values, reverse=True)


def test_zooming_is_shared_by_all_charts_by_mouse_and_by_keyboard(page: Page, stored: Server):
    opened(page, stored, "runs=1-8")
    before, other = picture(page, "val_accuracy"), picture(page, "val_loss")
    box = page.locator("#chart-val_accuracy").bounding_box()
    assert box
    page.mouse.move(box["x"] + 120, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 260, box["y"] + 60)
    page.mouse.up()
    changes(page, "val_loss", other)
    page.mouse.dblclick(box["x"] + 200, box["y"] + 60)
    returns_to(page, "val_accuracy", before)
    page.locator("#chart-val_loss").focus()
    page.keyboard.press("+")
    changes(page, "val_accuracy", before)
    page.keyboard.press("0")
    returns_to(page, "val_accuracy", before)


def picture(page: Page, chart: str) -> str:
    """The curves and axes, without what follows the pointer."""
    return str(page.evaluate(f"document.querySelector('#chart-{chart} canvas').toDataURL()"))


def changes(page: Page, chart: str, before: str) -> None:
    until(page, lambda: picture(page, chart) != before)


def returns_to(page: Page, chart: str, before: str) -> None:
    until(page, lambda: picture(page, chart) == before)


def until(page: Page, true: Callable[[], bool], within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        page.wait_for_timeout(50)


def test_the_view_is_in_the_address_and_comes_back_with_it(page: Page, stored: Server):
    opened(page, stored, "runs=1-12")
    page.locator("#view [name=x]").select_option("time")
    page.locator("#view [name=group]").select_option("optimizer")
    page.locator("#view [name=log]").check()
    page.locator("#view [name=smooth]").fill("0.6")
    page.locator("#judge [name=metric]").select_option("val_loss")
    for part in ("runs=1-12", "x=time", "group=optimizer", "log=1", "smooth=0.6", "metric=val_loss"):
        assert part in page.url
    groups = page.locator("#legend button").all_inner_texts()
    expect(page.locator("#groups h2")).to_have_text("Groups: optimizer")
    page.reload()
    wait_for_curves(page, len(groups))
    assert page.locator("#legend button").all_inner_texts() == groups
    assert len(groups) == page.locator("#group-table tbody tr").count()


def test_smoothing_leaves_the_raw_curve_faint_behind(page: Page, stored: Server):
    curves = opened(page, stored, "runs=1-8")
    page.locator("#view [name=smooth]").fill("0.9")
    faint = "document.getElementById('chart-val_accuracy').curves.filter((curve) => curve.faint).length"
    wait_until(page, f"{faint} === {curves}")
    assert shown(page) == curves


def test_outliers_can_be_left_out_of_the_scale(page: Page, stored: Server):
    opened(page, stored, "runs=1-12")
    highest = "Number(document.getElementById('chart-val_loss').dataset.highest)"
    before = page.evaluate(highest)
    page.locator("#view [name=clip]").check()
    wait_until(page, f"{highest} < {before}")


def test_the_handles_of_an_axis_choose_runs_everywhere(page: Page, stored: Server):
    curves = opened(page, stored, "runs=1-60")
    rows = page.locator(".compared-runs tbody tr:visible")
    expect(rows).to_have_count(RUNS)
    page.get_by_role("slider", name="Best validation accuracy, from").focus()
    for _ in range(45):
        page.keyboard.press("ArrowUp")
    left = rows.count()
    assert 0 < left < curves
    wait_for_curves(page, left)
    expect(page.locator("#chosen")).to_have_text(f"{left} of {RUNS}")
    wait_until(page, f"document.getElementById('scatter').dataset.points === '{left}'")
    page.get_by_role("button", name="All runs").click()
    wait_for_curves(page, curves)
    expect(rows).to_have_count(RUNS)


def test_a_scatter_plot_of_any_two_values_and_its_front(page: Page, stored: Server):
    opened(page, stored, "runs=1-60")
    page.locator("#scatter-view [name=sx]").select_option("parameters")
    page.locator("#scatter-view [name=sc]").select_option("optimizer")
    page.locator("#scatter-view [name=slx]").check()
    wait_until(page, "document.getElementById('scatter').dataset.front > 0")
    expect(page.locator("#scatter-colors li").first).to_be_visible()
    page.locator("#scatter").focus()
    page.keyboard.press("Home")
    expect(page.locator("#scatter .readout")).to_contain_text("Parameters")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/*")


def test_which_settings_matter_is_worked_out_when_it_is_looked_at(page: Page, stored: Server):
    opened(page, stored, "runs=1-60")
    page.locator("#importance").scroll_into_view_if_needed()
    expect(page.locator("#importances tbody tr").first).to_be_visible()


def test_the_losses_of_every_step_are_exact_at_any_zoom(page: Page, stored: Server):
    """In the browser the extremes of every column of pixels, and zoomed in the points themselves."""
    page.goto(f"{stored.url}/compare?runs=1&show=steps")
    wait_for_curves(page, 1, "steps")
    found = page.evaluate(
        """async () => {
            const script = document.querySelector('script[type=module]').src;
            const { kept } = await import(new URL("plot/thin.js", script));
            const y = Float32Array.from({ length: 100000 }, (_, i) => Math.sin(i * 12.9898) * 43758.5453 % 1);
            y[5] = y[70000] = NaN;
            const x = Float64Array.from(y, (_, i) => i);
            const check = (from, to, width) => {
                const places = kept(x, y, from, to, width), columns = new Map();
                const note = (i, which) => {
                    const column = Math.min(Math.floor((x[i] - from) * width / (to - from)), width);
                    const old = columns.get(column) ?? { all: [Infinity, -Infinity], kept: [Infinity, -Infinity] };
                    if (y[i] === y[i]) old[which] = [Math.min(old[which][0], y[i]), Math.max(old[which][1], y[i])];
                    columns.set(column, old);
                };
                for (let i = from; i <= to; i++) note(i, "all");
                for (const i of places) if (x[i] >= from && x[i] <= to) note(i, "kept");
                const wrong = [...columns.values()].filter(({ all, kept }) => all[0] !== kept[0] || all[1] !== kept[1]);
                return { wrong: wrong.length, columns: columns.size, kept: places.length };
            };
            return [check(0, 99999, 700), check(1000, 60000, 333), check(5000, 5600, 700)];
        }"""
    )
    assert [one["wrong"] for one in found] == [0, 0, 0]
    assert found[0]["columns"] == 701
    assert found[0]["kept"] < 4 * 701 + 2
    assert found[2]["kept"] == 603


def test_without_javascript_the_tables_and_the_differences_stand(stored: Server, browser: Browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{stored.url}/compare?runs=1-12")
    expect(page.locator(".compared-runs tbody tr")).to_have_count(12)
    expect(page.locator("#differences tbody tr").first).to_be_visible()
    expect(page.locator("#group-table tbody tr").first).to_be_visible()
    page.locator("#view [name=group]").select_option("optimizer")
    page.locator("#view button[type=submit]").click()
    expect(page.locator("#groups h2")).to_have_text("Groups: optimizer")
    context.close()


@pytest.mark.parametrize("width", [390, 1440])
def test_a_comparison_is_no_wider_than_its_window(browser: Browser, stored: Server, width: int):
    page = browser.new_page(viewport={"width": width, "height": 800})
    for runs in ("1-3", "1-60"):
        page.goto(f"{stored.url}/compare?runs={runs}")
        wait_until(page, ALL_DRAWN)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), runs
        page.goto(f"{stored.url}/compare/report?runs={runs}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"report of {runs}"
    page.close()


def test_a_run_that_trains_grows_on_the_page(page: Page, server: Server):
    run_id = server.submit(train_size=1024, val_size=200, batch_size=128, epochs=2, name="growing")
    page.goto(f"{server.url}/compare?runs={run_id}&x=time")
    server.wait_for(run_id, "finished")
    wait_until(page, "document.getElementById('chart-val_loss').curves?.[0]?.x.length === 2")
    seconds = page.evaluate("[...document.getElementById('chart-val_loss').curves[0].x]")
    first, second = (row["seconds"] for row in server.get(f"/api/v1/runs/{run_id}/metrics")["epochs"])
    assert seconds == pytest.approx([first, first + second])
    expect(page.locator(".compared-runs .badge")).to_have_text("finished")


def test_a_saved_report_opens_from_the_disk_and_prints(browser: Browser, stored: Server, tmp_path: Path):
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{stored.url}/compare?runs=1-12")
    wait_until(page, ALL_DRAWN)
    page.locator("#view [name=group]").select_option("optimizer")
    page.get_by_role("link", name="Report").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Save as one file").click()
    saved = tmp_path / "report.html"
    download.value.save_as(saved)
    asked: list[str] = []
    problems: list[str] = []
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: problems.append(message.text))
    page.goto(saved.as_uri())
    expect(page.locator("svg.curves")).to_have_count(4)
    assert page.locator("svg.curves").first.evaluate("(svg) => svg.getBoundingClientRect().height") > 100
    assert page.locator("#runs tbody tr").count() == 12
    assert (asked, problems) == ([saved.as_uri()], [])
    assert page.pdf().startswith(b"%PDF")
    context.close()


def test_a_run_of_many_steps_shows_them_all(page: Page, stored: Server):
    """The first run of the store is a long one."""
    steps = page.request.get(f"{stored.url}/api/v1/runs/1/steps").body()
    assert len(steps) > 4 * 20_000
    page.goto(f"{stored.url}/runs/1")
    wait_until(page, f"document.getElementById('chart-steps').curves?.[0].y.length === {len(steps) // 4}")
    values = "[...document.getElementById('chart-steps').curves[0].y.subarray(5000, 5100)]"
    assert page.evaluate(values) == list(struct.unpack("<100f", steps[20_000:20_400]))
    page.locator("#smooth").fill("0.9")
    wait_until(page, "document.getElementById('chart-steps').curves.length === 2")
    wait_until(page, "document.querySelector('#chart-loss .main-svg') !== null")
