"""FileResponse without a server: what it reads, and when it stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from fusefs.offers.stamp import open_regular
from fusefs.serve.body import PIECE, FileResponse, OpenFile
from fusefs.values.chunks import Chunk
from tests.serve.world import noise

SIZE = 20 * PIECE + 7


class Connection:
    """The server's side of ASGI: keeps what is sent, and disconnects after some pieces."""

    def __init__(self, disconnect_after: int | None = None) -> None:
        self.started: dict[str, Any] = {}
        self.pieces: list[bytes] = []
        self.ended = False
        self._left = disconnect_after
        self._gone = trio.Event()

    async def receive(self) -> dict[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.started = message
            return
        self.pieces.append(bytes(message["body"]))
        self.ended = not message.get("more_body", False)
        if len(self.pieces) == self._left:
            self._gone.set()
        await trio.lowlevel.checkpoint()


async def respond(path: Path, chunk: Chunk | None, connection: Connection, method: str = "GET") -> OpenFile:
    fd, stamp = open_regular(path)
    file = OpenFile(fd, stamp, str(path))
    await FileResponse(file, chunk, 206, {})({"type": "http", "method": method}, connection.receive, connection.send)
    return file


async def test_a_range_is_sent_in_pieces_of_bounded_size(tmp_path: Path) -> None:
    content = noise(SIZE)
    (tmp_path / "f").write_bytes(content)
    connection = Connection()
    file = await respond(tmp_path / "f", Chunk(5, SIZE - 2), connection)
    assert b"".join(connection.pieces) == content[5:-1]
    assert max(map(len, connection.pieces)) <= PIECE
    assert connection.ended
    assert file.fd == -1


async def test_a_client_that_goes_away_stops_the_reading(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(SIZE))
    connection = Connection(disconnect_after=3)
    file = await respond(tmp_path / "f", Chunk(0, SIZE - 1), connection)
    assert 3 <= len(connection.pieces) < 10
    assert not connection.ended
    assert file.fd == -1


async def test_head_and_an_empty_blob_send_no_byte(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(SIZE))
    for chunk, method in ((Chunk(0, SIZE - 1), "HEAD"), (None, "GET")):
        connection = Connection()
        file = await respond(tmp_path / "f", chunk, connection, method)
        assert (connection.pieces, connection.ended, file.fd) == ([b""], True, -1)


async def test_a_file_on_a_file_system_without_nowait_is_read_by_a_thread() -> None:
    """/proc is such a file system."""
    fd, stamp = open_regular(Path("/proc/version"))
    file = OpenFile(fd, stamp, "/proc/version")
    try:
        buffer = bytearray(4096)
        count = await file.readinto(memoryview(buffer), 0)
        assert buffer[:count].startswith(b"Linux version")
    finally:
        file.close()
