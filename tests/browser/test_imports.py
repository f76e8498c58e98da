"""Past runs in a real browser: chosen, looked at, imported, drawn."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tools.server import Server

HISTORY = b"""run,epoch,train_loss,val_loss,val_accuracy,weights/norm
from elsewhere,1,0.9,0.8,0.6,1.5
from elsewhere,2,0.5,0.6,0.7,2.5
from elsewhere,3,0.4,0.5,0.8,3.5
"""


def test_a_history_is_uploaded_looked_at_imported_and_drawn(page: Page, server: Server):
    page.goto(f"{server.url}/runs")
    page.get_by_role("link", name="Import").click()
    page.locator("#files").set_input_files({"name": "history.csv", "mimeType": "text/csv", "buffer": HISTORY})
    page.locator("form[enctype] button").click()
    expect(page.get_by_role("heading", name="Import from CSV?")).to_be_visible()
    expect(page.get_by_text("weights/norm")).to_be_visible()
    page.get_by_role("button", name="Import 1 run").click()
    expect(page).to_have_url(re.compile(r"/runs/\d+$"))
    expect(page.get_by_role("heading", name="from elsewhere")).to_be_visible()
    page.locator("[data-series] canvas").first.wait_for(state="attached")
    drawn = page.evaluate(
        "[document.getElementById('chart-loss').curves, document.querySelector('[data-series]').curves]"
        ".map((curves) => curves.map(({ x, y }) => [Array.from(x), Array.from(y)]))"
    )
    assert drawn[0] == [[[1, 2, 3], [0.9, 0.5, 0.4]], [[1, 2, 3], [0.8, 0.6, 0.5]]]
    assert drawn[1] == [[[1, 2, 3], [1.5, 2.5, 3.5]]]
    page.goto(f"{server.url}/compare?runs={page.url.rpartition('/')[2]}")
    page.locator("select[name=show]").select_option("series:weights/norm")
    compared = page.locator("[data-chart=series]")
    expect(compared.locator(".chart")).to_have_attribute("data-curves", "1")
    expect(compared.locator("figcaption")).to_have_text("weights/norm")
    expect(page.locator("[data-chart=val_accuracy]")).to_be_hidden()
    assert (
        page.evaluate("document.getElementById('chart-series').curves.map(({ x, y }) => [[...x], [...y]])") == drawn[1]
    )
    page.goto(f"{server.url}/runs?filter=source+%3D+csv")
    expect(page.locator("tbody tr .origin")).to_have_text("CSV")


def test_the_page_of_the_api_fits_a_narrow_window(page: Page, server: Server):
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{server.url}/api#submit_run")
    expect(page.locator("#submit_run pre").first).to_contain_text("curl -X POST")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
