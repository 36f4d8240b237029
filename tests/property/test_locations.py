"""Redirects: wherever a Location points to, there is an answer or an error of ours, and a connection is not kept."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.errors import SourceError
from fusefs.net.transport import Transport
from fusefs.values.settings import Settings
from tests.loopback_server import LoopbackServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler

SETTINGS = Settings(timeout=20, stall=10)


class Redirecting:
    """A server that sends whoever asks for /away on to `location`, and gives everybody else a body."""

    def __init__(self) -> None:
        self.location = b""
        self._server = LoopbackServer(self._handle)
        self.url = f"http://127.0.0.1:{self._server.port}/away"
        self._server.start()

    def close(self) -> None:
        self._server.stop()
        assert not self._server.problems

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/away":
            # Not by send_header, which would not send every byte that a hostile server may.
            handler.wfile.write(b"HTTP/1.1 307 Away\r\nContent-Length: 0\r\nLocation: " + self.location + b"\r\n\r\n")
            return
        handler.send_response(200)
        handler.send_header("Content-Length", "4")
        handler.end_headers()
        handler.wfile.write(b"body")


@pytest.fixture(scope="module")
def server() -> Iterator[Redirecting]:
    with closing(Redirecting()) as made:
        yield made


def follow(server: Redirecting, location: bytes) -> bytes | None:
    """The body at the end; None for an error of ours."""
    server.location = location
    with closing(Transport(SETTINGS)) as transport:
        try:
            with closing(transport.get(server.url, {})) as response:
                return response.read(100)
        except SourceError:
            return None


@pytest.mark.parametrize(
    "location",
    [
        b"http://a..b/",
        b"http://" + b"a" * 64 + b".example/",
        b"http://" + b"a." * 200 + b"example/",
        b"http://[::zz]/",
        b"http://[::1/",
        b"http://127.0.0.1:99999/",
        b"http://127.0.0.1:-1/",
        b"http://127.0.0.1:x/",
        b"http://127.0.0.1:0/",
        b"http://127.0.0.1:1/",
        b"http://127.0.0.1\0/",
        b"http://0\x001/",
        b"http://\xb2/",
        b"http://\xff\xfe/",
        b"http://%00/",
        b"//",
        b"file:///etc/passwd",
        b"gopher://127.0.0.1/",
        b"javascript:1",
        b"http://127.0.0.1 .example/",
        b"http://@/",
        b"http:///x",
        b"http:x",
        b"/\\x",
        b"/ x",
    ],
)
def test_p10_a_location_that_leads_nowhere_is_our_error(server: Redirecting, location: bytes) -> None:
    assert follow(server, location) is None


@pytest.mark.parametrize("location", [b"/x", b"x", b"?x", b"\t/x", b"/\xe2\x80\xae"])
def test_a_location_without_a_host_stays_on_this_one(server: Redirecting, location: bytes) -> None:
    assert follow(server, location) == b"body"


@given(st.binary(max_size=60).map(lambda raw: raw.translate(None, b"\r\n\0")).filter(lambda raw: b"//" not in raw))
def test_p10_any_bytes_as_a_path_on_the_same_host_lead_there_or_give_our_error(
    server: Redirecting, location: bytes
) -> None:
    assert follow(server, b"/x" + location) in (b"body", None)
