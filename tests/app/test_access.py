"""Who is let in, by which name the server may be asked, and what each may do."""

from __future__ import annotations

import pkgutil
import sqlite3
from contextlib import closing, contextmanager
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

import app.routes
from app.config import Settings, SettingsError, load_settings, with_token
from app.db import Database
from app.guarding import people
from app.guarding.access import is_loopback
from app.guarding.people import LASTS, PeopleError
from app.guarding.throttle import FREE_TRIES, LONGEST_WAIT_S, MOST_KEYS, Throttle, Throttled
from app.main import create_app
from app.models import Role, User
from app.routes.account import _inside
from app.schema import migrate
from app.supervisor import environment
from tests.app.test_schema import old_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from httpx2 import Response

    from tests.conftest import FakeClock

TOKEN = "correct-horse-battery"
PASSWORD = "a long enough password"


@contextmanager
def asked(
    settings: Settings, clock: FakeClock, base_url: str = "http://localhost", **changes: Any
) -> Iterator[TestClient]:
    with TestClient(
        create_app(settings.model_copy(update=changes), clock=clock), base_url=base_url, follow_redirects=False
    ) as client:
        yield client


@cache
def hashed() -> str:
    """The password's hash, of the least cost: a real one is slow on purpose, and says itself how it was made."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


def tries_until_one_has_to_wait(ask: Callable[[], Response]) -> int:
    """How many are answered before; on a machine that is busy, so slowly that the first wait is over by then."""
    for number in range(20):
        if (answer := ask()).status_code == 429:
            assert int(answer.headers["retry-after"]) >= 1
            return number
    raise AssertionError("nobody has to wait")


@pytest.fixture
def guarded(home_with_data: Settings, clock: FakeClock) -> Iterator[TestClient]:
    """A server with a token and three users."""
    migrate(home_with_data.database)
    db = Database(home_with_data.database)
    with db.write() as session:
        for role in Role:
            session.add(User(name=f"ann-{role}", password_hash=hashed(), role=role, created_at=clock()))
    db.close()
    with asked(home_with_data, clock, token=TOKEN) as client:
        yield client


def sign_in(client: TestClient, role: str) -> None:
    answer = client.post("/login", data={"name": f"ann-{role}", "password": PASSWORD})
    assert answer.status_code == 303, answer.text


def routes(client: TestClient) -> list[tuple[str, str]]:
    """Every method and address that the application knows, with 1 for each number."""
    return [
        (method, path.replace("{run_id}", "1").replace("{", "").replace("}", ""))
        for method, path in all_routes(client.app.routes)  # type: ignore[attr-defined]
    ]


def all_routes(of: Sequence[Any] | None = None) -> list[tuple[str, str]]:
    """Every method and address, as declared; of all of `app.routes` unless told of which."""
    found: list[tuple[str, str]] = []
    pending = list(of) if of is not None else declared()
    while pending:
        route = pending.pop()
        inner = getattr(getattr(route, "original_router", None), "routes", None)
        if inner:
            pending.extend(inner)
        for method in getattr(route, "methods", None) or ():
            found.append((method, route.path))
    return found


def declared() -> list[Any]:
    modules = [import_module(f"app.routes.{found.name}") for found in pkgutil.iter_modules(app.routes.__path__)]
    return [route for module in modules if hasattr(module, "router") for route in module.router.routes]


def test_without_token_and_users_whoever_is_on_this_machine_is_let_in(home_with_data: Settings, clock: FakeClock):
    with asked(home_with_data, clock) as client:
        assert client.get("/runs").status_code == 200
        assert client.get("/login").headers["location"] == "/runs"
        assert "No sign-in needed" in client.get("/account").text


def test_no_address_tells_a_stranger_anything(guarded: TestClient):
    known = routes(guarded)
    assert {("GET", "/runs"), ("POST", "/api/v1/runs"), ("DELETE", "/api/v1/runs/1")} <= set(known)
    open_to_all = ("/healthz", "/readyz", "/login", "/favicon.ico", "/static/", "/assets/")
    for method, path in known:
        if path.startswith(open_to_all):
            continue
        answer = guarded.request(method, path)
        if method in ("GET", "HEAD") and not path.startswith(("/api/", "/metrics")):
            assert answer.status_code == 303, (method, path)
            assert answer.headers["location"].startswith("/login?next=/")
        else:
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["/login/../runs", "//runs", "/static/../runs", "/healthz/../api/v1/runs", "/LOGIN"])
def test_no_spelling_of_an_address_gets_round_the_sign_in(guarded: TestClient, path: str):
    answer = guarded.get(path)
    assert answer.status_code in (303, 401, 404)
    assert "fashion" not in answer.text.lower()


def test_the_link_with_the_token_signs_a_browser_in_and_leaves_the_token_behind(guarded: TestClient):
    answer = guarded.get(f"/login?token={TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert TOKEN not in cookie
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert guarded.get("/runs").status_code == 200
    assert "Signed in by the token" in guarded.get("/account").text


@pytest.mark.parametrize("tries", [1, FREE_TRIES + 1])
def test_a_link_with_a_wrong_token_leaves_it_behind_too(guarded: TestClient, tries: int):
    for _ in range(tries):
        answer = guarded.get("/login?token=wrong-token-wrong-token&next=/runs%3Fq=a")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/login?failed={'token' if tries == 1 else 'wait'}&next=%2Fruns%3Fq%3Da"
    assert answer.headers["referrer-policy"] == "no-referrer"
    page = guarded.get(answer.headers["location"])
    assert ("This is not the token." if tries == 1 else "Too many tries.") in page.text
    assert 'value="/runs?q=a"' in page.text


def test_over_https_the_cookie_is_for_https_only(home_with_data: Settings, clock: FakeClock):
    with asked(home_with_data, clock, "https://localhost", token=TOKEN) as client:
        assert "Secure" in client.get(f"/login?token={TOKEN}").headers["set-cookie"]


def test_after_the_sign_in_one_comes_to_where_one_wanted_to_go(guarded: TestClient):
    answer = guarded.get("/runs?status=failed&q=a%20b")
    page = guarded.get(answer.headers["location"])
    assert page.status_code == 200
    assert 'value="/runs?status=failed&amp;q=a%20b"' in page.text
    answer = guarded.post("/login", data={"token": TOKEN, "next": "/runs?status=failed&q=a%20b"})
    assert answer.headers["location"] == "/runs?status=failed&q=a%20b"


@pytest.mark.parametrize("wanted", ["https://evil.example", "//evil.example", "/\\evil.example", "/a\nb", "evil", ""])
def test_nobody_is_sent_to_another_server_after_the_sign_in(guarded: TestClient, wanted: str):
    assert guarded.post("/login", data={"token": TOKEN, "next": wanted}).headers["location"] == "/runs"


@given(st.text(max_size=40))
def test_an_address_to_go_on_to_is_always_inside(wanted: str):
    found = _inside(wanted)
    assert found.startswith("/")
    assert not found.startswith(("//", "/\\"))


def test_a_wrong_token_or_password_is_told_beside_the_field_and_nothing_of_it_is_shown(guarded: TestClient):
    answer = guarded.post("/login", data={"token": "wrong-token-wrong-token"})
    assert answer.status_code == 403
    assert "This is not the token." in answer.text
    assert "wrong-token" not in answer.text
    answer = guarded.post("/login", data={"name": "ann-viewer", "password": "wrong password"})
    assert answer.status_code == 403
    assert "Name or password is wrong." in answer.text
    assert guarded.get("/runs").status_code == 303


def test_a_name_that_nobody_has_is_answered_like_a_wrong_password(guarded: TestClient):
    answers = [
        guarded.post("/login", data={"name": name, "password": "wrong password"}) for name in ("ann-admin", "nobody")
    ]
    assert answers[0].status_code == answers[1].status_code == 403
    assert answers[0].text.replace("ann-admin", "nobody") == answers[1].text


def test_who_guesses_has_to_wait_and_the_right_password_waits_too(guarded: TestClient):
    def guess(password: str) -> Response:
        return guarded.post("/login", data={"name": "ann-admin", "password": password})

    assert tries_until_one_has_to_wait(lambda: guess("wrong password")) >= FREE_TRIES
    answer = guess(PASSWORD)
    assert answer.status_code == 429
    assert "Too many tries" in answer.text


def test_who_guesses_bearer_tokens_has_to_wait_too(guarded: TestClient):
    headers = {"Authorization": "Bearer guess"}
    assert tries_until_one_has_to_wait(lambda: guarded.get("/api/v1/runs", headers=headers)) >= FREE_TRIES


def test_while_an_address_has_to_wait_the_right_token_waits_too_and_users_tokens_do_not(
    guarded: TestClient, home_with_data: Settings, clock: FakeClock
):
    """Tokens of users are 256 random bits; the server's may be of somebody's choice."""
    db = Database(home_with_data.database)
    with db.write() as session:
        secret = people.api_token(session, "ann-viewer", now=clock())
    db.close()

    def ask(token: str) -> Response:
        return guarded.get("/api/v1/runs", headers={"Authorization": f"Bearer {token}"})

    throttle = guarded.app.state.fitroom.gate._throttle  # type: ignore[attr-defined]
    throttle._now = lambda: 0.0
    assert ask(TOKEN).status_code == 200
    assert [ask("guess").status_code for _ in range(FREE_TRIES + 1)] == [401] * FREE_TRIES + [429]
    assert [ask(TOKEN).status_code, ask(secret).status_code] == [429, 200]
    throttle._now = lambda: LONGEST_WAIT_S
    assert ask(TOKEN).status_code == 200


@pytest.mark.parametrize(("seconds", "told"), [(0.2, 1), (1.0, 1), (1.4, 2), (59.01, 60)])
def test_who_waits_as_told_has_waited_long_enough(seconds: float, told: int):
    assert Throttled(seconds).whole_seconds == told


def test_the_token_as_bearer_is_let_in_without_a_cookie(guarded: TestClient):
    answer = guarded.post("/api/v1/runs", json={"epochs": 1}, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 201
    assert "set-cookie" not in answer.headers


def test_a_viewer_looks_a_trainer_trains_and_each_is_told_so_in_words(guarded: TestClient):
    sign_in(guarded, "viewer")
    assert guarded.get("/runs").status_code == 200
    assert "New run" not in guarded.get("/account").text
    answer = guarded.post("/api/v1/runs", json={"epochs": 1})
    assert answer.status_code == 403
    assert answer.json()["detail"] == "You are signed in as ann-viewer, who may look but not change anything."
    assert guarded.post("/runs", data={"epochs": "1"}).status_code == 403
    assert guarded.post("/api/v1/network", json={}).status_code != 403
    sign_in(guarded, "trainer")
    assert guarded.post("/api/v1/runs", json={"epochs": 1}).status_code == 201
    assert guarded.post("/api/v1/runs/1/cancel").status_code == 200
    assert guarded.delete("/api/v1/runs/1").status_code == 204


def test_a_viewer_may_post_to_nothing_that_changes_something(guarded: TestClient):
    sign_in(guarded, "viewer")
    allowed = ("/predict", "/network", "/login", "/logout", "/account")
    refused = [(m, p) for m, p in routes(guarded) if m not in ("GET", "HEAD") and not p.endswith(allowed)]
    assert len(refused) >= 6
    assert {guarded.request(method, path).status_code for method, path in refused} == {403}


def test_a_sign_in_makes_a_new_cookie_and_a_made_up_one_is_worth_nothing(guarded: TestClient):
    name = "fitroom-80"
    guarded.cookies.set(name, "u.chosen-by-somebody-else")
    assert guarded.get("/runs").status_code == 303
    guarded.cookies.clear()
    first = guarded.get(f"/login?token={TOKEN}").cookies[name]
    second = guarded.get(f"/login?token={TOKEN}").cookies[name]
    assert first != second
    assert guarded.get("/runs").status_code == 200
    guarded.cookies.clear()
    guarded.cookies.set(name, first)
    assert guarded.get("/runs").status_code == 303, "the cookie from before the sign-in has ended"


def test_signing_out_ends_one_browser_and_everywhere_ends_all(guarded: TestClient, clock: FakeClock):
    def cookie() -> str:
        guarded.cookies.clear()
        sign_in(guarded, "trainer")
        return guarded.cookies["fitroom-80"]

    def status(value: str) -> int:
        guarded.cookies.clear()
        guarded.cookies.set("fitroom-80", value)
        return guarded.get("/runs").status_code

    one, other, third = cookie(), cookie(), cookie()
    assert status(one) == 200
    assert guarded.post("/logout").headers["location"] == "/login"
    assert [status(value) for value in (one, other, third)] == [303, 200, 200]
    status(other)
    guarded.post("/logout", data={"everywhere": "1"})
    assert [status(value) for value in (other, third)] == [303, 303]


def test_a_sign_in_ends_by_itself(guarded: TestClient, clock: FakeClock):
    sign_in(guarded, "viewer")
    clock.forward(LASTS.total_seconds() - 1)
    assert guarded.get("/runs").status_code == 200
    clock.forward(2)
    assert guarded.get("/runs").status_code == 303


def test_a_token_cookie_is_worth_nothing_once_the_server_has_another_token(home_with_data: Settings, clock: FakeClock):
    with asked(home_with_data, clock, token=TOKEN) as client:
        cookie = client.get(f"/login?token={TOKEN}").cookies["fitroom-80"]
    for token, status in ((TOKEN, 200), ("another-token-another", 303)):
        with asked(home_with_data, clock, token=token) as client:
            client.cookies.set("fitroom-80", cookie)
            assert client.get("/runs").status_code == status


def test_an_api_token_lets_its_user_in_until_the_user_is_signed_out(
    guarded: TestClient, home_with_data: Settings, clock: FakeClock
):
    db = Database(home_with_data.database)
    with db.write() as session:
        secret = people.api_token(session, "ann-viewer", now=clock())
    headers = {"Authorization": f"Bearer {secret}"}
    clock.forward(LASTS.total_seconds() * 10)
    assert guarded.get("/api/v1/runs", headers=headers).status_code == 200
    assert guarded.post("/api/v1/runs", json={}, headers=headers).status_code == 403
    with db.write() as session:
        people.sign_out_everywhere(session, "ann-viewer")
    assert guarded.get("/api/v1/runs", headers=headers).status_code == 401
    db.close()


def test_a_new_password_and_a_removal_end_what_was_signed_in(guarded: TestClient, home_with_data: Settings):
    db = Database(home_with_data.database)
    sign_in(guarded, "trainer")
    with db.write() as session:
        people.set_password(session, "ann-trainer", "another long password")
    assert guarded.get("/runs").status_code == 303
    sign_in(guarded, "admin")
    with db.write() as session:
        people.remove(session, "ann-admin")
    assert guarded.get("/runs").status_code == 303
    db.close()


def test_the_database_holds_nothing_that_lets_one_in(guarded: TestClient, home_with_data: Settings, clock: FakeClock):
    sign_in(guarded, "admin")
    cookie = guarded.cookies["fitroom-80"]
    db = Database(home_with_data.database)
    with db.write() as session:
        api = people.api_token(session, "ann-admin", now=clock())
    db.close()
    with closing(sqlite3.connect(home_with_data.database)) as connection:
        everything = "\n".join(connection.iterdump())
    for secret in (TOKEN, PASSWORD, cookie, api):
        assert secret not in everything
    assert "$argon2id$" in everything


def test_a_password_costs_who_steals_the_database_what_rfc_9106_recommends(db: Database, clock: FakeClock):
    with db.write() as session:
        people.add(session, "ann", PASSWORD, Role.VIEWER, now=clock())
        assert people.get(session, "ann").password_hash.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_the_audit_trail_says_who_did_what(guarded: TestClient, home_with_data: Settings):
    sign_in(guarded, "trainer")
    guarded.post("/runs", data={"name": "first", "epochs": "1"})
    guarded.post("/runs/1/cancel")
    guarded.post("/runs/1/delete")
    with closing(sqlite3.connect(home_with_data.database)) as connection:
        told = connection.execute("SELECT who, action, run_id, detail FROM audit ORDER BY id").fetchall()
    assert told == [
        ("ann-trainer", "came", None, "from testclient"),
        ("ann-trainer", "started", 1, "first"),
        ("ann-trainer", "cancelled", 1, "first"),
        ("ann-trainer", "deleted", 1, "first"),
    ]


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("http://localhost:8000", 200),
        ("http://127.0.0.1:8000", 200),
        ("http://[::1]:8000", 200),
        ("http://LOCALHOST.", 200),
        ("http://evil.example", 400),
        ("http://localhost.evil.example", 400),
        ("http://192.168.1.5:8000", 400),
        ("http://fitroom.example.org", 400),
    ],
)
def test_a_server_for_this_machine_answers_to_this_machines_names_only(
    home_with_data: Settings, clock: FakeClock, url: str, status: int
):
    with asked(home_with_data, clock, url) as client:
        answer = client.get("/runs")
        assert answer.status_code == status
        assert status == 200 or "FITROOM_ALLOWED_HOSTS" in answer.text


@pytest.mark.parametrize(
    ("allowed", "url", "status"),
    [
        ("none", "http://192.168.1.5:8000", 200),
        ("none", "http://fitroom.example.org", 400),
        ("a.example, Fitroom.Example.org", "http://fitroom.example.org", 200),
        ("*", "http://whatever.example", 200),
    ],
)
def test_a_server_for_others_answers_to_addresses_and_to_the_names_it_was_told(
    home_with_data: Settings, clock: FakeClock, allowed: str, url: str, status: int
):
    with asked(home_with_data, clock, url, host="0.0.0.0", token=TOKEN, allowed_hosts=allowed) as client:
        assert client.get("/login").status_code == status


@pytest.mark.parametrize("host", ["", "a b", "[", "[::1", "x@localhost", "localhost:http", "[::1].evil.example"])
def test_a_host_header_that_makes_no_sense_is_refused(home_with_data: Settings, clock: FakeClock, host: str):
    with asked(home_with_data, clock) as client:
        assert client.get("/runs", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("10.1.2.3", False),
    ],
)
def test_an_address_that_others_reach_is_told_from_one_that_they_do_not(host: str, expected: bool):
    assert is_loopback(host) is expected


def test_a_token_that_could_be_guessed_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FITROOM_TOKEN", "short")
    with pytest.raises(SettingsError, match=r"FITROOM_TOKEN.*at least 16 characters"):
        load_settings()


def test_the_token_is_neither_shown_with_the_settings_nor_told_to_workers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FITROOM_TOKEN", TOKEN)
    settings = load_settings()
    assert settings.secret == TOKEN
    assert TOKEN not in repr(settings)
    assert TOKEN not in str(environment(settings))


def test_a_made_token_is_long_and_new_each_time(settings: Settings):
    made = {with_token(settings.model_copy(update={"token": "auto"})).token for _ in range(3)}
    assert len(made) == 3
    assert min(map(len, made)) >= 43


@pytest.mark.parametrize("name", ["", "Ann", "a b", "token", "local", "-ann", "a" * 41, "<script>", "ann\n"])
def test_a_name_that_would_confuse_is_no_users(db: Database, clock: FakeClock, name: str):
    with pytest.raises(PeopleError), db.write() as session:
        people.add(session, name, PASSWORD, Role.VIEWER, now=clock())


def test_a_short_password_and_a_second_user_of_a_name_are_refused(db: Database, clock: FakeClock):
    with db.write() as session:
        people.add(session, "ann", PASSWORD, Role.VIEWER, now=clock())
    with pytest.raises(PeopleError, match="already"), db.write() as session:
        people.add(session, "ann", PASSWORD, Role.VIEWER, now=clock())
    with pytest.raises(PeopleError, match="10 to 1,024"), db.write() as session:
        people.add(session, "bob", "short", Role.VIEWER, now=clock())


def test_a_throttle_lets_go_in_time_and_never_grows_beyond_its_bound():
    now = [0.0]
    throttle = Throttle(now=lambda: now[0])
    for _ in range(FREE_TRIES):
        throttle.attempt("a", "b")
    with pytest.raises(Throttled) as caught:
        throttle.attempt("c", "a")
    assert caught.value.seconds == 1
    throttle.attempt("c")
    for _ in range(20):
        now[0] += LONGEST_WAIT_S
        throttle.attempt("a")
    now[0] += LONGEST_WAIT_S - 1
    with pytest.raises(Throttled):
        throttle.attempt("a")
    throttle.passed("a")
    throttle.attempt("a")
    for number in range(MOST_KEYS + 100):
        throttle.attempt(f"address {number}")
    assert len(throttle._tries) == MOST_KEYS


def test_a_filled_database_of_the_version_before_takes_users(tmp_path: Path, clock: FakeClock):
    """0003 adds users, sign-ins and the audit trail, and touches nothing else."""
    database = tmp_path / "fitroom.db"
    with old_run(database, "0002", "{}"):
        pass
    migrate(database)
    db = Database(database)
    with db.write() as session:
        people.add(session, "ann", PASSWORD, Role.ADMIN, now=clock())
        cookie = people.sign_in(session, "ann", now=clock())
    with db.read() as session:
        found = people.who_has(session, cookie, now=clock())
    db.close()
    assert found is not None
    assert (found.name, found.role) == ("ann", Role.ADMIN)
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT name FROM runs").fetchall() == [("old",)]


def test_a_viewer_looks_at_data_but_brings_and_removes_none(guarded: TestClient):
    sign_in(guarded, "viewer")
    page = guarded.get("/datasets/new").text
    assert "may look but not add anything" in page
    assert "<form" not in page
    for method, path in (
        ("POST", "/api/v1/uploads"),
        ("PATCH", "/api/v1/uploads/x/files/0/content"),
        ("POST", "/datasets/upload"),
        ("POST", "/api/v1/fetches/mnist"),
        ("POST", "/datasets/set:shoes@1/delete"),
        ("DELETE", "/api/v1/datasets/set:shoes@1"),
        ("PUT", "/api/v1/datasets/set:shoes@1/card"),
    ):
        assert guarded.request(method, path).status_code == 403, (method, path)
    assert "Bring your own" not in guarded.get("/datasets").text
