"""The real server against clients that wait, lie, flood and vanish: it answers in words, and its memory stays flat."""

from __future__ import annotations

import http.client
import json
import re
import socket
import sqlite3
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil
import pytest

from tools.server import Server, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MB = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("http"), data_dir, workers="0") as server:
        yield server


def memory(server: Server) -> int:
    return psutil.Process(server.process.pid).memory_info().rss


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
        yield connection


def head(server: Server, method: str, path: str, **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(server.url).netloc}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def status(connection: socket.socket) -> int:
    """Of the answer; 0 where the server closed without one."""
    found = b""
    with suppress(ConnectionError):
        while b"\r\n" not in found and (piece := connection.recv(65536)):
            found += piece
    return int(found.split()[1]) if found else 0


def send_all(connection: socket.socket, content: bytes) -> None:
    with suppress(ConnectionError):  # a server that has refused the rest closes
        connection.sendall(content)


@contextmanager
def streams(server: Server, *paths: str) -> Iterator[list[http.client.HTTPResponse]]:
    """Open streams, of which the first line has been read."""
    with ExitStack() as stack:
        opened = []
        for path in paths:
            connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
            stack.callback(connection.close)
            connection.request("GET", path)
            answer = stack.enter_context(closing(connection.getresponse()))
            assert answer.status == 200
            assert answer.readline() == b": connected\n"
            opened.append(answer)
        yield opened


def test_a_hundred_idle_streams_cost_little_and_everyone_else_is_answered(server: Server):
    run_id = server.submit(epochs=1)
    paths = [f"/api/v1/runs/{run_id}/events?after=0", "/api/v1/events?after=0"]
    with streams(server, *paths):
        server.run(run_id)
    before = memory(server)
    with streams(server, *(paths * 50)) as opened:
        grown = memory(server) - before
        print(f"{grown / MB:.1f} MB for 100 streams")
        assert grown < 32 * MB
        another = server.submit(epochs=1)
        assert server.run(another)["id"] == another
        for stream in opened[1::2]:
            while f'"id":{another},'.encode() not in stream.readline():
                pass


def test_readers_that_do_not_read_cost_no_memory_and_miss_nothing(server: Server):
    """Thirty megabytes wait for each of eight readers; the server holds a batch of them for each."""
    run_id, count = server.submit(epochs=1), 6000
    with closing(sqlite3.connect(server.home / "fitroom.db")) as database, database:
        line = json.dumps({"level": "info", "message": "x" * 5000})
        database.executemany(
            "INSERT INTO changes (run_id, kind, data, at) VALUES (?, 'log', ?, '2026-01-02 03:04:05.000000')",
            [(run_id, line)] * count,
        )
    path = f"/api/v1/runs/{run_id}/events?after=0"
    with streams(server, path) as (warm,):
        read_logs(warm, 1000)
    before = memory(server)
    with streams(server, *[path] * 8) as slow:
        highest = 0
        for _ in range(40):
            server.run(run_id)
            highest = max(highest, memory(server))
        print(f"{(highest - before) / MB:.1f} MB for 8 readers that do not read")
        assert highest - before < 80 * MB
        assert read_logs(slow[0], count) == count
    assert server.get("/healthz") == {"status": "ok"}
    assert "Traceback" not in (server.home / "serve.log").read_text()
    server.post(f"/api/v1/runs/{run_id}/cancel")


def read_logs(stream: http.client.HTTPResponse, most: int) -> int:
    found = 0
    while found < most and (line := stream.readline()):
        found += line == b"event: log\n"
    return found


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(server: Server):
    with connected(server) as connection:
        connection.sendall(head(server, "POST", "/api/v1/runs", Content_Length=str(10**12)))
        assert status(connection) == 413


def test_a_body_that_turns_out_too_large_is_refused_and_not_kept(server: Server):
    before = memory(server)
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with connected(server) as connection:
        connection.sendall(head(server, "POST", "/api/v1/runs", Transfer_Encoding="chunked"))
        for _ in range(1600):
            send_all(connection, piece)
        assert status(connection) in (0, 413)
    assert memory(server) - before < 24 * MB
    assert server.get("/healthz") == {"status": "ok"}


def test_a_chunked_body_just_over_the_limit_is_answered_in_words(server: Server):
    body = b"40001\r\n" + b"x" * 0x40001 + b"\r\n0\r\n\r\n"
    with connected(server) as connection:
        connection.sendall(head(server, "POST", "/api/v1/runs", Transfer_Encoding="chunked") + body)
        assert status(connection) == 413


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"Content_Length": "2"}, b'{}{"more": 1}', {201, 422}),
        ({"Content_Length": "-1"}, b"{}", {400}),
        ({"Content_Length": "2, 3"}, b"{}", {400}),
        ({"Content_Length": "many"}, b"{}", {400}),
        ({"Content_Length": "\xb2"}, b"{}", {400}),
        ({"Transfer_Encoding": "chunked"}, b"zz\r\n", {400}),
        ({"Transfer_Encoding": "gzip, chunked"}, b"0\r\n\r\n", {400, 501}),
    ],
)
def test_a_body_whose_length_is_a_lie_is_cut_or_refused(
    server: Server, headers: dict[str, str], body: bytes, expected: set[int]
):
    with connected(server) as connection:
        connection.sendall(head(server, "POST", "/api/v1/runs", **headers) + body)
        assert status(connection) in expected
    assert server.get("/healthz") == {"status": "ok"}


def test_a_client_that_goes_away_in_mid_body_leaves_no_error_and_no_run(server: Server):
    runs = server.get("/api/v1/runs")["total"]
    for path in ("/api/v1/runs", "/runs", "/login"):
        with connected(server) as connection:
            kind = "application/json" if path.startswith("/api") else "application/x-www-form-urlencoded"
            connection.sendall(head(server, "POST", path, Content_Length="1000", Content_Type=kind) + b'{"epochs"')
    assert server.get("/api/v1/runs")["total"] == runs
    assert "Traceback" not in (server.home / "serve.log").read_text()


def test_a_megabyte_of_headers_is_refused_and_not_kept(server: Server):
    before = memory(server)
    for line in ("X-Large: " + "a" * MB, "\r\n".join(f"X-{n}: {'a' * 90}" for n in range(10_000))):
        with connected(server) as connection:
            start = head(server, "GET", "/runs").removesuffix(b"\r\n")
            send_all(connection, start + line.encode() + b"\r\n\r\n")
            assert status(connection) in (0, 400, 431)
    assert memory(server) - before < 16 * MB
    assert server.get("/healthz") == {"status": "ok"}


def parts(count: int) -> bytes:
    one = b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx\r\n'
    return b"".join(one % number for number in range(count)) + b"--b--\r\n"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=b", parts(3000)),
        ("application/x-www-form-urlencoded", "&".join(f"f{n}=x" for n in range(10_000)).encode()),
        ("multipart/form-data; boundary=b", parts(10_000)),
    ],
)
def test_thousands_of_form_parts_are_refused_in_words(server: Server, kind: str, body: bytes):
    before = memory(server)
    with connected(server) as connection:
        connection.sendall(head(server, "POST", "/runs", Content_Length=str(len(body)), Content_Type=kind))
        send_all(connection, body)
        assert status(connection) in (400, 413)
    assert memory(server) - before < 16 * MB


def test_a_file_in_a_form_that_takes_none_leaves_nothing_behind(server: Server):
    files = open_files(server)
    body = (
        b'--b\r\nContent-Disposition: form-data; name="name"; filename="x"\r\n\r\n' + b"x" * 200_000 + b"\r\n--b--\r\n"
    )
    kind = "multipart/form-data; boundary=b"
    with connected(server) as connection:
        connection.sendall(head(server, "POST", "/runs", Content_Length=str(len(body)), Content_Type=kind) + body)
        assert status(connection) == 400
    assert open_files(server) == files


def open_files(server: Server) -> set[str]:
    """Deleted ones, which temporary files are, included; the database's and the log's own come and go."""
    found = psutil.Process(server.process.pid).open_files() or []
    return {file.path for file in found if not re.search(r"fitroom\.db|serve\.l", file.path)}


def test_garbage_is_no_request_and_does_no_harm(server: Server):
    for garbage in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10,
        b"GET\r\n\r\n",
        b"\x00" * 100,
        b"PRI * HTTP/2.0\r\n\r\n",
    ):
        with connected(server) as connection:
            send_all(connection, garbage)
            connection.shutdown(socket.SHUT_WR)
            assert status(connection) in (0, 400)
    assert server.get("/healthz") == {"status": "ok"}


@pytest.mark.parametrize(
    "path",
    [
        "/static/v/../../app/main.py",
        "/static/v/%2e%2e/%2e%2e/app/main.py",
        "/static/v/..%2f..%2fapp%2fmain.py",
        "/static/v/%252e%252e/app/main.py",
        "/static/v/..\\..\\app\\main.py",
        "/static/v//etc/passwd",
        "/static/v/js/run.js%00.css",
        "/static/v/js/run.js#",
        "/assets/plotly-../../x.min.js",
        "/../../etc/passwd",
    ],
)
def test_no_spelling_of_a_path_leads_out_of_what_is_served(server: Server, path: str):
    with connected(server) as connection:
        connection.sendall(head(server, "GET", path))
        assert status(connection) == 404
