"""What a Hub says, wherever it says it, is at most a bounded printable line of one of our errors."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from fusefs.sources.hub.hub import HubSource
from fusefs.values.chunks import Blob, Chunk
from fusefs.values.digest import Digest
from fusefs.values.hubendpoint import HubEndpoint
from fusefs.values.hubname import HubName
from fusefs.values.settings import Settings
from tests.property.test_said import LONGEST, SAID, Speaker, error_of

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMIT = b"ab" * 20
_REFUSED = b"HTTP/1.1 %b No\r\nContent-Length: 0\r\n"
WAYS = {
    "a code": _REFUSED.replace(b"%b", b"404") + b"X-Error-Code: %b\r\nX-Error-Message: %b\r\n\r\n",
    "a gate": _REFUSED.replace(b"%b", b"403") + b"X-Error-Code: GatedRepo\r\nX-Error-Message: %b\r\n\r\n",
    "a message": _REFUSED.replace(b"%b", b"401") + b"X-Error-Message: %b\r\n\r\n",
    "a limit": _REFUSED.replace(b"%b", b"429") + b"RateLimit: %b\r\nRateLimit-Policy: %b\r\nRetry-After: %b\r\n\r\n",
    "half a limit": _REFUSED.replace(b"%b", b"429")
    + b'RateLimit: "api";r=0;t=%b\r\nRateLimit-Policy: q=1;w=%b\r\n\r\n',
    "a commit": b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"sha":"%b"}',
    "an entry": b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[{"type":"file","path":"%b","oid":"%b","size":1}]',
    "a page": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%b",
    "a next page": b'HTTP/1.1 200 OK\r\nLink: <%b>; rel="next"\r\nContent-Length: 2\r\n\r\n[]',
    "a place": b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n",
}


@pytest.fixture(scope="module")
def speaker() -> Iterator[Speaker]:
    with closing(Speaker()) as made:
        yield made


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@given(SAID)
@pytest.mark.logs(".*")
def test_p10_an_error_is_one_bounded_printable_line_whatever_a_hub_says(
    speaker: Speaker, way: bytes, said: bytes
) -> None:
    speaker.answer = way.replace(b"%b", said)
    hub = HubEndpoint("http", speaker.host)
    with closing(HubSource(hub, Settings(timeout=5, stall=2))) as source:
        for text in (f"hf://org/m@{COMMIT.decode()}", "hf://org/m"):
            name = HubName.read(text, hub)
            assert name is not None
            for call in (
                lambda name=name: source.manifest(name),
                lambda name=name: source.open_range(name, Blob(Digest.of(b"hello"), 5), Chunk(0, 4)).close(),
            ):
                line = error_of(call)
                assert line.isprintable(), repr(line)
                assert len(line) <= LONGEST
