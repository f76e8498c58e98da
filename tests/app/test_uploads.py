"""Files come in whole or not at all, in pieces that may break off anywhere, and leave nothing behind."""

from __future__ import annotations

import hashlib
import threading
import zlib
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient

from app.data_sets.pieces import Checksum
from app.data_sets.uploads import MOST_AT_ONCE, MOST_FILES, Uploads
from app.main import create_app
from app.routes.uploads import PIECE, receive
from tests.limits import files_no_larger_than

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from app.config import Settings
    from tests.conftest import FakeClock

CONTENT = b"label,pixel1\n" + b"0,7\n1,9\n" * 1000


def announce(client: TestClient, *files: dict[str, Any], name: str = "shoes") -> dict[str, Any]:
    answer = client.post("/api/v1/uploads", json={"name": name, "files": list(files)})
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


def one(client: TestClient, content: bytes = CONTENT, **more: Any) -> tuple[str, str]:
    """An upload of one file: its address and its file's."""
    upload = announce(client, {"filename": "train.csv", "size": len(content), **more})
    return f"/api/v1/uploads/{upload['id']}", upload["files"][0]["url"]


def send(client: TestClient, url: str, data: bytes, offset: int, checksum: str | None = None) -> Any:
    headers = {"Upload-Offset": str(offset), "Content-Type": PIECE}
    return client.patch(url, content=data, headers=headers | ({"Upload-Checksum": checksum} if checksum else {}))


def offset_of(client: TestClient, url: str) -> int:
    return int(client.head(url).headers["Upload-Offset"])


def stored(settings: Settings) -> list[bytes]:
    """What the files of all uploads hold."""
    return [path.read_bytes() for path in sorted(settings.uploads_dir.glob("*/[0-9]"))]


def test_a_file_in_pieces_is_whole_at_the_end(client: TestClient, home_with_data: Settings):
    upload, url = one(client, sha256=hashlib.sha256(CONTENT).hexdigest())
    for start in range(0, len(CONTENT), 3000):
        piece = CONTENT[start : start + 3000]
        answer = send(client, url, piece, start, f"crc32 {zlib.crc32(piece):08x}")
        assert answer.status_code == 204
        assert answer.headers["Upload-Checksum"] == f"crc32 {zlib.crc32(CONTENT[: start + len(piece)]):08x}"
    assert client.get(upload).json()["complete"]
    assert stored(home_with_data) == [CONTENT]


def test_a_piece_at_another_offset_is_refused_with_the_right_one(client: TestClient, home_with_data: Settings):
    _, url = one(client)
    send(client, url, CONTENT[:100], 0)
    for offset in (0, 99, 101, 10**9):
        answer = send(client, url, b"x", offset)
        assert (answer.status_code, answer.headers["Upload-Offset"]) == (409, "100")
    assert stored(home_with_data) == [CONTENT[:100]]


@pytest.mark.parametrize("algorithm", ["crc32", "sha256"])
def test_a_piece_that_arrives_damaged_does_not_count(client: TestClient, algorithm: str):
    _, url = one(client)
    right = {"crc32": f"{zlib.crc32(CONTENT):08x}", "sha256": hashlib.sha256(CONTENT).hexdigest()}[algorithm]
    damaged = send(client, url, CONTENT[:-1] + b"?", 0, f"{algorithm} {right}")
    assert damaged.status_code == 422
    assert "damaged" in damaged.json()["detail"]
    assert offset_of(client, url) == 0
    assert send(client, url, CONTENT, 0, f"{algorithm} {right}").status_code == 204


def test_another_file_than_was_announced_does_not_count(client: TestClient):
    upload, url = one(client, sha256=hashlib.sha256(CONTENT).hexdigest())
    answer = send(client, url, CONTENT[::-1], 0)
    assert answer.status_code == 422
    assert "train.csv has not arrived as the file that was announced" in answer.json()["detail"]
    assert not client.get(upload).json()["complete"]
    assert offset_of(client, url) == 0


def test_more_bytes_than_announced_are_refused(client: TestClient):
    _, url = one(client)
    assert send(client, url, CONTENT + b"more", 0).status_code == 413
    assert offset_of(client, url) == 0


@pytest.fixture
def uploads(tmp_path: Path, clock: FakeClock) -> Uploads:
    return Uploads(tmp_path / "uploads", 10**9, clock)


async def breaking_off(data: bytes) -> AsyncIterator[bytes]:
    """A body whose sender is gone in the middle."""
    yield data
    raise ClientDisconnect


def test_what_arrived_before_a_connection_broke_is_kept(uploads: Uploads):
    upload = uploads.create([{"filename": "a.csv", "size": len(CONTENT)}], name="", who="me")
    piece = uploads.begin(upload.id, 0, 0)
    with pytest.raises(ClientDisconnect):
        anyio.run(receive, piece, breaking_off(CONTENT[:5000]))
    assert uploads.resume(upload.id, 0).offset == 5000
    rest = uploads.begin(upload.id, 0, 5000)
    rest.write(CONTENT[5000:])
    assert rest.end(whole=True).crc32 == zlib.crc32(CONTENT)
    assert uploads.path(upload.id, "0").read_bytes() == CONTENT


def test_a_checked_piece_that_breaks_off_leaves_nothing(uploads: Uploads):
    upload = uploads.create([{"filename": "a.csv", "size": len(CONTENT)}], name="", who="me")
    piece = uploads.begin(upload.id, 0, 0, Checksum.of(f"crc32 {zlib.crc32(CONTENT):08x}"))
    with pytest.raises(ClientDisconnect):
        anyio.run(receive, piece, breaking_off(CONTENT[:5000]))
    assert uploads.resume(upload.id, 0).offset == 0


def test_a_sender_that_comes_back_takes_over_from_a_connection_that_hangs(uploads: Uploads):
    upload = uploads.create([{"filename": "a.csv", "size": len(CONTENT)}], name="", who="me")
    hanging = uploads.begin(upload.id, 0, 0)
    hanging.write(CONTENT[:1000])
    assert uploads.resume(upload.id, 0).offset == 1000
    again = uploads.begin(upload.id, 0, 1000)
    again.write(CONTENT[1000:2000])
    with pytest.raises(Exception, match="next byte"):
        hanging.write(b"late")
    assert again.end(whole=True).offset == 2000
    assert uploads.path(upload.id, "0").read_bytes() == CONTENT[:2000]


def test_uploads_outlive_the_server(home_with_data: Settings, clock: FakeClock):
    with TestClient(create_app(home_with_data, clock=clock), base_url="http://localhost") as client:
        upload, url = one(client)
        send(client, url, CONTENT[:1234], 0)
    with TestClient(create_app(home_with_data, clock=clock), base_url="http://localhost") as client:
        assert offset_of(client, url) == 1234
        assert client.get(upload).json()["name"] == "shoes"
        assert send(client, url, CONTENT[1234:], 1234).status_code == 204


def test_an_upload_is_swept_a_day_after_it_was_touched_last(uploads: Uploads, clock: FakeClock):
    left = uploads.create([{"filename": "a.csv", "size": 5}], name="", who="me")
    clock.forward(20 * 3600)
    used = uploads.create([{"filename": "a.csv", "size": 5}], name="", who="me")
    uploads.begin(left.id, 0, 0).end(whole=True)
    (uploads.folder / "half").mkdir()
    clock.forward(5 * 3600)
    assert uploads.sweep() == 1
    assert {item.id for item in uploads.all()} == {left.id, used.id}
    clock.forward(20 * 3600)
    assert uploads.sweep(busy=[used.id]) == 1
    assert [item.id for item in uploads.all()] == [used.id]


def test_what_is_announced_while_others_are_swept_stays(uploads: Uploads):
    stop = threading.Event()

    def sweep() -> None:
        while not stop.is_set():
            uploads.sweep()

    sweeping = threading.Thread(target=sweep)
    sweeping.start()
    try:
        for _ in range(100):
            made = uploads.create([{"filename": "a.csv", "size": 5}], name="", who="me")
            uploads.begin(made.id, 0, 0).end(whole=True)
            uploads.remove(made.id)
    finally:
        stop.set()
        sweeping.join()


@pytest.mark.parametrize("state", ["{}", "[]", "{", '{"files": [{"name": "of another version"}]}'])
def test_an_upload_of_another_version_or_damaged_is_in_nobodys_way(
    client: TestClient, home_with_data: Settings, clock: FakeClock, state: str
):
    one(client)
    (odd,) = home_with_data.uploads_dir.iterdir()
    (odd / "state.json").write_text(state)
    assert client.get("/datasets/new").status_code == 200
    assert client.get("/api/v1/uploads").json() == []
    assert client.get(f"/api/v1/uploads/{odd.name}").status_code == 404
    one(client)
    assert len(client.get("/api/v1/uploads").json()) == 1


def test_abandoned_uploads_are_gone_after_a_start(home_with_data: Settings, clock: FakeClock):
    with TestClient(create_app(home_with_data, clock=clock), base_url="http://localhost") as client:
        one(client)
    clock.forward(25 * 3600)
    with TestClient(create_app(home_with_data, clock=clock), base_url="http://localhost") as client:
        assert client.get("/api/v1/uploads").json() == []
    assert list(home_with_data.uploads_dir.iterdir()) == []


def test_a_discarded_upload_leaves_nothing(client: TestClient, home_with_data: Settings):
    upload, url = one(client)
    send(client, url, CONTENT[:500], 0)
    assert client.delete(upload).status_code == 204
    assert list(home_with_data.uploads_dir.iterdir()) == []
    assert send(client, url, CONTENT[500:], 500).status_code == 404
    assert client.head(url).status_code == 404


def test_a_full_disk_is_told_and_the_upload_goes_on_when_there_is_room(client: TestClient, home_with_data: Settings):
    _, url = one(client)
    with files_no_larger_than(4096):
        answer = send(client, url, CONTENT, 0)
    assert answer.status_code == 507
    assert "disk of the server is full" in answer.json()["detail"]
    assert offset_of(client, url) == 4096
    assert send(client, url, CONTENT[4096:], 4096).status_code == 204
    assert stored(home_with_data) == [CONTENT]


def test_an_upload_that_is_too_large_is_refused_before_it_is_sent(home_with_data: Settings, clock: FakeClock):
    small = home_with_data.model_copy(update={"upload_limit": 10_000})
    with TestClient(create_app(small, clock=clock), base_url="http://localhost") as client:
        files = [{"filename": name, "size": 6000} for name in ("train.csv", "test.csv")]
        answer = client.post("/api/v1/uploads", json={"files": files})
        assert answer.status_code == 413
        assert answer.json()["detail"] == "12 KB is more than the 10 KB that an upload may have here."
        _, url = one(client, b"x" * 9000)
        assert send(client, url, b"x" * 10_001, 0).status_code == 413


def test_a_disk_without_room_is_told_before_anything_is_sent(home_with_data: Settings, clock: FakeClock):
    endless = home_with_data.model_copy(update={"upload_limit": 2**53 - 1})
    with TestClient(create_app(endless, clock=clock), base_url="http://localhost") as client:
        answer = client.post("/api/v1/uploads", json={"files": [{"filename": "a.zip", "size": 2**52}]})
        assert answer.status_code == 507
        assert "has room for" in answer.json()["detail"]
        assert client.get("/api/v1/uploads").json() == []


def test_only_so_many_uploads_are_under_way_at_once(uploads: Uploads, clock: FakeClock):
    for _ in range(MOST_AT_ONCE):
        uploads.create([{"filename": "a.csv", "size": 5}], name="", who="me")
    with pytest.raises(Exception, match="under way already"):
        uploads.create([{"filename": "a.csv", "size": 5}], name="", who="me")
    clock.forward(601)
    uploads.create([{"filename": "a.csv", "size": 5}], name="", who="me")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], f"from 1 to {MOST_FILES} files"),
        ([{"filename": "a", "size": 1}] * (MOST_FILES + 1), f"from 1 to {MOST_FILES} files"),
        ([{"filename": "a.csv", "size": 0}], "a.csv is empty"),
        ([{"filename": "a.csv", "size": -1}], "must be a number of bytes"),
        ([{"filename": "a.csv", "size": True}], "must be a number of bytes"),
        ([{"filename": "a.csv", "size": 1.5}], "must be a number of bytes"),
        ([{"filename": "a.csv", "size": 2**60}], "must be a number of bytes"),
        ([{"filename": "/", "size": 1}], "needs its filename"),
        ([{"size": 1}], "needs its filename"),
        ([{"filename": "a", "size": 1, "sha256": "abc"}], "64 hexadecimal digits"),
        ("a.csv", "list of objects"),
        ([1], "list of objects"),
    ],
)
def test_a_nonsensical_announcement_is_refused_at_its_field(client: TestClient, files: Any, words: str):
    answer = client.post("/api/v1/uploads", json={"files": files})
    assert answer.status_code == 422
    assert words in answer.json()["errors"]["files"]


@pytest.mark.parametrize(
    ("filename", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\data\\train.csv", "train.csv"),
        ("a\u202egpj.csv", "agpj.csv"),
        ("a\x00\n\tb.csv", "ab.csv"),
        ("<script>alert(1)</script>.csv", "script>.csv"),
        ("x" * 500, "x" * 200),
    ],
)
def test_a_filename_is_for_showing_only(client: TestClient, home_with_data: Settings, filename: str, kept: str):
    upload = announce(client, {"filename": filename, "size": 5})
    assert upload["files"][0]["filename"] == kept
    assert [path.name for path in home_with_data.uploads_dir.glob("*/*")] in (["0", "state.json"], ["state.json", "0"])


@pytest.mark.parametrize("upload_id", ["none", "a" * 22, "..", "%2e%2e", "a" * 21 + "%00"])
def test_an_upload_that_is_none_is_not_found(client: TestClient, upload_id: str):
    assert client.get(f"/api/v1/uploads/{upload_id}").status_code in (404, 422)
    assert send(client, f"/api/v1/uploads/{upload_id}/files/0/content", b"x", 0).status_code == 404


def test_a_piece_needs_its_offset_and_kind(client: TestClient):
    _, url = one(client)
    assert client.patch(url, content=b"x", headers={"Content-Type": PIECE}).status_code == 422
    assert client.patch(url, content=b"x", headers={"Upload-Offset": "0"}).status_code == 422
    assert send(client, url, b"x", 0, "md5 00").status_code == 422
    assert send(client, url.replace("/0/", "/1/"), b"x", 0).status_code == 404
    assert offset_of(client, url) == 0
