"""The main job in a real browser: start a run from the form, watch it live, compare runs in the table."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import onnxruntime
import pandas as pd
import pytest
from playwright.sync_api import Page, expect
from safetensors import safe_open

from app import pages

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tools.server import Server

SMALL = {"train_size": 2048, "val_size": 500, "batch_size": 128}
QUICK = SMALL | {"train_size": 512}
"""Where nothing depends on what has been learned, or on how long it took."""
EVIL = "<script>window.broken=1</script><img src=x onerror=window.broken=1>\"'&"


@pytest.fixture(scope="module")
def finished(server: Server) -> int:
    """A run of four epochs, for those who only look at what became of it."""
    run_id = server.submit(**SMALL, epochs=4)
    server.wait_for(run_id, "finished")
    return run_id


@pytest.fixture(scope="module")
def wordy(server: Server) -> int:
    """A run with as long a name, and as many tags, as there may be."""
    tags = [f"a rather long tag, number {number}".replace(",", "") for number in range(10)]
    run_id = server.submit(**QUICK, epochs=1, name="w" * 120, tags=tags)
    server.wait_for(run_id, "finished")
    return run_id


def fill_small(page: Page, **more: str) -> None:
    for name, value in (SMALL | more).items():
        field = page.locator(f"#field-{name}")
        if field.evaluate("element => element.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(str(value))


def points_of(page: Page, chart: str) -> list[float]:
    """The y values of the validation curve as Plotly holds them."""
    return page.evaluate(f"document.getElementById('{chart}').data[1].y")  # type: ignore[no-any-return]


def wait_until(page: Page, expression: str, within_s: float = 60) -> None:
    """Playwright's own wait_for_function evaluates inside the page, which our policy rightly forbids."""
    deadline = time.monotonic() + within_s
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"still not: {expression}"
        page.wait_for_timeout(50)


def jumped(page: Page) -> float:
    """How much moved by itself since the page was opened: Cumulative Layout Shift (https://web.dev/articles/cls)."""
    return page.evaluate("""() => new Promise((done) => {
        const moved = (entry) => (entry.hadRecentInput ? 0 : entry.value ?? 0);
        const sum = (list) => list.getEntries().map(moved).reduce((one, other) => one + other, 0);
        const observer = new PerformanceObserver((list) => done(sum(list)));
        performance.mark("asked"); // something to be told of, should nothing have moved
        for (const type of ["layout-shift", "mark"]) observer.observe({ type, buffered: true });
    })""")  # type: ignore[no-any-return]


def test_a_run_is_started_from_the_form_and_watched_until_its_end(page: Page, server: Server):
    page.goto(server.url)
    page.get_by_role("link", name="New run").first.click()
    fill_small(page, name="from the browser", epochs="4", tags="browser, test")
    page.get_by_role("button", name="Start run").click()
    expect(page).to_have_url(re.compile(r"/runs/\d+$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("from the browser")

    for epoch in (1, 2, 3):
        wait_until(page, f"document.getElementById('chart-accuracy').dataset.lastEpoch >= {epoch}")
    expect(page.locator(".run-title .badge")).to_have_text("finished")
    expect(page.locator("#notice")).to_contain_text("Finished all 4 epochs.")

    run_id = int(page.url.rpartition("/")[2])
    recorded = server.get(f"/api/v1/runs/{run_id}/metrics")
    assert points_of(page, "chart-accuracy") == [row["val_accuracy"] for row in recorded["epochs"]]
    assert points_of(page, "chart-loss") == [row["val_loss"] for row in recorded["epochs"]]
    wait_until(page, "document.getElementById('chart-steps').curves?.[0].y.length === 64")
    losses = [loss for block in recorded["steps"] for loss in block["losses"]]
    assert page.evaluate("[...document.getElementById('chart-steps').curves[0].y]") == pytest.approx(losses, rel=1e-5)
    expect(page.locator("#epochs tr")).to_have_count(4)
    expect(page.locator("#predictions")).to_have_attribute("data-epoch", "4")
    expect(page.locator("[data-predictions] figure")).to_have_count(40)
    expect(page.get_by_role("img", name=re.compile("^Training image"))).to_have_count(40)
    expect(page.get_by_role("button", name="Cancel run")).to_be_hidden()
    expect(page.get_by_role("link", name="Delete")).to_be_visible()
    assert jumped(page) < 0.05


def test_the_grids_show_pixels_and_not_empty_boxes(page: Page, server: Server, finished: int):
    page.goto(f"{server.url}/runs/{finished}")
    for place in (0, 15, 39):
        cell = page.locator("[data-predictions] svg").nth(place)
        cell.scroll_into_view_if_needed()
        assert len(set(cell.screenshot())) > 100
    loaded = page.evaluate(
        """performance.getEntriesByType('resource')
            .filter(entry => entry.name.includes('sprite.png')).map(entry => entry.decodedBodySize)"""
    )
    assert len(loaded) == 2
    assert all(size > 1000 for size in loaded)


def test_mistakes_are_shown_on_request_without_a_reload(page: Page, server: Server, finished: int):
    page.goto(f"{server.url}/runs/{finished}")
    page.evaluate("window.stillHere = true")
    page.get_by_role("link", name="Mistakes").click()
    expect(page.locator("[data-predictions] .right")).to_have_count(0)
    expect(page.locator("[data-predictions] .wrong").first).to_be_visible()
    assert page.evaluate("window.stillHere")


def test_a_cell_of_the_confusion_matrix_shows_its_images(page: Page, server: Server, finished: int):
    page.goto(f"{server.url}/runs/{finished}")
    cell = page.locator("[data-confusion] .miss [data-cell]").first
    name, count = cell.get_attribute("data-cell"), int(cell.inner_text())
    cell.focus()
    page.keyboard.press("Enter")
    expect(page.locator("[data-predictions] li")).to_have_count(min(count, 40))
    expect(page.locator("[data-predictions] .right")).to_have_count(0)
    expect(page.locator("[data-show-cell]")).to_have_attribute("aria-current", "true")
    expect(page).to_have_url(re.compile(rf"show={name}"))
    page.reload()
    expect(page.locator("[data-predictions] li")).to_have_count(min(count, 40))


def test_the_confusion_matrix_is_sorted_and_stays_so(page: Page, server: Server, finished: int):
    page.goto(f"{server.url}/runs/{finished}")
    scores = "[...document.querySelectorAll('#by-class .by-class > :last-child tbody tr')]"
    wait_until(page, f"{scores}.length === 10")
    page.evaluate("window.stillHere = true")
    page.get_by_role("link", name="Worst first").click()
    expect(page).to_have_url(re.compile("order=worst"))
    f1 = f"{scores}.map(row => parseFloat(row.cells[3].textContent))"
    wait_until(page, f"({f1}).every((value, place, all) => !place || all[place - 1] <= value)")
    first = page.locator(".confusion tbody th").first.inner_text()
    assert page.locator(".confusion thead th").first.inner_text() == first
    page.locator("#epoch-slider").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("[data-confusion-epoch]")).to_have_text("after epoch 3")
    assert page.evaluate(f"({f1}).every((value, place, all) => !place || all[place - 1] <= value)")
    assert page.evaluate("window.stillHere")
    page.reload()
    expect(page.get_by_role("link", name="Worst first")).to_have_attribute("aria-current", "true")
    assert page.evaluate(f"({f1}).every((value, place, all) => !place || all[place - 1] <= value)")


def test_near_duplicates_are_shown_side_by_side(page: Page, server: Server):
    page.goto(f"{server.url}/datasets/fashion-mnist")
    page.get_by_role("link", name="Near-duplicates").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Near-duplicates")
    expect(page.locator(".twins li")).to_have_count(60)
    page.get_by_role("img", name=re.compile("^Training image")).first.click()
    expect(page).to_have_url(re.compile("/datasets/fashion-mnist/train/"))


def test_the_slider_moves_images_and_classes_through_the_epochs(page: Page, server: Server, finished: int):
    page.goto(f"{server.url}/runs/{finished}")
    slider = page.locator("#epoch-slider")
    slider.focus()
    for epoch in (3, 2):
        page.keyboard.press("ArrowLeft")
        expect(page.locator("[data-epoch-shown]")).to_have_text(str(epoch))
        expect(page.locator("[data-predictions-epoch]")).to_have_text(f"after epoch {epoch}")
        expect(page.locator("[data-confusion-epoch]")).to_have_text(f"after epoch {epoch}")
    told = server.get(f"/api/v1/runs/{finished}/confusion?epoch=2")
    assert [int(text) for text in page.locator(".confusion .hit .count").all_inner_texts()] == [
        row[place] for place, row in enumerate(told["matrix"]) if row[place]
    ]
    page.get_by_role("button", name="% of row").click()
    expect(page.locator(".confusion .hit .share").first).to_be_visible()
    expect(page.locator(".confusion .hit .count").first).to_be_hidden()
    page.reload()
    expect(page.locator("[data-predictions-epoch]")).to_have_text("after epoch 2")
    page.get_by_role("button", name="Newest").click()
    expect(page.locator("[data-predictions-epoch]")).to_have_text("after epoch 4")
    expect(page).not_to_have_url(re.compile("epoch="))


def test_looking_back_is_not_disturbed_by_new_epochs(page: Page, server: Server):
    run_id = server.submit(**SMALL, epochs=40)
    server.wait_for_epoch(run_id, 2)
    page.goto(f"{server.url}/runs/{run_id}?epoch=1")
    expect(page.locator("[data-predictions-epoch]")).to_have_text("after epoch 1")
    seen = int(page.locator("[data-epoch-newest]").inner_text())
    wait_until(page, f"Number(document.querySelector('[data-epoch-newest]').textContent) >= {seen + 2}")
    expect(page.locator("[data-confusion-epoch]")).to_have_text("after epoch 1")
    expect(page.locator("[data-epoch-shown]")).to_have_text("1")
    page.get_by_role("button", name="Newest").click()
    wait_until(page, f"Number(document.querySelector('[data-epoch-shown]').textContent) >= {seen + 2}")
    server.post(f"/api/v1/runs/{run_id}/cancel")


def test_the_page_of_a_running_run_shows_classes_times_and_weights_as_they_come(page: Page, server: Server):
    run_id = server.submit(**SMALL, epochs=3)
    page.goto(f"{server.url}/runs/{run_id}")
    expect(page.locator("[data-confusion-epoch]")).to_have_text("after epoch 3")
    wait_until(page, "document.querySelectorAll('.confusion tbody tr').length === 10")
    expect(page.locator("[data-share=compute]")).to_contain_text("%")
    expect(page.locator("[data-achieved]")).to_contain_text("matrix product")
    page.get_by_role("link", name="Download").click()
    for name, file, least in (
        ("Weights", f"net-run{run_id}.safetensors", 4 * 582_026),
        ("ONNX", f"net-run{run_id}.onnx", 4 * 582_026),
        ("Python script", f"run{run_id}.py", 5000),
        ("Predictions", f"run{run_id}-samples.csv", 10_000),
    ):
        with page.expect_download() as download:
            page.get_by_role("link", name=name, exact=True).click()
        assert download.value.suggested_filename == file
        assert download.value.path().stat().st_size > least
        opened = {
            "Weights": lambda path: safe_open(path, framework="np").keys(),
            "ONNX": lambda path: onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).get_inputs(),
            "Python script": lambda path: compile(path.read_text(), path, "exec").co_names,
            "Predictions": lambda path: pd.read_csv(path)["predicted"],
        }[name](download.value.path())
        assert len(opened) > 0


def test_the_form_follows_its_choices_and_tells_what_the_network_is_made_of(page: Page, server: Server):
    page.goto(f"{server.url}/runs/new")
    summary = page.locator("[data-network-summary]")
    expect(summary).to_contain_text("582,026 parameters")
    expect(page.locator("#field-momentum")).to_be_hidden()
    page.locator("#field-optimizer").select_option("sgd")
    expect(page.locator("#field-momentum")).to_be_visible()
    page.locator("#field-arch").select_option("mlp")
    page.locator("#field-mlp_width").fill("100")
    page.locator("#field-mlp_depth").fill("1")
    expect(summary).to_contain_text("79,510 parameters")
    page.get_by_text("Layers", exact=True).click()
    expect(page.locator("[data-network] tbody tr")).to_have_count(5)
    page.allowed.append("422")  # type: ignore[attr-defined]
    page.locator("#field-mlp_width").fill("many")
    expect(summary).to_have_text("Must be a whole number.")


def test_the_augmentation_is_seen_before_it_is_used(page: Page, server: Server):
    page.goto(f"{server.url}/runs/new")
    page.get_by_text("Augmentation", exact=True).click()
    picture = page.locator("[data-augmented] img")
    wait_until(page, "document.querySelector('[data-augmented] img').naturalWidth === 12 * 28")
    before = picture.get_attribute("src")
    page.locator("#field-erase").fill("1")
    wait_until(page, f"document.querySelector('[data-augmented] img').src !== '{before}'")
    page.allowed.append("422")  # type: ignore[attr-defined]
    page.locator("#field-rotate").fill("far")
    expect(page.locator("[data-augmented-words]")).to_have_text("Must be a number, such as 0.001 or 1e-3.")
    expect(picture).to_be_hidden()


def test_a_drawing_and_a_file_are_classified(page: Page, server: Server, finished: int):
    page.goto(f"{server.url}/runs/{finished}")
    page.get_by_role("link", name="Try it").click()
    page.wait_for_url("**/try")  # loaded, its scripts too: before that nobody would see the drawing
    box = page.locator("#draw").bounding_box()
    assert box
    x, y = box["x"] + 100, box["y"] + 60
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(10):
        page.mouse.move(x + 8 * (step % 2), y + 16 * step)
    page.mouse.up()
    words = page.locator("[data-words]")
    expect(words).to_contain_text(re.compile(r"It says .+, \d+ % sure\."))
    expect(page.locator("[data-bars] li")).to_have_count(5)
    shown = "document.querySelector('[data-prepared]').getContext('2d').getImageData(0, 0, 28, 28).data"
    assert page.evaluate(f"Math.max(...{shown}.filter((_, place) => place % 4 !== 3))") > 200

    page.get_by_role("button", name="Clear").click()
    expect(page.locator("[data-result]")).to_be_hidden()
    picture = page.request.get(f"{server.url}/datasets/fashion-mnist/val/images/0.png").body()
    page.locator("#file").set_input_files({"name": "boot.png", "mimeType": "image/png", "buffer": picture})
    expect(words).to_contain_text("% sure.")
    page.allowed.append("422")  # type: ignore[attr-defined]
    page.locator("#file").set_input_files({"name": "no.png", "mimeType": "image/png", "buffer": b"no"})
    expect(words).to_have_text("The image is not a PNG, JPEG, WebP, BMP or GIF image.")


def test_a_data_set_is_looked_through(page: Page, server: Server):
    page.goto(server.url)
    page.get_by_role("link", name="Data", exact=True).click()
    page.get_by_role("link", name="Fashion-MNIST").click()
    page.get_by_label("Class", exact=True).select_option("Bag")
    page.get_by_label("Shuffle with seed").fill("3")
    page.get_by_role("button", name="Show").click()
    captions = page.locator(".images figcaption")
    expect(captions).to_have_count(64)
    assert all(text.startswith("Bag") for text in captions.all_inner_texts())
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_text("Page 2 of 94")).to_be_visible()
    page.locator(".images a").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Bag")
    expect(page.locator(".pixels td")).to_have_count(784)
    page.go_back()
    page.get_by_role("link", name="Train on this").click()
    expect(page.locator("#field-dataset")).to_have_value("fashion-mnist")


def test_a_preset_fills_the_form_and_keeps_what_was_written(page: Page, server: Server):
    page.goto(f"{server.url}/runs/new")
    page.locator("#field-name").fill("mine")
    page.locator("[data-preset=accurate-resnet]").click()
    expect(page.locator("#field-arch")).to_have_value("resnet")
    expect(page.locator("#field-flip")).to_be_visible()
    expect(page.locator("#field-name")).to_have_value("mine")
    expect(page.locator("[data-preset=accurate-resnet]")).to_have_attribute("aria-current", "true")
    for name, value in (SMALL | {"epochs": 1, "resnet_width": 4}).items():
        page.locator(f"#field-{name}").fill(str(value))
    expect(page.locator("[aria-current][data-preset]")).to_have_count(0)
    page.get_by_role("button", name="Start run").click()
    expect(page.locator(".run-title .badge")).to_have_text("finished")
    config = server.get(f"/api/v1/runs/{page.url.rpartition('/')[2]}")["config"]
    assert (config["arch"], config["resnet_width"], config["flip"], config["epochs"]) == ("resnet", 4, True, 1)


def test_a_page_opened_late_and_one_reloaded_show_the_same_history(page: Page, browser: Browser, server: Server):
    run_id = server.submit(**SMALL, epochs=6)
    page.goto(f"{server.url}/runs/{run_id}")
    server.wait_for_epoch(run_id, 2)
    page.reload()
    late = browser.new_page()
    late.goto(f"{server.url}/runs/{run_id}")
    server.wait_for(run_id, "finished")
    recorded = [row["val_accuracy"] for row in server.get(f"/api/v1/runs/{run_id}/metrics")["epochs"]]
    for one in (page, late):
        expect(one.locator(".run-title .badge")).to_have_text("finished", timeout=30_000)
        wait_until(one, "document.getElementById('chart-accuracy').data?.[1].y.length === 6")
        assert points_of(one, "chart-accuracy") == recorded
        expect(one.locator("#epochs tr")).to_have_count(6)
    lines = [page.locator("#log li").all_inner_texts(), late.locator("#log li").all_inner_texts()]
    assert lines[0] == lines[1]
    assert len(set(lines[0])) == len(lines[0])
    late.close()


def test_a_connection_that_breaks_off_loses_nothing_and_doubles_nothing(page: Page, server: Server):
    page.allowed = ["ERR_INTERNET_DISCONNECTED", "Failed to load resource"]  # type: ignore[attr-defined]
    run_id = server.submit(**SMALL, epochs=8)
    page.goto(f"{server.url}/runs/{run_id}")
    wait_until(page, "document.getElementById('chart-accuracy').dataset.lastEpoch >= 1")
    done = server.run(run_id)["epochs_done"]
    page.context.set_offline(True)
    # An open stream survives Chromium's offline switch; leaving and coming back opens it anew, as sleep does.
    hide(page, hidden=True)
    server.wait_for_epoch(run_id, done + 3)
    assert page.locator("#epochs tr").count() <= done + 2
    page.context.set_offline(False)
    hide(page, hidden=False)
    expect(page.locator(".run-title .badge")).to_have_text("finished")
    recorded = server.get(f"/api/v1/runs/{run_id}/metrics")
    wait_until(page, "document.getElementById('chart-accuracy').data?.[1].y.length === 8")
    assert points_of(page, "chart-accuracy") == [row["val_accuracy"] for row in recorded["epochs"]]
    wait_until(page, "document.getElementById('chart-steps').curves?.[0].y.length === 128")
    lines = page.locator("#log li").all_inner_texts()
    assert len(lines) == len(set(lines))


def hide(page: Page, *, hidden: bool) -> None:
    page.evaluate(
        """hidden => {
            const value = hidden ? "hidden" : "visible";
            Object.defineProperty(document, "visibilityState", {value, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_a_running_run_is_cancelled_from_its_page(page: Page, server: Server):
    run_id = server.submit(**SMALL, epochs=500)
    page.goto(f"{server.url}/runs/{run_id}")
    wait_until(page, "document.getElementById('chart-accuracy').dataset.lastEpoch >= 1")
    page.get_by_role("button", name="Cancel run").click()
    expect(page.locator(".run-title .badge")).to_have_text("cancelled", timeout=5000)
    expect(page.locator("#notice")).to_contain_text("Cancelled after")
    assert page.locator("#epochs tr").count() >= 1


def test_a_bad_form_says_what_is_wrong_where_it_is(page: Page, server: Server):
    page.allowed = ["422"]  # type: ignore[attr-defined]
    before = server.get("/api/v1/runs")["total"]
    page.goto(f"{server.url}/runs/new")
    fill_small(page, name=EVIL, epochs="many", lr="-1")
    page.get_by_role("button", name="Start run").click()
    expect(page.locator("#errors")).to_be_focused()
    expect(page.locator("#errors")).to_contain_text("2 fields need another value")
    expect(page.locator("#error-epochs")).to_have_text("Must be a whole number.")
    expect(page.locator("#field-epochs")).to_have_value("many")
    expect(page.locator("#field-name")).to_have_value(EVIL)
    page.get_by_role("link", name=re.compile("^Learning rate")).click()
    expect(page.locator("#field-lr")).to_be_focused()
    assert server.get("/api/v1/runs")["total"] == before


def test_two_runs_are_ticked_and_compared(page: Page, server: Server):
    ids = [server.submit(**QUICK, epochs=2, lr=lr, name=f"lr {lr}", tags=["compared"]) for lr in (0.001, 0.003)]
    for run_id in ids:
        server.wait_for(run_id, "finished")
    page.goto(f"{server.url}/runs?q=compared")
    expect(page.get_by_role("button", name="Compare")).to_be_hidden()
    for run_id in ids:
        page.locator(f"tr[data-run-id='{run_id}'] input").check()
    page.get_by_role("button", name="Compare 2").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare 2 runs")
    wait_until(page, "document.getElementById('chart-val_accuracy').dataset.curves === '2'")
    expect(page.locator("#differences tbody tr")).to_have_count(1)
    expect(page.locator("#differences tbody tr")).to_contain_text("Learning rate")


def test_the_table_changes_live_and_keeps_ticks_and_focus(page: Page, server: Server):
    old = server.submit(**QUICK, epochs=1, name="old", tags=["live"])
    server.wait_for(old, "finished")
    page.goto(f"{server.url}/runs?q=live")
    tick = page.locator(f"tr[data-run-id='{old}'] input")
    tick.check()
    tick.focus()
    page.evaluate("window.stillHere = true")
    new = server.submit(**SMALL, epochs=3, name="new", tags=["live"])
    row = page.locator(f"tr[data-run-id='{new}']")
    expect(row).to_be_visible()
    expect(row.locator(".badge")).to_have_text("running")
    expect(row.locator(".badge")).to_have_text("finished")
    expect(row).to_contain_text("3 / 3")
    expect(page.locator("tbody tr").first).to_have_attribute("data-run-id", str(new))
    expect(tick).to_be_checked()
    expect(tick).to_be_focused()
    assert page.evaluate("window.stillHere")
    unrelated = server.submit(**QUICK, epochs=1, name="other")
    server.wait_for(unrelated, "finished")
    expect(page.locator(f"tr[data-run-id='{unrelated}']")).to_have_count(0)


def test_a_column_sorts_by_its_heading(page: Page, server: Server):
    for lr in (0.002, 0.02, 0.0002):
        run_id = server.submit(**QUICK, epochs=1, lr=lr, tags=["sorted"])
        server.wait_for(run_id, "finished")
    page.goto(f"{server.url}/runs?q=sorted")
    page.get_by_role("link", name="LR").click()
    expect(page.locator("th[aria-sort]")).to_have_attribute("aria-sort", "descending")
    assert page.locator("tbody tr td:nth-child(7)").all_inner_texts() == ["0.02", "0.002", "0.0002"]
    page.get_by_role("link", name="LR").click()
    expect(page.locator("th[aria-sort]")).to_have_attribute("aria-sort", "ascending")
    assert page.locator("tbody tr td:nth-child(7)").all_inner_texts() == ["0.0002", "0.002", "0.02"]


def test_a_run_is_deleted_after_a_confirmation(page: Page, server: Server):
    run_id = server.submit(**QUICK, epochs=1, name="to be deleted")
    server.wait_for(run_id, "finished")
    page.goto(f"{server.url}/runs/{run_id}")
    page.get_by_role("link", name="Delete").click()
    dialog = page.get_by_role("dialog", name="Delete “to be deleted”?")
    dialog.get_by_role("button", name="Keep it").click()
    expect(dialog).to_be_hidden()
    page.get_by_role("link", name="Delete").click()
    dialog.get_by_role("button", name="Delete run").click()
    expect(page).to_have_url(f"{server.url}/runs")
    assert page.goto(f"{server.url}/runs/{run_id}").status == 404  # type: ignore[union-attr]
    page.allowed = ["404"]  # type: ignore[attr-defined]


def test_a_run_is_run_again_with_its_settings(page: Page, server: Server):
    run_id = server.submit(**QUICK, epochs=1, lr=0.004, name="the first")
    server.wait_for(run_id, "finished")
    page.goto(f"{server.url}/runs/{run_id}")
    page.get_by_role("link", name="Change and run").click()
    expect(page.locator("#field-lr")).to_have_value("0.004")
    page.locator("#field-name").fill("the second")
    page.get_by_role("button", name="Start run").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("the second")
    second = int(page.url.rpartition("/")[2])
    assert server.run(second)["config"] == server.run(run_id)["config"]


def test_text_from_people_is_inert_everywhere(page: Page, server: Server):
    run_id = server.submit(**QUICK, epochs=1, name=EVIL[:100], tags=["<i>", "x"], notes=EVIL)
    server.wait_for(run_id, "finished")
    for path in (
        f"/runs/{run_id}",
        "/runs",
        f"/compare?runs={run_id}",
        f"/runs/new?from={run_id}",
        f"/runs/{run_id}/delete",
    ):
        page.goto(server.url + path)
        page.wait_for_load_state("networkidle" if "compare" in path else "load")
        assert page.evaluate("window.broken") is None
    page.goto(f"{server.url}/compare?runs={run_id}")
    wait_until(page, "document.getElementById('chart-val_loss').dataset.curves === '1'")
    page.locator("#chart-val_loss").hover()
    expect(page.locator("#chart-val_loss .readout")).to_contain_text(EVIL[:100])
    assert page.evaluate("window.broken") is None


@pytest.mark.parametrize("width", [390, 1440])
def test_no_page_is_wider_than_its_window(browser: Browser, server: Server, wordy: int, width: int):
    narrow = browser.new_page(viewport={"width": width, "height": 800})
    for path in (
        "/runs",
        "/runs/new",
        "/runs/new?preset=accurate-resnet",
        "/datasets",
        "/datasets/fashion-mnist",
        "/datasets/fashion-mnist/train/7",
        f"/runs/{wordy}",
        f"/runs/{wordy}/hard",
        f"/runs/{wordy}/try",
        f"/compare?runs={wordy}",
        "/nothing",
        f"/runs/{wordy}/delete",
    ):
        narrow.goto(server.url + path)
        assert narrow.evaluate("document.documentElement.scrollWidth") <= width, path
    narrow.close()


def test_numbers_that_come_live_look_as_the_server_writes_them(page: Page, server: Server):
    page.goto(f"{server.url}/runs")
    numbers = [
        0.0,
        0.001,
        0.0001,
        0.00005,
        1e-05,
        1.5e-7,
        0.1234567,
        1.0,
        90.0,
        99_999.9,
        123_456.7,
        1e6,
        2.5e12,
        -0.00002,
    ]
    module = page.evaluate("document.querySelector('script[type=module]').src.replace(/js\\/.*/, 'js/format.js')")
    for name, written in (("general", pages.general), ("duration", pages.duration), ("percent", pages.percent)):
        live = page.evaluate(
            "async ([module, name, numbers]) => numbers.map((await import(module)).format[name])",
            [module, name, numbers],
        )
        assert live == [written(number) for number in numbers], name


def test_the_theme_is_chosen_and_kept(page: Page, server: Server):
    page.emulate_media(color_scheme="light")
    page.goto(f"{server.url}/runs")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    button = page.get_by_role("button", name="Theme")
    button.click()
    button.click()
    expect(button).to_contain_text("dark")
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light


def test_without_javascript_a_run_is_started_and_seen(browser: Browser, server: Server):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{server.url}/runs/new")
    for name, value in (QUICK | {"epochs": 1, "name": "plain"}).items():
        page.locator(f"#field-{name}").fill(str(value))
    page.get_by_role("button", name="Start run").click()
    run_id = int(page.url.rpartition("/")[2])
    server.wait_for(run_id, "finished")
    page.reload()
    expect(page.locator("#epochs tr")).to_have_count(1)
    expect(page.locator("[data-predictions] figure")).to_have_count(40)
    context.close()
