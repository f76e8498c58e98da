"""Signing in, as a browser does it: by the printed link, through a page that asked for it, and out again."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from fitroom import Client
from tools.server import Server, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

TOKEN = "a token for the browser"


@pytest.fixture
def guarded(tmp_path: Path, data_dir: Path) -> Iterator[Server]:
    with serving(tmp_path / "home", data_dir, token=TOKEN, workers="0") as server:
        yield server


def test_a_page_whose_reader_signs_out_in_another_window_asks_to_sign_in(guarded: Server, page: Page):
    page.allowed = ["401 (Unauthorized)"]  # type: ignore[attr-defined]
    Client(guarded.url, token=TOKEN).submit(name="seen before", epochs=1)
    page.goto(f"{guarded.url}/login?token={quote(TOKEN)}&next=/runs")
    expect(page.get_by_role("link", name="seen before", exact=True)).to_be_visible()
    other = page.context.new_page()
    other.goto(f"{guarded.url}/account")
    other.get_by_role("button", name="Sign out", exact=True).click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page).to_have_url(f"{guarded.url}/login?next=/runs")
    other.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_one_signs_in_comes_where_one_wanted_to_and_signs_out_again(guarded: Server, page: Page, width: int):
    page.allowed = ["403 (Forbidden)"]  # type: ignore[attr-defined]
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"{guarded.url}/runs?status=failed")
    page.get_by_label("Token").fill("not the token at all")
    page.get_by_role("button", name="Sign in with the token").click()
    expect(page.get_by_role("alert")).to_have_text("This is not the token. The server prints it when it starts.")
    expect(page.get_by_label("Token")).to_have_value("")
    page.get_by_label("Token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{guarded.url}/runs?status=failed")
    page.get_by_role("link", name="Account").click()
    expect(page.get_by_role("heading", name="Signed in by the token")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.goto(f"{guarded.url}/runs")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_the_printed_link_leads_in_and_leaves_the_token_out_of_the_address(guarded: Server, page: Page):
    page.goto(f"{guarded.url}/login?token={TOKEN}")
    expect(page).to_have_url(f"{guarded.url}/runs")
    assert page.evaluate("document.referrer") == ""
