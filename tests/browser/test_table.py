"""The table of runs in a real browser: live rows, keys, edits in place, many at once, columns, groups."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from app.config import Settings
from app.db import Database
from tests.app.listing_store import add
from tests.conftest import FakeClock
from tools.server import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from tools.server import Server


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Database]]:
    """A server that trains nothing, with six runs: three seeds of one configuration, two others, one queued."""
    home = tmp_path_factory.mktemp("table")
    with serving(home, workers="0") as server:
        db, clock = Database(Settings(home=home).database), FakeClock()
        for seed, accuracy in enumerate((0.8, 0.9, 0.85)):
            add(db, clock, f"seed {seed}", seed=seed, tags=("sweep",), accuracies=(0.5, accuracy), end="finished")
        add(db, clock, "fast", lr=0.2, accuracies=(0.7,), end="finished")
        add(db, clock, "slow", lr=0.0001, accuracies=(0.6,), end="failed")
        add(db, clock, "waits", lr=0.3)
        yield server, db
        db.close()


def row(page: Page, name: str):
    return page.locator("tbody tr").filter(has=page.get_by_role("link", name=name, exact=True))


def test_the_table_is_used_by_keyboard(page: Page, store: tuple[Server, Database]):
    page.goto(f"{store[0].url}/runs?sort=-lr&fold=off")
    for _ in range(2):
        page.keyboard.press("j")
    expect(row(page, "fast")).to_be_focused()
    page.keyboard.press("x")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Compare 2")).to_be_visible()
    page.keyboard.press("k")
    page.keyboard.press("s")
    expect(row(page, "fast").get_by_role("button", name="Star fast")).to_have_attribute("aria-pressed", "true")
    expect(row(page, "fast")).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    expect(page.get_by_label("Search by name or tag")).to_be_focused()
    page.keyboard.type("jx/")
    expect(page.get_by_label("Search by name or tag")).to_have_value("jx/")
    row(page, "fast").focus()
    page.keyboard.press("f")
    expect(page.get_by_label("Filter", exact=True)).to_be_focused()
    row(page, "fast").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("fast")


def test_names_tags_and_notes_are_edited_where_they_stand(page: Page, store: tuple[Server, Database]):
    page.goto(f"{store[0].url}/runs?cols=name,status,notes")
    page.keyboard.press("j")
    page.keyboard.press("e")
    field = page.get_by_role("textbox", name="Name", exact=True)
    expect(field).to_have_value("waits")
    field.fill("x" * 121)
    page.keyboard.press("Enter")
    page.allowed = ["422"]  # type: ignore[attr-defined]
    expect(page.get_by_role("alert")).to_contain_text("Must be at most 120 characters; it has 121.")
    field.fill("waits longer")
    page.keyboard.press("Enter")
    expect(row(page, "waits longer")).to_be_focused()
    page.keyboard.press("t")
    page.get_by_role("textbox", name="Tags, separated by commas").fill("one, two")
    page.keyboard.press("Enter")
    expect(row(page, "waits longer").locator(".tag")).to_have_text(["one", "two"])
    row(page, "waits longer").locator(".notes").dblclick()
    page.get_by_role("textbox", name="Notes").fill("why?")
    page.keyboard.press("Escape")
    expect(row(page, "waits longer").locator(".notes")).to_have_text("")
    row(page, "waits longer").locator(".notes").dblclick()
    page.get_by_role("textbox", name="Notes").fill("Does it learn?")
    page.get_by_role("heading", level=1).click()
    expect(row(page, "waits longer").locator(".notes")).to_have_text("Does it learn?")


def test_an_edit_and_a_tick_stay_while_rows_change(page: Page, store: tuple[Server, Database]):
    server, db = store
    page.goto(f"{server.url}/runs?q=seed&fold=off")
    row(page, "seed 1").get_by_role("checkbox").check()
    row(page, "seed 0").hover()
    row(page, "seed 0").get_by_role("link", name="Edit seed 0").click()
    page.get_by_role("textbox", name="Name", exact=True).fill("being edi")
    server.post("/api/v1/runs/bulk", {"action": "star", "runs": [1, 2]})
    expect(row(page, "seed 1").get_by_role("button", name="Star")).to_have_attribute("aria-pressed", "true")
    expect(row(page, "seed 1").get_by_role("checkbox")).to_be_checked()
    expect(page.get_by_role("textbox", name="Name", exact=True)).to_have_value("being edi")
    expect(page.get_by_role("textbox", name="Name", exact=True)).to_be_focused()
    page.keyboard.press("Escape")
    add(db, FakeClock(), "seed 9")
    expect(row(page, "seed 9")).to_be_visible()


def test_many_are_changed_at_once_and_deleted_after_a_question(page: Page, store: tuple[Server, Database]):
    server, db = store
    for number in range(3):
        add(db, FakeClock(), f"many {number}")
    page.goto(f"{server.url}/runs?q=many")
    page.get_by_label("Tick all on this page").check()
    page.get_by_role("button", name="Do").click()
    expect(page.locator("[data-said]")).to_have_text("3 cancelled.")
    expect(page.locator(".badge")).to_have_text(["cancelled"] * 3)
    page.locator("tbody input[type=checkbox]").first.click()
    page.locator("tbody input[type=checkbox]").last.click(modifiers=["Shift"])
    page.get_by_label("What to do with the ticked runs").select_option("tag")
    page.get_by_role("textbox", name="Tag", exact=True).fill("of many")
    page.get_by_role("button", name="Do").click()
    expect(page.locator("[data-said]")).to_have_text("3 tagged.")
    expect(page.locator("tbody .tag")).to_have_text(["of many"] * 3)
    page.get_by_label("Tick all on this page").check()
    page.get_by_label("What to do with the ticked runs").select_option("delete")
    page.get_by_role("button", name="Do").click()
    page.get_by_role("dialog", name="Delete these 3 runs?").get_by_role("button", name="Keep them").click()
    expect(page.locator("tbody tr")).to_have_count(3)
    page.get_by_role("button", name="Do").click()
    page.get_by_role("dialog", name="Delete these 3 runs?").get_by_role("button", name="Delete").click()
    expect(page.locator("tbody tr")).to_have_count(0)


def test_columns_are_moved_pinned_and_made_wider(page: Page, store: tuple[Server, Database]):
    page.set_viewport_size({"width": 700, "height": 800})
    page.goto(f"{store[0].url}/runs")
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("Find a column").fill("seed")
    page.get_by_role("checkbox", name=re.compile("^Seed")).check()
    page.get_by_label("Find a column").fill("")
    page.get_by_role("button", name="Move Status up").click()
    page.get_by_label("Keep Status in sight").check()
    page.get_by_role("button", name="Show these").click()
    headings = page.locator("th[data-key]")
    expect(headings.first).to_have_attribute("data-key", "status")
    expect(page.locator("th[data-key=seed]")).to_be_attached()
    page.reload()
    expect(headings.first).to_have_attribute("data-key", "status")
    page.locator(".scroll").evaluate("element => element.scrollLeft = 300")
    left = page.locator(".scroll").bounding_box()["x"]  # type: ignore[index]
    assert headings.first.bounding_box()["x"] == pytest.approx(left, abs=2)  # type: ignore[index]
    page.locator(".scroll").evaluate("element => element.scrollLeft = 0")
    before = headings.first.bounding_box()
    assert before
    edge, middle = before["x"] + before["width"] - 1, before["y"] + before["height"] / 2
    page.mouse.move(edge, middle)
    page.mouse.down()
    page.mouse.move(edge + 60, middle, steps=4)
    page.mouse.up()
    page.reload()
    assert headings.first.bounding_box()["width"] == pytest.approx(before["width"] + 60, abs=3)  # type: ignore[index]


def test_a_group_opens_in_place_and_a_second_column_sorts(page: Page, store: tuple[Server, Database]):
    page.goto(f"{store[0].url}/runs?q=sweep")
    page.get_by_label("Group by").select_option("config_key")
    expect(page.locator("tr.group")).to_have_count(1)
    expect(page.locator("tr.group")).to_contain_text("3 runs")
    page.locator(".unfold").click()
    expect(page.locator("tr.member")).to_have_count(3)
    page.locator("tr.member").first.get_by_role("checkbox").check()
    store[0].post("/api/v1/runs/bulk", {"action": "unstar", "runs": [1, 2]})
    expect(page.locator("tr.member [aria-pressed=true]")).to_have_count(0)
    expect(page.locator("tr.member").first.get_by_role("checkbox")).to_be_checked()
    page.locator(".unfold").click()
    expect(page.locator("tr.member")).to_have_count(0)
    page.goto(f"{store[0].url}/runs?sort=status")
    page.get_by_role("link", name="LR").click(modifiers=["Shift"])
    expect(page).to_have_url(re.compile("sort=status%2C-lr"))


def test_seeds_that_fold_stay_open_ticked_and_focused_while_more_come(page: Page, store: tuple[Server, Database]):
    server, db = store
    clock = FakeClock()
    add(db, clock, "fold 0", lr=0.05, seed=0)
    page.goto(f"{server.url}/runs?q=fold")
    row(page, "fold 0").get_by_role("checkbox").check()
    row(page, "fold 0").evaluate("row => { row.tabIndex = -1; row.focus(); }")
    add(db, clock, "fold 1", lr=0.05, seed=1)
    seeds = page.locator("tr.seeds")
    expect(seeds).to_contain_text("2 seeds")
    expect(seeds).to_be_focused()
    box = seeds.get_by_role("checkbox")
    expect(box).to_have_js_property("indeterminate", True)
    expect(page.locator("[data-compare-text]")).to_have_text("1 run ticked")
    page.keyboard.press("x")
    expect(page.get_by_role("button", name="Compare 2")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator("tr.member input:checked")).to_have_count(2)
    add(db, clock, "fold 2", lr=0.05, seed=2)
    expect(seeds).to_contain_text("3 seeds")
    expect(page.locator("tr.member")).to_have_count(3)
    expect(page.locator("tr.member input:checked")).to_have_count(2)
    expect(box).to_have_js_property("indeterminate", True)
    expect(seeds).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("tr.member")).to_have_count(0)
    page.get_by_label("Fold seeds").uncheck()
    expect(page).to_have_url(re.compile("fold=off"))
    expect(page.locator("tbody tr")).to_have_count(3)
    page.get_by_label("Fold seeds").check()
    expect(seeds).to_have_count(1)


def test_without_javascript_runs_are_filtered_grouped_and_changed(browser: Browser, store: tuple[Server, Database]):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{store[0].url}/runs?q=sweep&fold=off")
    page.get_by_text("Add condition").click()
    page.get_by_label("Column", exact=True).select_option("best_val_accuracy")
    page.get_by_label("Comparison").select_option(">")
    page.get_by_label("Value").fill("82%")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.locator("tbody input[type=checkbox]").first.check()
    page.get_by_label("What to do with the ticked runs").select_option("archive")
    page.get_by_role("button", name="Do").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("1 archived.")
    page.get_by_role("link", name="Back to the runs").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name="Show archived").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_label("Group by").select_option("status")
    page.get_by_role("button", name="Group").click()
    page.locator(".unfold").first.click()
    expect(page.locator("tbody tr")).to_have_count(2)
    context.close()
