"""Addresses hold ids, never paths: no spelling of one leads to a file that is not served."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

from app.config import Settings
from app.main import create_app
from app.routes import assets
from tests.app.test_access import all_routes
from tests.loops import in_a_loop
from tools.server import link_fashion_mnist

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi import FastAPI


HOSTILE = (
    "..",
    "../..",
    "../../../../etc/passwd",
    "%2e%2e",
    "%2e%2e%2f%2e%2e%2fapp%2fmain.py",
    "%252e%252e",
    "..%5c..%5capp%5cmain.py",
    "%23",
    "a%23b",
    "%00",
    "fitroom.db%00.png",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "js/run.js%00",
    "~root",
    "-1",
    "0x1",
    "1e3",
    "%ff%fe",
    "%e2%80%ae",
    "CON",
    "a" * 5000,
    "9" * 400,
)


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Iterator[FastAPI]:
    home = tmp_path_factory.mktemp("paths")
    link_fashion_mnist(home / "data", data_dir)
    app = create_app(Settings(home=home, workers=0))
    yield app
    state = app.state.fitroom
    state.live.close()
    state.db.close()


def status_of(app: FastAPI, method: str, raw: str) -> int:
    """As uvicorn hands it over: the path decoded once, nothing made simpler."""
    sent: list[dict[str, Any]] = []

    incoming = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not incoming:
            await asyncio.Event().wait()  # a client that stays
        return incoming.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw),
        "raw_path": raw.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    in_a_loop(app(scope, receive, send))
    return int(sent[0]["status"])


def with_parameters() -> list[tuple[str, str]]:
    """Each route that has one, for every parameter in turn: with @ where the hostile text goes, 1 for all others."""
    found = []
    for method, path in all_routes():
        names = re.findall(r"\{[^}]*\}", path)
        # Any version's address serves today's file, and an event stream asks for a number as all do.
        for name in names:
            if name != "{version}" or not path.startswith("/static/"):
                found.append((method, re.sub(r"\{[^}]*\}", "1", path.replace(name, "@"))))
    return sorted(set(found))


def test_every_route_with_a_parameter_is_among_those_asked():
    asked = with_parameters()
    assert ("GET", "/runs/@") in asked
    assert ("GET", "/static/1/@") in asked
    assert ("DELETE", "/api/v1/runs/@") in asked
    assert ("GET", "/datasets/@/1/images/1.png") in asked
    assert len(asked) > 40


@pytest.mark.parametrize(("method", "path"), with_parameters())
def test_a_hostile_text_in_an_address_leads_nowhere(application: FastAPI, method: str, path: str):
    found = {text[:40]: status_of(application, method, path.replace("@", text)) for text in HOSTILE}
    # What has a body may be told first that the body is wrong.
    expected = {404, 405} if method in ("GET", "HEAD", "DELETE") else {400, 404, 405, 422}
    assert {text: status for text, status in found.items() if status not in expected} == {}


def test_a_link_under_static_that_leads_out_is_not_followed(
    application: FastAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    served, secret = tmp_path / "static", tmp_path / "secret.txt"
    served.mkdir()
    secret.write_text("secret")
    (served / "plain.css").write_text("a {}")
    (served / "inside.css").symlink_to(served / "plain.css")
    (served / "outside.txt").symlink_to(secret)
    (served / "folder").symlink_to(tmp_path, target_is_directory=True)
    (served / "round").symlink_to(served / "round")
    monkeypatch.setattr(assets, "STATIC", served.resolve())
    expected = {
        "plain.css": 200,
        "inside.css": 200,
        "outside.txt": 404,
        "folder/secret.txt": 404,
        "round": 404,
        "": 404,
    }
    assert {path: status_of(application, "GET", f"/static/v/{path}") for path in expected} == expected
