"""Own data in a real browser: uploaded, seen, corrected, kept and trained on; and what a lost connection costs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

from tests.app.bringing import as_csv, as_zip
from tests.browser.test_main_job import fill_small, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, CDPSession

    from tools.server import Server


@pytest.fixture(scope="module")
def table(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three thousand real images as CSV, semicolons between, classes by name: 6.6 MB."""
    path = tmp_path_factory.mktemp("own") / "fashion.csv"
    path.write_bytes(as_csv(data_dir, 3000, delimiter=";", words=True))
    return path


def choose(page: Page, server: Server, path: Path) -> None:
    page.goto(f"{server.url}/datasets/new")
    page.get_by_label("Files").set_input_files(path)


def keep(page: Page, name: str) -> None:
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Licence").fill("MIT")
    page.get_by_role("button", name="Keep as a data set").click()
    expect(page).to_have_url(re.compile(rf"/datasets/set:{name}@1$"))


def train(page: Page, server: Server, **fields: str) -> float:
    """Start a run from the data set's page; its validation accuracy at the end."""
    page.get_by_role("link", name="Train on this").click()
    fill_small(page, train_size="", val_size="", **fields)
    page.get_by_role("button", name="Start run").click()
    expect(page.locator(".run-title .badge")).to_have_text("finished")
    return float(server.run(int(page.url.rpartition("/")[2]))["val_accuracy"])


def test_a_csv_file_is_brought_corrected_kept_and_trained_on(page: Page, server: Server, table: Path):
    choose(page, server, table)
    page.get_by_role("button", name="Upload").click()
    expect(page).to_have_url(re.compile("/datasets/uploads/"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Is this right?")
    expect(page.get_by_label("Separator")).to_have_value("semicolon")
    expect(page.locator(".images figure")).to_have_count(40)
    page.evaluate("window.stillHere = true")
    page.get_by_label("Licence").fill("typed before")
    page.get_by_label("For validation, %").fill("25")
    page.get_by_label("For validation, %").press("Tab")
    expect(page.get_by_text(re.compile("2,2.. training and 7.. validation images"))).to_be_visible()
    expect(page.get_by_label("Licence")).to_have_value("typed before")
    page.get_by_label("Separator").select_option("comma")
    expect(page.get_by_role("heading", level=1)).to_have_text("It cannot be read like this")
    expect(page.locator(".rows .error")).to_contain_text("fashion.csv, line 1")
    page.get_by_label("Separator").select_option("semicolon")
    expect(page.get_by_role("heading", level=1)).to_have_text("Is this right?")
    assert page.evaluate("window.stillHere")
    keep(page, "fashion")
    accuracy = train(page, server, name="on my own", epochs="2")
    assert accuracy > 0.3
    expect(page.locator("[data-predictions] figure")).to_have_count(40)
    loaded = "performance.getEntriesByType('resource').filter(entry => entry.name.includes('sprite.png')).length"
    wait_until(page, f"{loaded} >= 1")
    expect(page.get_by_role("img", name=re.compile("Ankle boot")).first).to_be_visible()


def test_a_zip_of_image_folders_is_brought_corrected_kept_and_trained_on(
    page: Page, server: Server, data_dir: Path, tmp_path: Path
):
    path = tmp_path / "folders.zip"
    path.write_bytes(as_zip(data_dir, 300, classes=(1, 7, 8)))
    choose(page, server, path)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Is this right?")
    expect(page.locator(".balance tbody tr")).to_have_count(3)
    page.get_by_label("Image size").fill("32x32")
    page.get_by_label("Image size").press("Tab")
    expect(page.get_by_text("32 × 32 × 1")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Is this right?")
    keep(page, "folders")
    page.get_by_role("link", name="Train on this").click()
    expect(page.locator("#field-image_size")).to_have_value("32")
    page.go_back()
    assert train(page, server, name="on folders", epochs="2") > 0.5
    page.goto(f"{server.url}/datasets/set:folders@1")
    expect(page.get_by_role("link", name="on folders")).to_be_visible()
    expect(page.locator(".images.many figure")).to_have_count(64)


def slow(page: Page, *, offline: bool = False) -> CDPSession:
    """A connection of two megabytes a second, or none."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    throttle(session, offline=offline)
    return session


def throttle(session: CDPSession, *, offline: bool) -> None:
    conditions = {"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 2_000_000}
    session.send("Network.emulateNetworkConditions", conditions)


def wait_for_some(page: Page, server: Server) -> str:
    """The upload of which a part has arrived."""
    for _ in range(600):
        for upload in server.get("/api/v1/uploads"):
            if 0 < upload["files"][0]["offset"] < upload["files"][0]["size"]:
                return str(upload["id"])
        page.wait_for_timeout(20)
    raise TimeoutError("no part of an upload arrived")


def test_an_upload_goes_on_by_itself_after_a_lost_connection(page: Page, server: Server, table: Path):
    page.allowed = ["ERR_INTERNET_DISCONNECTED", "ERR_NETWORK"]  # type: ignore[attr-defined]
    choose(page, server, table)
    session = slow(page)
    page.get_by_role("button", name="Upload").click()
    upload = wait_for_some(page, server)
    throttle(session, offline=True)
    expect(page.locator("[data-words]")).to_contain_text("The connection is lost")
    throttle(session, offline=False)
    expect(page).to_have_url(f"{server.url}/datasets/uploads/{upload}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Is this right?")
    page.get_by_role("button", name="Discard").click()
    expect(page).to_have_url(f"{server.url}/datasets/new")
    assert server.get("/api/v1/uploads") == []


def test_the_same_file_chosen_after_a_reload_goes_on_where_it_was(page: Page, server: Server, table: Path):
    page.allowed = ["ERR_ABORTED"]  # type: ignore[attr-defined]
    choose(page, server, table)
    session = slow(page)
    page.get_by_role("button", name="Upload").click()
    upload = wait_for_some(page, server)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("[data-words]")).to_contain_text("Paused")
    before = server.get(f"/api/v1/uploads/{upload}")["files"][0]["offset"]
    page.reload()
    expect(page.locator("[data-unfinished]")).to_contain_text("Choose the same file again to go on")
    session.detach()
    page.get_by_label("Files").set_input_files(table)
    page.get_by_role("button", name="Go on uploading").click()
    expect(page).to_have_url(f"{server.url}/datasets/uploads/{upload}")
    assert before > 0
    expect(page.get_by_role("heading", level=1)).to_have_text("Is this right?")
    page.get_by_role("button", name="Discard").click()


def test_another_file_of_the_same_name_and_size_does_not_go_on(page: Page, server: Server, table: Path, tmp_path: Path):
    choose(page, server, table)
    slow(page)
    page.get_by_role("button", name="Upload").click()
    upload = wait_for_some(page, server)
    page.get_by_role("button", name="Pause").click()
    other = tmp_path / table.name
    other.write_bytes(table.read_bytes().replace(b"label", b"LABEL", 1))
    choose(page, server, other)
    page.get_by_role("button", name="Go on uploading").click()
    expect(page.locator("#error-files")).to_contain_text("is not the file that was being uploaded")
    page.get_by_role("button", name="Discard fashion.csv").click()
    assert upload not in [item["id"] for item in server.get("/api/v1/uploads")]


def test_without_scripts_a_plain_form_does_it(browser: Browser, server: Server, table: Path):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    choose(page, server, table)
    page.get_by_label("Name").fill("plain")
    page.get_by_role("button", name="Upload").click()
    expect(page).to_have_url(re.compile("/datasets/uploads/"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Is this right?")
    page.get_by_label("Image shape").fill("14x56")
    page.get_by_role("button", name="Read it like this").click()
    expect(page.get_by_text("14 × 56 × 1")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Is this right?")
    keep(page, "plain")
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete data set").click()
    expect(page.get_by_role("link", name="plain, version 1")).to_have_count(0)
    context.close()
