"""Pictures of every page, wide and narrow, light and dark: `make screenshots` writes docs/images/*.webp.

Real runs on the real data make them: one finished, one cancelled, one that diverged, one that trains meanwhile.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
import urllib.request
import zipfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page

from app.config import ROOT
from tools.browser import chromium
from tools.server import Server, fitroom, serving
from trainer import sources

WIDTHS = {"wide": 1440, "narrow": 390}
THEMES = ("light", "dark")
MOST_BYTES = 200_000
TALLEST = 6000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--data-dir", type=Path, default=ROOT / "var" / "data")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as home,
        serving(Path(home), arguments.data_dir) as server,
        chromium() as browser,
    ):
        shoot(browser, server, arguments.out, {"runs-empty": "/runs"})
        shoot(browser, server, arguments.out, make_runs(server))


def make_runs(server: Server) -> dict[str, str]:
    """A store worth a picture; the address of each page by its name."""
    small = {"train_size": 6000, "val_size": 2000}
    first = server.submit(name="tutorial, small", epochs=6, tags=["baseline"], **small)
    second = server.submit(name="higher learning rate", epochs=6, lr=0.003, dropout=0.1, tags=["sweep", "lr"], **small)
    wild = server.submit(
        name="far too high a learning rate", epochs=3, lr=10.0, optimizer="sgd", tags=["sweep"], **small
    )
    stopped = server.submit(name="stopped early", epochs=50, **small)
    for run_id in (first, second):
        server.wait_for(run_id, "finished", within=300)
    server.wait_for(wild, "failed", "finished", within=300)
    server.wait_for_epoch(stopped, 2)
    server.post(f"/api/v1/runs/{stopped}/cancel")
    server.wait_for(stopped, "cancelled")
    running = server.submit(
        name="tutorial, longer", epochs=300, tags=["baseline"], notes="Does it still learn?", **small
    )
    queued = server.submit(name="adamw", optimizer="adamw", epochs=20)
    server.wait_for_epoch(running, 6)
    user = "ann"
    fitroom(server.home, "user", "add", user, typed="a long enough password\n")
    return {
        "runs": "/runs",
        "runs-grouped": "/runs?group=config_key&cols=name,status,lr,epochs,best_val_accuracy,val_loss,duration_s",
        "runs-filtered": "/runs?filter=lr+%3C+0.01+and+tag+in+(baseline,+lr)&sort=-best_val_accuracy,lr",
        "edit": f"/runs/{first}/edit",
        "new": "/runs/new",
        "run": f"/runs/{first}",
        "run-live": f"/runs/{running}",
        "run-failed": f"/runs/{wild}",
        "run-queued": f"/runs/{queued}",
        "mistakes": f"/runs/{first}?show=mistakes",
        "compare": f"/compare?runs={first}&runs={second}&runs={stopped}",
        "compare-groups": f"/compare?runs={first},{second},{stopped}&show=val_accuracy&group=lr&x=time&smooth=0.6",
        "report": f"/compare/report?runs={first},{second},{stopped}",
        "pair": f"/compare/images?runs={first}&runs={second}",
        "hard": f"/runs/{first}/hard",
        "try": f"/runs/{first}/try",
        "dataset": "/datasets/fashion-mnist",
        "image": "/datasets/fashion-mnist/train/0",
        "duplicates": "/datasets/fashion-mnist/duplicates",
        "datasets": "/datasets",
        "bring": "/datasets/new",
        "upload": bring(server),
        "import": "/import",
        "import-preview": bring_history(server),
        "imported": f"/runs/{imported(server, first)}",
        "api": "/api",
        "status": "/status",
        "users": "/users",
        "user-password": f"/users/{user}/password",
        "user-remove": f"/users/{user}/remove",
        "audit": "/audit",
        "missing": "/runs/999",
    }


def bring(server: Server) -> str:
    """An upload that waits to be kept: folders of real images, of which some are in both splits."""
    data = sources.load("fashion-mnist", "train", server.home / "data")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for place in range(400):
            picture = io.BytesIO()
            Image.fromarray(data.images[place % 390, :, :, 0]).save(picture, "png")
            name = data.classes[data.labels[place % 390]].replace("/", "-")
            archive.writestr(f"{name}/{place}.png", picture.getvalue())
    content = packed.getvalue()
    told = server.post("/api/v1/uploads", {"name": "own", "files": [{"filename": "own.zip", "size": len(content)}]})
    headers = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    url = server.url + told["files"][0]["url"]
    urllib.request.urlopen(urllib.request.Request(url, content, headers, method="PATCH"), timeout=30).close()
    while server.get(f"/api/v1/uploads/{told['id']}")["reading"]["stage"] not in ("ready", "failed"):
        time.sleep(0.05)
    return f"/datasets/uploads/{told['id']}"


def bring_history(server: Server) -> str:
    """A table of past runs that waits to be imported."""
    lines = ["name,lr,batch_size,optimizer,val_acc,gpu"]
    lines += [f"past run {number},{0.001 * number:g},64,Adam,{80 + number},A100" for number in range(1, 9)]
    head = '--part\r\nContent-Disposition: form-data; name="files"; filename="old runs.csv"\r\n\r\n'
    body = (head + "\n".join(lines) + "\r\n--part--\r\n").encode()
    headers = {"Content-Type": "multipart/form-data; boundary=part"}
    with urllib.request.urlopen(urllib.request.Request(f"{server.url}/import", body, headers), timeout=30) as answer:
        return str(answer.geturl()).removeprefix(server.url)


def imported(server: Server, run_id: int) -> int:
    """The same run once more, by way of TensorBoard."""
    logs = server.home / "logs"
    for arguments in (("export", str(run_id), "--tensorboard", str(logs)), ("import", "tensorboard", str(logs))):
        done = fitroom(server.home, *arguments)
        if done.returncode:
            raise RuntimeError(done.stderr)
    return int(server.get("/api/v1/runs?filter=source+%3D+tensorboard")["runs"][0]["id"])


def shoot(browser: Browser, server: Server, out: Path, pages: dict[str, str]) -> None:
    for theme in THEMES:
        for size, width in WIDTHS.items():
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=theme, reduced_motion="reduce"
            )
            page = context.new_page()
            for name, address in pages.items():
                take(page, server.url + address, out / f"{name}-{size}-{theme}.webp")
            context.close()


def take(page: Page, url: str, path: Path) -> None:
    page.goto(url)
    page.wait_for_load_state("load")
    if page.locator("[data-plotly]").count():
        page.locator(".chart .main-svg").first.wait_for()
    if page.locator("#comparison").count():
        page.locator("figure:not([hidden]) .chart[data-curves]").last.wait_for()
    if page.locator("#file").count():
        picture = page.request.get(f"{url.partition('/runs')[0]}/datasets/fashion-mnist/val/images/0.png").body()
        page.locator("#file").set_input_files({"name": "boot.png", "mimeType": "image/png", "buffer": picture})
        page.locator("[data-result]").wait_for()
        page.locator("[data-layer] summary").click()
    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    if overflow > 0:
        print(f"{path.name}: the page is {overflow} px wider than the window")
    _save(page.screenshot(full_page=True), path)


def _save(png: bytes, path: Path) -> None:
    """As WebP, in the best quality that keeps it under `MOST_BYTES`."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    # WebP ends at 16,383 pixels, and nobody looks that far down: the page of the API is longer.
    picture = picture.crop((0, 0, picture.width, min(picture.height, TALLEST)))
    for quality in (82, 70, 55, 40, 25):
        picture.save(path, quality=quality, method=6)
        if path.stat().st_size < MOST_BYTES:
            break
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    main()
