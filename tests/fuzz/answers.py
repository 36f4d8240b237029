"""What a registry says: challenges, tokens, errors, Retry-After, the frame of a range, and where it sends us on to."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from http.client import parse_headers
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fusefs.errors import SourceError, WrongResponse
from fusefs.net.addresses import is_public, literal
from fusefs.net.secret import Secret
from fusefs.net.url import Url
from fusefs.sources.registry.auth import Authenticator
from fusefs.sources.registry.challenges import challenges_of
from fusefs.sources.registry.credentials import KeyRing
from fusefs.sources.registry.responses import describe, error_of, given_range, retry_after
from fusefs.values.chunks import Chunk
from tests.fuzz.target import NUMBERS, Target, joined, split

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusefs.net.secret import Secret
    from fusefs.net.transport import Response, Transport

NOW = 1_700_000_000.0


class Answer:
    """A Response over bytes in memory."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.status, self.headers, self.source, self.url = (
            status,
            headers,
            "registry.example",
            "https://registry.example/",
        )
        self.redirected, self.public, self.sent = False, True, False
        self.through = ""
        self._body = body

    def read(self, limit: int) -> bytes:
        return self._body[:limit]

    def close(self) -> None:
        pass

    def discard(self) -> None:
        pass

    def as_response(self) -> Response:
        return cast("Response", self)


class Tokens:
    """A Transport whose every answer is the same, and which knows what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[tuple[str, Secret | None]] = []
        self._answer = answer

    def get(
        self, url: str, _headers: Mapping[str, str], *, authorization: Secret | None = None, **_: object
    ) -> Response:
        self.asked.append((url, authorization))
        return self._answer.as_response()

    def as_transport(self) -> Transport:
        return cast("Transport", self)


def headers_of(data: bytes) -> dict[str, str]:
    """Headers as an HTTP client hands them on: any bytes but line ends."""
    message = parse_headers(BytesIO(data + b"\r\n\r\n"))
    return {key: value for key, value in message.items() if isinstance(value, str)}


def challenge(data: bytes) -> None:
    """Of what a 401 asks for nothing is longer than what was looked at, and one more in front or behind is found."""
    text = data.decode("latin-1")
    found = challenges_of([text])
    assert sum(len(c.scheme + c.realm + c.service) + sum(map(len, c.scopes)) for c in found) <= 8192
    assert all(c.scheme == c.scheme.lower() for c in found)
    own = challenges_of(['Own realm="here"'])
    assert challenges_of(['Own realm="here"', text])[:1] == own
    assert len(found) == 32 or challenges_of([text, 'Own realm="here"']) == found + own


def token(data: bytes) -> None:
    """A token is taken from an answer or is not; who is asked for it is who may be, and hears no more than he may."""
    header, body = split(data, 2)
    registry = Url.parse("https://registry.example").origin
    tokens = Tokens(Answer(200, {}, body))
    keys = KeyRing(Path("/nonexistent/key"), Path("/nonexistent/config.json"))
    asker = Authenticator(registry, tokens.as_transport(), keys, clock=lambda: NOW)
    try:
        renewed = asker.renew("library/x", [header.decode("latin-1")], None)
    except SourceError:
        renewed = False
    secret = asker.current("library/x")
    assert renewed == (secret is not None)
    if secret is not None:
        assert secret.value.isprintable()
        assert secret.value.isascii()
    for url, shown in tokens.asked:
        assert str(url).startswith("https://")
        assert shown is None


def error_document(data: bytes) -> None:
    """One line that is safe on a terminal, of a bounded length, whatever a registry says went wrong."""
    code, message = describe(data)
    for text in (code, message):
        assert text.isprintable()
        assert len(text) <= 400
    for status in (200, 302, 401, 404, 416, 429, 500):
        error = error_of(Answer(status, {}, data).as_response())
        assert str(error).isprintable()


def head(data: bytes) -> None:
    """Retry-After is a time that can be waited for; a frame holds what was asked for, or is refused."""
    headers = headers_of(data)
    for value in (data.decode("latin-1"), *headers.values()):
        seconds = retry_after(value, now=datetime(2026, 1, 1, tzinfo=UTC))
        assert seconds is None or 0 <= seconds < math.inf
    for status in (200, 206):
        for frame in (headers, {"Content-Range": data.decode("latin-1")}, {"Content-Length": data.decode("latin-1")}):
            answer = Answer(status, frame)
            try:
                given = given_range(answer.as_response(), Chunk(10, 19), 100)
            except WrongResponse:
                continue
            assert given.start <= 10
            assert 19 <= given.end < 100
            assert status == 206 or given == Chunk(0, 99)
            assert frame.get("Content-Length", str(given.size)).strip() == str(given.size)


def location(data: bytes) -> None:
    """What a Location means is an http URL with a host and a port, or an error of ours."""
    here = Url.parse("https://registry.example/v2/library/x/blobs/sha256:0")
    try:
        url = here.join(data.decode("latin-1"))
    except SourceError:
        return
    assert Url.parse(str(url)) == url, "its print is read as the same"
    there = url.origin
    assert there.scheme in ("http", "https")
    assert there.host
    assert 0 < there.port < 1 << 16
    assert str(there)
    assert there.loopback in (False, True)
    address = literal(there.host)
    if there.loopback and there.host != "localhost":
        assert address is not None
        assert not is_public(address)


_TOKEN = json.dumps({"token": "abc.def", "expires_in": 300}).encode()
_REALM = b'Bearer realm="https://auth.example/token",service="registry",scope="repository:library/x:pull"'
_ERRORS = json.dumps({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown", "detail": {}}]}).encode()
_HEADS = (
    b"120",
    b"Wed, 21 Oct 2026 07:28:00 GMT",
    b"bytes 10-19/100",
    b"10",
    b"Content-Range: bytes 10-19/100\r\nContent-Length: 10\r\nRetry-After: 5",
    b"Content-Range: bytes 10-19/*",
)
_LOCATIONS = (
    b"https://storage.example/a?b=c#d",
    b"/v2/x",
    b"//other.example:8080/x",
    b"http://[::1]:80/",
    b"https://user:password@h/",
    b"https://127.0.0.1/",
)


def _token_seeds() -> list[bytes]:
    own = b'Bearer realm="https://registry.example/token?a=b",scope="a b c"'
    answers = (_TOKEN, b'{"access_token":"x"}', b'{"token":"","access_token":"y","expires_in":1e9}', b"[]")
    return [joined(realm, answer) for realm in (_REALM, own, b"Basic realm=x", b"Bearer") for answer in answers]


_JSON = (b"null", b'"token":', b'"expires_in":', b'"\\ud800"', b"NaN", b"Infinity", b"-Infinity", b"[" * 9, b"9" * 400)

TARGETS = (
    Target(
        "challenge",
        challenge,
        lambda: (_REALM, b"Basic realm=x", b'bearer realm = "a\\"b"'),
        (b"Bearer ", b'realm="', b'\\"', b"scope=", b",", b"=", b" "),
        1 << 13,
    ),
    Target("token", token, _token_seeds, (b"realm=", b"https://", b"http://", b"registry.example", *_JSON, *NUMBERS)),
    Target(
        "error-document",
        error_document,
        lambda: (_ERRORS, b'{"error":"no","code":"NO"}', b"<html>no</html>", b'"no"'),
        (b'"errors":', b'"code":', b'"message":', b"\\u001b", b"\x1b[", "\u202e".encode(), *_JSON),
    ),
    Target("head", head, lambda: _HEADS, (b" GMT", b" +9999999999", b"bytes ", b"/*", b"Retry-After: ", *NUMBERS), 512),
    Target(
        "location", location, lambda: _LOCATIONS, (b"://", b"@", b"[", b"]", b"%00", b":99999", b"\\", b"\xb2"), 512
    ),
)
