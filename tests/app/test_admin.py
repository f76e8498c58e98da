"""Users and the audit trail in the browser: for admins only, and never without one left."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from app.guarding import audit, people
from app.models import Role
from tests.app import test_access
from tests.app.test_access import PASSWORD, TOKEN, asked, sign_in

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from app.config import Settings
    from app.db import Database
    from tests.conftest import FakeClock

guarded = test_access.guarded

ADMINS_ONLY = (
    ("GET", "/users"),
    ("POST", "/users"),
    ("POST", "/users/ann-viewer/role"),
    ("POST", "/users/ann-viewer/sign-out"),
    ("GET", "/users/ann-viewer/password"),
    ("POST", "/users/ann-viewer/password"),
    ("GET", "/users/ann-viewer/remove"),
    ("POST", "/users/ann-viewer/remove"),
    ("GET", "/audit"),
)


@pytest.mark.parametrize("role", ["viewer", "trainer"])
def test_only_admins_keep_users_and_see_the_audit_trail(guarded: TestClient, role: str):
    sign_in(guarded, role)
    for method, path in ADMINS_ONLY:
        answer = guarded.request(method, path, data={"role": "admin"} if method == "POST" else None)
        assert answer.status_code == 403, (method, path)
        assert f"You are signed in as ann-{role}" in answer.text
    page = guarded.get("/runs").text
    assert "/status" in page
    assert "/users" not in page


def test_an_admin_adds_a_user_who_may_then_come_in(guarded: TestClient):
    sign_in(guarded, "admin")
    assert 'href="/users"' in guarded.get("/runs").text
    answer = guarded.post("/users", data={"name": "Bob", "password": PASSWORD, "role": "viewer"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/users")
    assert "bob" in guarded.get("/users").text
    guarded.cookies.clear()
    assert guarded.post("/login", data={"name": "bob", "password": PASSWORD}).status_code == 303
    assert guarded.post("/api/v1/runs", json={}).status_code == 403


@pytest.mark.parametrize(
    ("values", "field", "text"),
    [
        ({"name": "a b", "password": PASSWORD, "role": "viewer"}, "name", "cannot be a user"),
        ({"name": "ann-viewer", "password": PASSWORD, "role": "viewer"}, "name", "already"),
        ({"name": "bob", "password": "short", "role": "viewer"}, "password", "10 to 1,024"),
        ({"name": "bob", "password": PASSWORD, "role": "king"}, "role", "Choose one of the roles."),
        ({}, "role", "Choose one of the roles."),
    ],
)
def test_a_user_who_cannot_be_is_refused_beside_the_field(
    guarded: TestClient, values: dict[str, str], field: str, text: str
):
    sign_in(guarded, "admin")
    answer = guarded.post("/users", data=values)
    assert answer.status_code == 422
    assert text in re.findall(rf'<p class="error" id="{field}-error"[^>]*>(.*?)</p>', answer.text)[0]
    assert PASSWORD not in answer.text
    assert "bob" not in guarded.get("/users").text


def test_a_role_is_changed_and_counts_from_the_next_request_on(guarded: TestClient):
    sign_in(guarded, "viewer")
    viewer = guarded.cookies["fitroom-80"]
    guarded.cookies.clear()
    sign_in(guarded, "admin")
    guarded.post("/users/ann-viewer/role", data={"role": "trainer"})
    guarded.cookies.clear()
    guarded.cookies.set("fitroom-80", viewer)
    assert guarded.post("/api/v1/runs", json={"epochs": 1}).status_code == 201


@pytest.mark.parametrize("action", ["sign-out", "remove"])
def test_signing_out_and_removing_a_user_end_what_the_user_is_signed_in_with(guarded: TestClient, action: str):
    sign_in(guarded, "viewer")
    viewer = guarded.cookies["fitroom-80"]
    guarded.cookies.clear()
    sign_in(guarded, "admin")
    assert guarded.post(f"/users/ann-viewer/{action}").status_code == 303
    assert ("ann-viewer" in guarded.get("/users").text) is (action == "sign-out")
    guarded.cookies.clear()
    guarded.cookies.set("fitroom-80", viewer)
    assert guarded.get("/runs").status_code == 303


def test_before_a_user_is_removed_it_is_said_what_ends_and_what_stays(
    guarded: TestClient, db: Database, clock: FakeClock
):
    sign_in(guarded, "trainer")
    for name in ("first", "second", "third"):
        guarded.post("/runs", data={"name": name, "epochs": "1"})
    guarded.post("/runs/3/cancel")
    guarded.post("/runs/3/delete")
    guarded.post("/runs/views", data={"name": "mine", "address": "/runs?status=failed"})
    with db.write() as session:
        people.api_token(session, "ann-trainer", now=clock())
    guarded.cookies.clear()
    sign_in(guarded, "admin")
    told = words(guarded.get("/users/ann-trainer/remove").text)
    assert "at once 1 browser is signed out and 1 API token ends." in told
    assert "2 runs that ann-trainer started" in told
    assert "1 saved view of the table" in told
    guarded.post("/users/ann-trainer/remove")
    assert guarded.get("/api/v1/runs").json()["total"] == 2
    assert "mine" in guarded.get("/runs").text
    assert trail(guarded, "/audit?who=ann-trainer&action=started")[0] != []
    assert "There is no user ann-trainer." in guarded.get("/users/ann-trainer/remove").text
    assert "This is you." in guarded.get("/users/ann-admin/remove").text
    told = words(guarded.get("/users/ann-viewer/remove").text)
    assert "can then no longer sign in. What ann-viewer did stays:" in told
    assert "run that" not in told
    assert "saved view" not in told


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page.partition("<main")[2]).split()).replace(" .", ".")


def test_an_admin_sets_a_new_password_for_who_has_forgotten_theirs(guarded: TestClient):
    new = "an entirely new password"
    sign_in(guarded, "viewer")
    viewer = guarded.cookies["fitroom-80"]
    guarded.cookies.clear()
    sign_in(guarded, "admin")
    answer = guarded.post("/users/ann-viewer/password", data={"password": "short"})
    assert answer.status_code == 422
    assert "10 to 1,024" in answer.text
    assert guarded.post("/users/ann-viewer/password", data={"password": new}).headers["location"] == "/users"
    assert "There is no user bob." in guarded.post("/users/bob/password", data={"password": new}).text
    assert trail(guarded, "/audit?action=password")[0][0][2:] == ["ann-admin", "password", "user", "ann-viewer"]
    guarded.cookies.clear()
    guarded.cookies.set("fitroom-80", viewer)
    assert guarded.get("/runs").status_code == 303, "what was signed in before has ended"
    guarded.cookies.clear()
    assert guarded.post("/login", data={"name": "ann-viewer", "password": PASSWORD}).status_code == 403
    assert guarded.post("/login", data={"name": "ann-viewer", "password": new}).status_code == 303


def test_an_admins_own_password_is_not_changed_without_the_old_one(guarded: TestClient):
    sign_in(guarded, "admin")
    for answer in (
        guarded.get("/users/ann-admin/password"),
        guarded.post("/users/ann-admin/password", data={"password": "an entirely new password"}),
    ):
        assert (answer.status_code, answer.headers["location"]) == (303, "/account")
    guarded.cookies.clear()
    sign_in(guarded, "admin")


def test_the_last_admin_stays_one_where_no_token_could_mend_it(
    db: Database, home_with_data: Settings, clock: FakeClock
):
    with db.write() as session:
        people.add(session, "ann-admin", PASSWORD, Role.ADMIN, now=clock())
        people.add(session, "bob", PASSWORD, Role.VIEWER, now=clock())
    with asked(home_with_data, clock) as client:
        sign_in(client, "admin")
        for path, data in (("remove", None), ("role", {"role": "viewer"})):
            answer = client.post(f"/users/ann-admin/{path}", data=data)
            assert answer.status_code == 422
            assert "ann-admin is the only admin." in answer.text
        assert "Make another user an admin first." in client.get("/users/ann-admin/remove").text
        client.post("/users/bob/role", data={"role": "admin"})
        assert client.post("/users/ann-admin/role", data={"role": "viewer"}).status_code == 303
        assert client.get("/users").status_code == 403


def test_a_server_with_a_token_takes_the_first_password_without_a_restart(home_with_data: Settings, clock: FakeClock):
    with asked(home_with_data, clock, token=TOKEN) as client:
        assert 'name="password"' not in client.get("/login").text
        client.get(f"/login?token={TOKEN}")
        client.post("/users", data={"name": "ann-admin", "password": PASSWORD, "role": "admin"})
        client.cookies.clear()
        assert 'name="password"' in client.get("/login").text
        sign_in(client, "admin")


def test_an_open_server_says_from_when_on_its_users_count(home_with_data: Settings, clock: FakeClock):
    with asked(home_with_data, clock) as client:
        assert "lets in whoever is on this machine" in client.get("/users").text
        client.post("/users", data={"name": "ann", "password": PASSWORD, "role": "admin"})
        assert "from its next start on" in client.get("/users").text


@pytest.mark.parametrize("name", ["..", "%2e%2e", "Ann", "a%2fb", "a" * 41, "%00"])
def test_an_address_that_is_no_users_name_leads_nowhere(guarded: TestClient, name: str):
    sign_in(guarded, "admin")
    assert guarded.post(f"/users/{name}/remove").status_code in (404, 405)


def test_what_admins_do_to_users_is_in_the_audit_trail_with_who_did_it(guarded: TestClient, db: Database):
    sign_in(guarded, "admin")
    guarded.post("/users", data={"name": "bob", "password": PASSWORD, "role": "viewer"})
    guarded.post("/users/bob/role", data={"role": "trainer"})
    guarded.post("/users/bob/sign-out")
    guarded.post("/users/bob/remove")
    with db.read() as session:
        told = [(entry.who, entry.action, entry.detail) for entry in audit.newest(session, 4)]
    assert told[::-1] == [
        ("ann-admin", "add", "user bob, viewer"),
        ("ann-admin", "role", "user bob, trainer"),
        ("ann-admin", "sign-out", "user bob"),
        ("ann-admin", "remove", "user bob"),
    ]


def trail(client: TestClient, address: str) -> tuple[list[list[str]], str | None]:
    """The rows, and the address of the older ones."""
    page = client.get(address)
    assert page.status_code == 200
    body = page.text.partition("<tbody>")[2].partition("</tbody>")[0]
    rows = [re.sub(r"<[^>]*>", " ", row).split() for row in body.split("<tr>")[1:]]
    older = re.search(r'href="([^"]*)" rel="next"', page.text)
    return rows, older[1].replace("&amp;", "&") if older else None


def test_the_audit_trail_is_paged_and_narrowed(client: TestClient, db: Database, clock: FakeClock):
    with db.write() as session:
        for number in range(1, 121):
            audit.note(
                session, "ann" if number % 2 else "bob", "started", now=clock(), run_id=number, detail="<b>x</b>"
            )
        audit.note(session, "ann", "cancelled", now=clock(), run_id=7)
    rows, older = trail(client, "/audit")
    seen = rows
    while older:
        rows, older = trail(client, older)
        seen += rows
    assert len(seen) == 121
    assert [row[4] for row in seen] == ["7", *(str(number) for number in range(120, 0, -1))]
    assert len(trail(client, "/audit?who=bob")[0]) == 50
    assert [row[4] for row in trail(client, "/audit?run=7")[0]] == ["7", "7"]
    assert [row[3] for row in trail(client, "/audit?who=ann&action=cancelled&run=")[0]] == ["cancelled"]
    assert trail(client, "/audit?who=nobody")[0] == []
    assert client.get("/audit?run=x").status_code == 422
    assert "<b>x" not in client.get("/audit").text
