"""Text from people is inert wherever it is shown: in HTML, attributes, JSON, charts and what hovers over them."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import httpx2
import pytest
from playwright.sync_api import expect

from tests.app.bringing import kept, reading, upload
from tests.browser.test_main_job import wait_until
from trainer import sources

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Dialog, Page

    from tools.server import Server

IMAGE = "<img src=x onerror=window.broken=1>"
ATTRIBUTE = '" autofocus onfocus="window.broken=1'
SCRIPT = "</script><script>window.broken=1</script>"
LINK = "<a href='//evil.example'>x</a>"
NAME = f"{IMAGE}{SCRIPT}{LINK}'"
NOTE = f"{IMAGE}\n{ATTRIBUTE}\n{SCRIPT}\n{LINK}\njavascript:window.broken=1 {{{{7*7}}}} ${{7*7}}"
TAGS = [IMAGE[:40], LINK, ATTRIBUTE[:40]]
CLASSES = (IMAGE, ATTRIBUTE, SCRIPT)

INJECTED = """() => [...document.querySelectorAll(
    "[onerror], [onload], [onfocus], [onmouseover], [autofocus], img[src='x'], a[href*='//evil'], a[href^='javascript']"
)].map((element) => element.outerHTML.slice(0, 200))"""


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        yield client


def hostile_csv(data_dir: Path, header: str) -> bytes:
    """Ninety real images of three classes."""
    found = sources.load("fashion-mnist", "train", data_dir)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([header, *(f"pixel{n}" for n in range(1, 785))])
    for place in range(90):
        writer.writerow([CLASSES[place % 3], *found.images[place].ravel().tolist()])
    return text.getvalue().encode()


def inert(page: Page, server: Server, path: str) -> None:
    page.goto(server.url + path)
    page.wait_for_load_state("load")
    for chart in page.locator(".chart").all():
        if chart.locator(".nsewdrag").count():
            chart.scroll_into_view_if_needed()
            chart.locator(".nsewdrag").first.hover()
    still_inert(page, path)


def still_inert(page: Page, path: str) -> None:
    assert page.evaluate(INJECTED) == [], path
    assert page.evaluate("window.broken") is None, path


@pytest.fixture
def watched(page: Page) -> Page:
    """A page on which a dialog is a failure."""

    def refuse(dialog: Dialog) -> None:
        dialog.dismiss()
        raise AssertionError(dialog.message)

    page.on("dialog", refuse)
    return page


def test_hostile_text_is_inert_on_every_page(watched: Page, server: Server, client: httpx2.Client, data_dir: Path):
    page = watched
    content = hostile_csv(data_dir, "label")
    dataset = kept(client, (f"{IMAGE}.csv", content), name="hostile", licence=IMAGE, source=NAME[:80])
    run_id, other = (
        server.submit(
            dataset=dataset["id"], epochs=2, batch_size=16, dropout=dropout, name=NAME[:120], tags=TAGS, notes=NOTE
        )
        for dropout in (0.1, 0.2)
    )
    for one in (run_id, other):
        server.wait_for(one, "finished")
    both = f"runs={run_id}&runs={other}"
    page.goto(f"{server.url}/runs/{run_id}")
    wait_until(page, "document.querySelector('#chart-loss .main-svg') !== null")
    expect(page.get_by_role("heading", level=1)).to_have_text(NAME[:120])
    for path in (
        f"/runs/{run_id}",
        f"/runs/{run_id}?show=mistakes",
        f"/runs/{run_id}/hard",
        f"/runs/{run_id}/delete",
        f"/runs/new?from={run_id}",
        "/runs",
        f"/runs?q={IMAGE}",
        f"/compare?{both}",
        f"/compare/images?{both}",
        "/datasets",
        f"/datasets/{dataset['id']}",
        f"/datasets/{dataset['id']}/train/0",
        f"/datasets/{dataset['id']}/duplicates",
        "/status",
        "/audit",
        "/users",
    ):
        inert(page, server, path)
    page.goto(f"{server.url}/compare?{both}")
    wait_until(page, "document.querySelector('.chart canvas, .chart .main-svg') !== null")
    page.locator(".chart").first.hover()
    still_inert(page, "the comparison, under the pointer")


def test_a_picture_with_a_hostile_name_is_tried_and_its_name_stays_text(
    watched: Page, server: Server, client: httpx2.Client, data_dir: Path
):
    content = hostile_csv(data_dir, "label")
    dataset = kept(client, ("plain.csv", content), name="tried")
    run_id = server.submit(dataset=dataset["id"], epochs=1, batch_size=16)
    server.wait_for(run_id, "finished")
    watched.goto(f"{server.url}/runs/{run_id}/try")
    picture = client.get("/datasets/fashion-mnist/val/images/0.png").content
    watched.locator("#file").set_input_files({"name": f"{IMAGE}.png", "mimeType": "image/png", "buffer": picture})
    expect(watched.locator("[data-result]")).to_be_visible()
    still_inert(watched, "try")


def test_a_hostile_header_and_file_name_are_shown_as_text_where_they_are_corrected(
    watched: Page, server: Server, client: httpx2.Client, data_dir: Path
):
    for header, row in ((IMAGE, b""), (f"{ATTRIBUTE},{SCRIPT}", f"{IMAGE},{LINK}\n".encode())):
        address = upload(client, (f"{IMAGE}{LINK.replace('/', '')}.csv", hostile_csv(data_dir, header) + row))
        reading(client, address)
        watched.goto(server.url + address.replace("/api/v1/uploads", "/datasets/uploads"))
        expect(watched.get_by_role("heading", level=1)).to_be_visible()
        still_inert(watched, header)
