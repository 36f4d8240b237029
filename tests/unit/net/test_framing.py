"""What a server may send that is not the body: a bounded number of lines and bytes, and then a clear error.

Counted is what the client takes, not the time it needs: a server that goes on for ever fills the socket's buffers and
writes no more once nobody reads.
"""

from __future__ import annotations

import socket
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from fusefs.errors import SourceError, TransportError, WrongResponse
from fusefs.net.framing import CHUNK_LINE, EXCESS, HEAD, INTERIM, LINES
from fusefs.net.transport import Transport
from fusefs.values.settings import Settings
from tests.loopback_server import LoopbackServer
from tests.reading import InThread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler

ENOUGH = 4 << 20
"""Bytes after which a server gives up: all that is refused is refused long before."""

BUFFERED = 1 << 20
"""What may lie in the sockets' buffers when the client has given up."""


class Script:
    """Sends `head` and then `piece` for ever, to whoever asks for anything; counts the bytes that were taken."""

    def __init__(self, head: bytes, piece: bytes = b"") -> None:
        self.sent = 0
        self._head = head
        self._piece = piece
        self._server = LoopbackServer(self._handle)
        self.url = f"http://127.0.0.1:{self._server.port}/x"
        self._server.start()

    def close(self) -> None:
        self._server.stop()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
        piece = self._piece * (1 + (1 << 12) // len(self._piece)) if self._piece else b""
        handler.connection.sendall(self._head)
        self.sent += len(self._head)
        while piece and self.sent < ENOUGH:
            handler.connection.sendall(piece)
            self.sent += len(piece)


@pytest.fixture
def transport() -> Iterator[Transport]:
    with closing(Transport(Settings(timeout=20, stall=10))) as made:
        yield made


def outcome(transport: Transport, script: Script) -> bytes | SourceError:
    try:
        with closing(transport.get(script.url, {})) as response:
            return response.read(1 << 20)
    except SourceError as exc:
        return exc
    finally:
        script.close()


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", f"more than {INTERIM} interim answers"),
    "103 Early Hints": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", f"more than {INTERIM} interim"),
    "headers of 100 Continue": (b"HTTP/1.1 100 Continue\r\n", b"A: b\r\n", f"more than {LINES} lines"),
    "headers": (OK, b"A: b\r\n", f"more than {LINES} lines"),
    "long headers": (OK, b"A: " + b"b" * 8000 + b"\r\n", f"longer than {HEAD} bytes"),
    "one header": (OK + b"A: ", b"b" * 1000, f"longer than {HEAD} bytes"),
    "a status line": (b"HTTP/1.1 200 ", b"O" * 1000, f"longer than {HEAD} bytes"),
    "trailers": (CHUNKED + b"0\r\n", b"A: b\r\n", f"what follows its body has more than {LINES} lines"),
    "long trailers": (CHUNKED + b"0\r\n", b"A: " + b"b" * 8000 + b"\r\n", f"follows its body is longer than {HEAD}"),
    "chunk extensions": (CHUNKED, b"1;a=" + b"b" * 1000 + b"\r\nx\r\n", "more beside the chunks of its body"),
    "a chunk extension": (CHUNKED + b"1;a=", b"b" * 1000, f"a line of more than {CHUNK_LINE} bytes"),
    "zeros before a size": (CHUNKED, b"0" * 4000, "size of a chunk"),
}


@pytest.mark.parametrize(("head", "piece", "text"), ENDLESS.values(), ids=ENDLESS.keys())
def test_p10_what_goes_on_for_ever_is_refused_early(transport: Transport, head: bytes, piece: bytes, text: str) -> None:
    script = Script(head, piece)
    error = outcome(transport, script)
    assert isinstance(error, WrongResponse), error
    assert text in str(error)
    assert str(error).startswith("127.0.0.1:")
    assert script.sent < 2 * HEAD + EXCESS + BUFFERED


@pytest.mark.parametrize("size", [b"-5", b"+5", b"0x5", b"1_0", b" 5", b"", b"5 5", b"\xb2", b"g", b"f" * 16])
def test_p10_the_size_of_a_chunk_is_hexadecimal_digits(transport: Transport, size: bytes) -> None:
    """`int` takes signs and underscores, and a negative size would be counted from the end of our own buffer."""
    error = outcome(transport, Script(CHUNKED + size + b"\r\nhello\r\n0\r\n\r\n"))
    assert isinstance(error, WrongResponse)
    assert "size of a chunk" in str(error)


RIGHT = {
    "interim answers": b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" * INTERIM
    + OK
    + b"Content-Length: 5\r\n\r\nhello",
    "many headers": OK + b"A: b\r\n" * (LINES - 2) + b"Content-Length: 5\r\n\r\nhello",
    "long headers": OK + b"A: " + b"b" * (HEAD - 100) + b"\r\nContent-Length: 5\r\n\r\nhello",
    "chunks of a byte": CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in b"hello" * 1000) + b"0\r\n\r\n",
    "extensions": CHUNKED + b"5;name=value\r\nhello\r\n0;last\r\nTrailer: x\r\n\r\n",
    "a bare newline": CHUNKED + b"05 \nhello\r\n0\n\n",
}


@pytest.mark.parametrize("answer", RIGHT.values(), ids=RIGHT.keys())
def test_what_is_odd_but_right_is_read(transport: Transport, answer: bytes) -> None:
    got = outcome(transport, Script(answer))
    assert isinstance(got, bytes), got
    assert got.startswith(b"hello")
    assert len(got) in (5, 5000)


@pytest.mark.parametrize("cut", [CHUNKED, CHUNKED + b"5", CHUNKED + b"5\r\nhel", CHUNKED + b"5\r\nhello\r\n", b""])
def test_an_answer_that_ends_early_is_trouble_of_the_transport(transport: Transport, cut: bytes) -> None:
    assert type(outcome(transport, Script(cut))) is TransportError


def test_p10_the_head_of_a_proxy_is_bounded_too(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CONNECT is read by another loop of http.client."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{listener.getsockname()[1]}")

        def answer() -> None:
            sock, _ = listener.accept()
            with sock, suppress(OSError):
                sock.recv(1 << 16)
                sock.sendall(OK)
                for _ in range(ENOUGH // 6000):
                    sock.sendall(b"A: b\r\n" * 1000)

        proxy = InThread(answer)
        with pytest.raises(WrongResponse, match=f"its head has more than {LINES} lines"):
            transport.get("https://registry.example/x", {})
        proxy.result()
