"""What a server says, wherever it says it, is at most a bounded printable line of one of our errors."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.errors import FusefsError
from fusefs.sources.registry.credentials import KeyRing
from fusefs.sources.registry.registry import RegistrySource
from fusefs.values.chunks import Blob, Chunk
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from fusefs.values.printable import line_of
from fusefs.values.settings import Settings
from tests.loopback_server import LoopbackServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

LONGEST = 1000
"""Characters of one error; what a server said is a part of it."""

EVIL = [
    b"\x1b[2J",
    b"\x1b]52;c;AAAA\x07",
    b"\x9b31m",
    b"\r",
    b"\n",
    b"\r\n",
    b"\x85",
    b"\0",
    b"\xe2\x80\xae",
    b"x" * 400,
]
SAID = st.lists(st.sampled_from(EVIL) | st.binary(max_size=8), max_size=6).map(b"".join)
WAYS = {
    "a line of its own": b"%b\r\n\r\n",
    "a version": b"HTTP/%b 200 OK\r\n\r\n",
    "a status": b"HTTP/1.1 %b OK\r\n\r\n",
    "a reason": b"HTTP/1.1 503 %b\r\nContent-Length: 0\r\n\r\n",
    "a header": b"HTTP/1.1 200 OK\r\n%b: %b\r\n\r\n",
    "a body": b"HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n%b",
    "a message": b'HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n{"errors": [{"code": "%b", "message": "%b"}]}',
    "a range": b"HTTP/1.1 206 OK\r\nContent-Range: %b\r\nContent-Length: 5\r\n\r\nhello",
    "a range of bytes": b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-4/%b\r\nContent-Length: 5\r\n\r\nhello",
    "a length": b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\nConnection: close\r\n\r\nhello",
    "a place": b"HTTP/1.1 307 Away\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n",
    "a place with a scheme": b"HTTP/1.1 307 Away\r\nLocation: http://%b/\r\nContent-Length: 0\r\n\r\n",
    "a challenge": b"HTTP/1.1 401 No\r\nWWW-Authenticate: %b\r\nContent-Length: 0\r\n\r\n",
    "a realm": b'HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer realm="%b"\r\nContent-Length: 0\r\n\r\n',
    "an encoding": b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: 0\r\n\r\n",
    "a time": b"HTTP/1.1 503 No\r\nRetry-After: %b\r\nContent-Length: 0\r\n\r\n",
    "a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\nhello\r\n",
    "a list": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%b",
}


class Speaker:
    """Sends `answer` to whoever connects, and ends the connection."""

    def __init__(self) -> None:
        self.answer = b""
        self._server = LoopbackServer(self._handle)
        self.host = f"127.0.0.1:{self._server.port}"
        self._server.start()

    def close(self) -> None:
        self._server.stop()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.connection.sendall(self.answer)


@pytest.fixture(scope="module")
def speaker() -> Iterator[Speaker]:
    with closing(Speaker()) as made:
        yield made


@pytest.fixture(scope="module")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "none"


def error_of(call: Callable[[], object]) -> str:
    try:
        call()
    except FusefsError as exc:
        return str(exc)
    return ""


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@given(SAID)
@pytest.mark.logs(".*")
def test_p10_an_error_is_one_bounded_printable_line_whatever_a_server_says(
    speaker: Speaker, nothing: Path, way: bytes, said: bytes
) -> None:
    speaker.answer = way.replace(b"%b", said)
    name = Name.parse(f"http://{speaker.host}/library/m:latest")
    blob = Blob(Digest.of(b"hello"), 5)
    with closing(
        RegistrySource("http", speaker.host, Settings(timeout=5, stall=2), keys=KeyRing(None, nothing))
    ) as source:
        for call in (
            lambda: source.manifest(name),
            lambda: source.chunk_list(name, blob),
            lambda: source.open_range(name, blob, Chunk(0, 4)).close(),
        ):
            said_of_it = error_of(call)
            assert said_of_it.isprintable(), repr(said_of_it)
            assert len(said_of_it) <= LONGEST


@given(st.text(), st.integers(1, 50))
def test_p10_a_line_of_somebody_else_is_printable_and_cut(text: str, longest: int) -> None:
    line = line_of(text, longest)
    assert line.isprintable()
    assert len(line) <= longest + 1
