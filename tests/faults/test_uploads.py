"""A real server that takes large files: its memory stays flat, and a kill in the middle costs one piece at most."""

from __future__ import annotations

import http.client
import os
import signal
import zlib
from contextlib import closing, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil
import pytest

from tests.faults.zygote import wait_until
from tools.server import Server, start, stop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MB = 1 << 20
PIECE = "application/offset+octet-stream"


def announce(server: Server, size: int) -> str:
    told = server.post("/api/v1/uploads", {"name": "big", "files": [{"filename": "big.csv", "size": size}]})
    return str(told["files"][0]["url"])


def send(server: Server, url: str, content: Iterator[bytes], offset: int, size: int) -> tuple[int, str]:
    """One PATCH whose body is made while it is sent; status and the offset after it."""
    headers = {"Upload-Offset": str(offset), "Content-Type": PIECE, "Content-Length": str(size)}
    with closing(http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)) as connection:
        connection.request("PATCH", url, body=content, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["Upload-Offset"]


def ask(server: Server, url: str) -> tuple[int, str]:
    """Offset and checksum of what has arrived."""
    with closing(http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)) as connection:
        connection.request("HEAD", url)
        answer = connection.getresponse()
    return int(answer.headers["Upload-Offset"]), answer.headers["Upload-Checksum"]


def blocks(seed: int, count: int) -> list[bytes]:
    return [bytes([(seed + n) % 251]) * MB for n in range(count)]


def test_a_large_upload_takes_no_memory_and_outlives_a_kill(tmp_path: Path, data_dir: Path):
    content = blocks(7, 192)
    whole = zlib.crc32(b"".join(content))
    server = start(tmp_path / "home", data_dir, workers="0")
    try:
        process = psutil.Process(server.process.pid)
        url = announce(server, 192 * MB)
        before, most = process.memory_info().rss, 0

        def watched() -> Iterator[bytes]:
            nonlocal most
            for block in content[:128]:
                most = max(most, process.memory_info().rss)
                yield block

        assert send(server, url, watched(), 0, 128 * MB) == (204, str(128 * MB))
        assert most - before < 24 * MB

        def killing() -> Iterator[bytes]:
            for n, block in enumerate(content[128:]):
                if n == 32:
                    os.kill(server.process.pid, signal.SIGKILL)
                yield block

        with pytest.raises((OSError, http.client.HTTPException)):
            send(server, url, killing(), 128 * MB, 64 * MB)
        server.process.wait(10)
        stop(server)
        server = start(tmp_path / "home", workers="0")
        offset, checksum = ask(server, url)
        assert 144 * MB <= offset <= 160 * MB
        assert checksum == f"crc32 {zlib.crc32(b''.join(content)[:offset]):08x}"
        rest = b"".join(content)[offset:]
        assert send(server, url, iter([rest]), offset, len(rest)) == (204, str(192 * MB))
        assert ask(server, url) == (192 * MB, f"crc32 {whole:08x}")
    finally:
        stop(server)


def test_a_reading_ends_with_the_server(tmp_path: Path, data_dir: Path):
    """The child that reads an upload is no orphan: killed or stopped, the server takes it along."""
    server = start(tmp_path / "home", data_dir, workers="0")
    try:
        rows = b"0," + b",".join([b"7"] * 784) + b"\n"
        content = rows * 60_000
        url = announce(server, len(content))
        send(server, url, iter([content]), 0, len(content))
        reader: list[psutil.Process] = []

        def reads() -> bool:
            server.get(url.removesuffix("/files/0/content"))  # it is read as soon as somebody asks how far it is
            reader[:] = [child for child in psutil.Process(server.process.pid).children() if is_reader(child)]
            return bool(reader)

        wait_until(reads, "a child reads it")
        os.kill(server.process.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(reader, timeout=10)
        assert not alive
    finally:
        stop(server)


def is_reader(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return "trainer.ingest" in process.cmdline()
    return False
