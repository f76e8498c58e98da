"""A real, headless Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

# Without these Chromium asks the network for updates and variations at every start.
QUIET = (
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-gpu",
    "--disable-quic",
)


class ChromiumMissing(RuntimeError):
    """No Chromium was found; install Debian's package `chromium`, or name one in FITROOM_CHROMIUM."""


def chromium_path() -> str:
    found = os.environ.get("FITROOM_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        raise ChromiumMissing(ChromiumMissing.__doc__)
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=[*QUIET, *sandbox])
        try:
            yield browser
        finally:
            browser.close()
