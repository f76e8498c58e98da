"""The socket that the server listens on."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from app.config import Settings
from app.serve import _listening
from tests.loops import in_a_loop

if TYPE_CHECKING:
    from pathlib import Path


def test_answers_on_a_kept_connection_do_not_wait_to_be_acknowledged(tmp_path: Path):
    """A head and a body sent apart take 40 ms more each time where TCP_NODELAY is not set."""

    async def nodelay(listener: socket.socket) -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted_socket = writer.get_extra_info("socket")
            found.set_result(accepted_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(accepted, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname()[:2])
            answer = await found
            writer.close()
            await writer.wait_closed()
            return answer

    with _listening(Settings(home=tmp_path, port=0)) as listener:
        assert in_a_loop(nodelay(listener)) == 1


def test_a_taken_port_is_told_with_the_setting_that_names_it(tmp_path: Path):
    with _listening(Settings(home=tmp_path, port=0)) as listener:
        listener.listen()
        taken = Settings(home=tmp_path, port=listener.getsockname()[1])
        with pytest.raises(OSError, match="FITROOM_PORT"), _listening(taken):
            pass
