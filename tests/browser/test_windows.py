"""Many windows of one browser side by side: all load, and all stay live, through one connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser.test_main_job import hide, wait_until
from tools.server import Server, serving

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page

SMALL = {"train_size": 512, "val_size": 200, "batch_size": 64}


def streams(server: Server) -> int:
    with server.open("/metrics") as answer:
        (line,) = [line for line in answer.read().decode().splitlines() if line.startswith("fitroom_streams ")]
    return int(float(line.split()[1]))


def test_eight_windows_side_by_side_load_and_stay_live_on_one_connection(
    browser: Browser, tmp_path: Path, data_dir: Path
):
    with serving(tmp_path / "home", data_dir) as server:
        finished = server.submit(**SMALL, epochs=1)
        server.wait_for(finished, "finished")
        run_id = server.submit(**SMALL, epochs=500)
        waiting = server.submit(**SMALL, epochs=2)
        context = browser.new_context()
        paths = [f"/runs/{run_id}"] * 4 + [
            "/runs",
            f"/runs/{waiting}",
            f"/compare?runs={finished}&runs={run_id}",
            "/runs",
        ]
        pages = [context.new_page() for _ in paths]
        for page, path in zip(pages, paths, strict=True):
            page.goto(server.url + path)
        assert all(page.evaluate("document.visibilityState") == "visible" for page in pages)
        done = server.wait_for_epoch(run_id, server.run(run_id)["epochs_done"] + 2)["epochs_done"]
        for page in pages[:4]:
            wait_until(page, f"document.getElementById('chart-accuracy').dataset.lastEpoch >= {done}")
        assert streams(server) == 1

        server.post(f"/api/v1/runs/{run_id}/cancel")
        for page in pages[:4]:
            expect(page.locator(".run-title .badge")).to_have_text("cancelled")
            assert_each_epoch_once(page)
        for page in (pages[4], pages[7]):
            expect(page.locator(f"tr[data-run-id='{run_id}'] .badge")).to_have_text("cancelled")
        expect(pages[5].locator(".run-title .badge")).to_have_text("finished")
        wait_until(pages[6], "document.querySelector('#comparison .badge[data-status=cancelled]') !== null")

        for page in pages:
            hide(page, hidden=True)
        wait_for_streams(server, 0, pages[0])
        again = server.submit(**SMALL, epochs=1, name="while nobody looked")
        server.wait_for(again, "finished")
        hide(pages[4], hidden=False)
        expect(pages[4].locator(f"tr[data-run-id='{again}'] .badge")).to_have_text("finished")
        context.close()
        gone = browser.new_page()
        wait_for_streams(server, 0, gone)
        gone.close()


def test_a_window_that_joins_while_others_hear_news_misses_nothing_of_before(page: Page, server: Server):
    run_id = server.submit(**SMALL, epochs=500)
    page.goto(f"{server.url}/runs/{run_id}")
    wait_until(page, "document.getElementById('chart-accuracy').dataset.lastEpoch >= 3")
    heard = page.evaluate(
        """async (address) => {
            const module = document.querySelector("script[type=module]").src.replace(/js\\/.*/, "js/stream.js");
            const { Stream } = await import(module);
            const join = () => new Promise((done) => {
                const epochs = [];
                const stream = new Stream(address, { epoch: ({ epoch }) => {
                    epochs.push(epoch);
                    if (epochs.length === 3) { stream.end(); done(epochs); }
                } });
            });
            const all = [];
            for (let i = 0; i < 20; i++) all.push(await join());
            return all;
        }""",
        f"/api/v1/runs/{run_id}/events?after=0",
    )
    server.post(f"/api/v1/runs/{run_id}/cancel")
    assert heard == [[1, 2, 3]] * 20


def assert_each_epoch_once(page: Page) -> None:
    epochs = page.locator("#epochs tr").evaluate_all("rows => rows.map(row => Number(row.dataset.epoch))")
    assert epochs == list(range(len(epochs), 0, -1))
    lines = page.locator("#log li").all_inner_texts()
    assert len(lines) == len(set(lines))


def wait_for_streams(server: Server, count: int, page: Page) -> None:
    for _ in range(600):
        if streams(server) == count:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{streams(server)} streams are open, not {count}")


def test_without_shared_workers_a_window_has_a_stream_of_its_own(browser: Browser, server: Server):
    run_id = server.submit(**SMALL, epochs=3)
    context = browser.new_context()
    context.add_init_script("delete globalThis.SharedWorker")
    page = context.new_page()
    page.goto(f"{server.url}/runs/{run_id}")
    expect(page.locator(".run-title .badge")).to_have_text("finished")
    wait_until(page, "document.getElementById('chart-accuracy').dataset.lastEpoch === '3'")
    context.close()
