"""The status page, live, and the admin's pages, wide and narrow."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tools.server import Server


def test_the_status_page_follows_workers_and_queue_and_keeps_the_focus(page: Page, server: Server):
    page.goto(f"{server.url}/runs")
    page.get_by_role("contentinfo").get_by_role("link", name="Status").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Status")
    page.evaluate("window.stillHere = true")
    run_id = server.submit(name="seen by status", train_size=512, val_size=200, epochs=500)
    other = server.submit(name="waits for its turn", train_size=512, val_size=200, epochs=1)
    worker = page.locator("[data-part=workers]")
    expect(worker.get_by_role("link", name="seen by status")).to_be_visible()
    expect(page.locator("[data-part=queue]").get_by_role("link", name="waits for its turn")).to_be_visible()
    expect(page.locator("[data-part=checks]")).to_contain_text("all is well")
    expect(page.locator("[data-part=machine] progress")).not_to_have_count(0)
    page.locator("[data-part=queue] a").first.focus()
    for one in (run_id, other):
        server.post(f"/api/v1/runs/{one}/cancel")
    expect(worker.get_by_role("link", name="seen by status")).to_have_count(0)
    expect(page.locator("[data-part=queue] a").first).to_be_focused()
    page.locator("[data-part=queue] a").first.blur()
    expect(page.locator("[data-part=queue]")).to_contain_text("No run waits.")
    assert page.evaluate("window.stillHere")


@pytest.mark.parametrize("width", [1280, 390])
def test_an_admin_keeps_users_and_reads_the_trail_wide_and_narrow(page: Page, server: Server, width: int):
    page.allowed = ["422 (Unprocessable"]  # type: ignore[attr-defined]
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"{server.url}/users")
    page.get_by_label("Name").fill(f"ann-{width}")
    page.get_by_label("Password", exact=True).fill("short")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("alert")).to_have_text("A password has 10 to 1,024 characters.")
    expect(page.get_by_label("Name", exact=True)).to_have_value(f"ann-{width}")
    page.get_by_label("Password", exact=True).fill("a long enough password")
    page.get_by_role("button", name="Add").click()
    row = page.get_by_role("row").filter(has_text=f"ann-{width}")
    row.get_by_role("combobox").select_option("admin")
    row.get_by_role("button", name="Save").click()
    expect(row.get_by_role("combobox")).to_have_value("admin")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("contentinfo").get_by_role("link", name="Audit trail").click()
    page.get_by_label("Did").select_option("role")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page).to_have_url(re.compile("action=role"))
    expect(page.get_by_role("cell", name=f"user ann-{width}, admin")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.goto(f"{server.url}/users")
    # The last admin would have to stay.
    second = {"name": "kept", "password": "a long enough password", "role": "admin"}
    page.request.post(f"{server.url}/users", form=second)
    page.reload()
    row.get_by_role("link", name=f"New password for ann-{width}").click()
    page.get_by_label("New password").fill("another long password")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="Set password").click()
    expect(page).to_have_url(f"{server.url}/users")
    row.get_by_role("link", name=f"Remove ann-{width}").click()
    expect(page.get_by_role("heading", name=f"Remove ann-{width}?")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="Remove user").click()
    expect(row).to_have_count(0)
