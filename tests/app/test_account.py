"""One's own password in the browser: the old one is asked for, and what else was signed in ends."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from app.guarding import audit, people
from app.guarding.throttle import FREE_TRIES
from app.models import Role
from tests.app import test_access
from tests.app.test_access import PASSWORD, TOKEN, sign_in, tries_until_one_has_to_wait

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from app.db import Database
    from tests.conftest import FakeClock

guarded = test_access.guarded

NEW = "an entirely new password"
CHANGE = {"old": PASSWORD, "new": NEW, "again": NEW}
COOKIE = "fitroom-80"


def status(client: TestClient, cookie: str) -> int:
    client.cookies.clear()
    client.cookies.set(COOKIE, cookie)
    return client.get("/runs").status_code


@pytest.mark.parametrize("role", list(Role))
def test_who_changes_the_password_stays_in_and_everything_else_of_theirs_ends(
    guarded: TestClient, db: Database, clock: FakeClock, role: str
):
    name = f"ann-{role}"
    with db.write() as session:
        api = people.api_token(session, name, now=clock())
    sign_in(guarded, role)
    elsewhere = guarded.cookies[COOKIE]
    guarded.cookies.clear()
    sign_in(guarded, role)
    before = guarded.cookies[COOKIE]
    answer = guarded.post("/account", data=CHANGE)
    assert (answer.status_code, answer.headers["location"]) == (303, "/account?changed=password")
    assert "Your password is changed." in guarded.get(answer.headers["location"]).text
    here = guarded.cookies[COOKIE]
    assert [status(guarded, cookie) for cookie in (here, before, elsewhere)] == [200, 303, 303]
    guarded.cookies.clear()
    assert guarded.get("/api/v1/runs", headers={"Authorization": f"Bearer {api}"}).status_code == 401
    assert guarded.post("/login", data={"name": name, "password": PASSWORD}).status_code == 403
    assert guarded.post("/login", data={"name": name, "password": NEW}).status_code == 303
    with db.read() as session:
        told = [(entry.who, entry.action, entry.detail) for entry in audit.newest(session, 2)]
    assert told[1] == (name, "password", f"user {name}")


@pytest.mark.parametrize(
    ("changed", "field", "text"),
    [
        ({"old": "a wrong password"}, "old", "This is not your password."),
        ({"new": "short", "again": "short"}, "new", "10 to 1,024"),
        ({"again": "another new password"}, "again", "not the same"),
        ({"old": "", "new": "", "again": ""}, "old", "This is not your password."),
    ],
)
def test_what_is_wrong_is_told_beside_the_field_and_changes_nothing(
    guarded: TestClient, changed: dict[str, str], field: str, text: str
):
    sign_in(guarded, "viewer")
    answer = guarded.post("/account", data=CHANGE | changed)
    assert answer.status_code == 422
    assert text in re.findall(rf'<p class="error" id="{field}-error"[^>]*>(.*?)</p>', answer.text)[0]
    assert NEW not in answer.text
    assert PASSWORD not in answer.text
    assert guarded.get("/runs").status_code == 200
    guarded.cookies.clear()
    sign_in(guarded, "viewer")


def test_who_guesses_the_old_password_on_an_open_page_has_to_wait(guarded: TestClient):
    sign_in(guarded, "viewer")
    wrong = CHANGE | {"old": "a wrong password"}
    assert tries_until_one_has_to_wait(lambda: guarded.post("/account", data=wrong)) >= FREE_TRIES


def test_who_came_in_by_the_token_has_no_password_to_change(guarded: TestClient):
    guarded.get(f"/login?token={TOKEN}")
    assert "Change your password" not in guarded.get("/account").text
    assert guarded.post("/account", data=CHANGE).status_code == 403
