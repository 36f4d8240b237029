"""A file that was replaced on its server is told by what the server says of it, whichever of that it says."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from fusefs.errors import ResponseError, SourceChanged, SourceError
from fusefs.sources.tree.treesource import TreeSource
from fusefs.sources.tree.web import WebFiles
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest
from fusefs.values.reference import parse_model
from fusefs.values.settings import Settings
from tests.loopback_server import LoopbackServer
from tests.reading import read_range

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler

    from fusefs.values.names import Name

OLD, NEW = b"old" * 1000, b"new" * 1000
BLOB = Blob(Digest.of(OLD), len(OLD))


@dataclass
class Web:
    """A server of one file, and what it says of it; it keeps the headers of every request.

    Attributes:
        content: of the file.
        headers: sent along with it.
        ranges: whether it knows ranges.
        status: of all answers, of one that fails; else 0.
    """

    content: bytes = OLD
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    status: int = 0
    asked: list[dict[str, str]] = field(default_factory=list)

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append({name.lower(): value for name, value in request.headers.items()})
        seen = self.asked[-1]
        same = seen.get("if-range") in (None, self.headers.get("ETag"))
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", seen.get("range", "")) if self.ranges and same else None
        body, size = self.content, len(self.content)
        if self.status:
            request.send_response(self.status)
        elif match and int(match[1]) >= size:
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{size}")
            body = b""
        elif match:
            body = body[int(match[1]) : int(match[2]) + 1]
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {match[1]}-{int(match[1]) + len(body) - 1}/{size}")
        else:
            request.send_response(200)
        for name, value in self.headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


@dataclass
class Made:
    web: Web
    source: TreeSource
    name: Name

    def read(self, start: int = 0, end: int = 99) -> bytes:
        return read_range(self.source, self.name, BLOB, start, end)


@pytest.fixture
def made() -> Iterator[Made]:
    web = Web()
    server = LoopbackServer(web.handle)
    server.start()
    name = parse_model(f"http://127.0.0.1:{server.port}/m#sha256={BLOB.digest.hex}")
    source = TreeSource(WebFiles(name.scheme, name.host, Settings(timeout=10, stall=5)))
    with closing(source):
        yield Made(web, source, name)
    server.stop()
    assert not server.problems


CHANGES = {
    "strong": ({"ETag": '"1"'}, {"ETag": '"2"'}),
    "weak": ({"ETag": 'W/"1"'}, {"ETag": 'W/"2"'}),
    "unquoted": ({"ETag": "1"}, {"ETag": "2"}),
    "time": ({"Last-Modified": "Fri, 27 Nov 2026 10:00:00 GMT"}, {"Last-Modified": "Fri, 27 Nov 2026 10:00:01 GMT"}),
}


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("kind", CHANGES)
def test_p2_what_was_replaced_is_refused_until_somebody_looks_anew(made: Made, kind: str, *, ranges: bool) -> None:
    made.web.headers, after = CHANGES[kind]
    made.web.ranges = ranges
    assert made.read() == OLD[:100]
    made.web.headers, made.web.content = after, NEW
    for _ in range(2):
        with pytest.raises(SourceChanged, match="has changed since it was listed") as caught:
            made.read(100, 199)
        assert not caught.value.temporary
    made.source.refresh()
    assert made.read() == NEW[:100]


@pytest.mark.parametrize("content", [OLD + b"x", OLD[:-1], OLD[:50], b""])
def test_p2_another_length_is_another_file_whatever_else_is_said(made: Made, content: bytes) -> None:
    made.source.manifest(made.name)
    made.web.content = content
    with pytest.raises(SourceChanged, match=f"had 3000 bytes and has {len(content)}"):
        made.read(100, 199)


def test_a_server_that_says_nothing_of_its_files_is_believed_as_far_as_digests_go(made: Made) -> None:
    assert made.read() == OLD[:100]
    made.web.content = NEW
    assert made.read(100, 199) == NEW[100:200]


@pytest.mark.parametrize(("etag", "sent"), [('"1"', '"1"'), ('W/"1"', None), ("1", None)])
def test_only_a_strong_etag_goes_along_as_if_range(made: Made, etag: str, sent: str | None) -> None:
    """RFC 9110, 13.1.5: a weak one never matches, so that every range would come whole."""
    made.web.headers = {"ETag": etag}
    made.source.manifest(made.name)
    made.read()
    assert made.web.asked[-1].get("if-range") == sent


def test_a_file_without_a_length_cannot_be_listed(made: Made) -> None:
    def handle(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.close_connection = True

    server = LoopbackServer(handle)
    server.start()
    name = parse_model(f"http://127.0.0.1:{server.port}/m#sha256={BLOB.digest.hex}")
    source = TreeSource(WebFiles(name.scheme, name.host, Settings(timeout=10, stall=5)))
    with closing(source), pytest.raises(SourceError, match="does not say how long it is"):
        source.manifest(name)
    server.stop()


@pytest.mark.parametrize("status", [403, 401, 410])
def test_a_list_beside_a_file_that_may_not_be_read_is_as_good_as_none(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """S3 without the right to list answers 403 for what is not there."""

    def handle(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status if request.path.endswith(".chunksums") else 200)
        request.send_header("Content-Length", "0" if request.path.endswith(".chunksums") else str(len(OLD)))
        request.end_headers()

    server = LoopbackServer(handle)
    server.start()
    try:
        name = parse_model(f"http://127.0.0.1:{server.port}/m.bin#sha256={BLOB.digest.hex}")
        with closing(TreeSource(WebFiles(name.scheme, name.host, Settings(timeout=10, stall=5)))) as source:
            assert source.chunk_list(name, BLOB) is None
    finally:
        server.stop()
    assert ("is not used" in caplog.text) is (status == 410)


def test_trouble_is_told_of_a_web_server(made: Made) -> None:
    made.web.status = 500
    with pytest.raises(ResponseError, match=": web server responded with status 500: "):
        made.read()
