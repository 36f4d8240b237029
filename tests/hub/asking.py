"""Asking: one request and its answer as it is: no redirect is followed, nothing is unpacked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answered:
    """What came back; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body, of JSON."""
        return json.loads(self.body)


def ask(url: str, *, method: str = "GET", token: str | None = None, body: bytes = b"", **headers: str) -> Answered:
    """Ask; underscores in the names of headers are hyphens."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        given["Authorization"] = f"Bearer {token}"
    connection = HTTPConnection(parts.hostname, parts.port, timeout=60)
    try:
        connection.request(method, f"{parts.path}?{parts.query}" if parts.query else parts.path, body or None, given)
        answer = connection.getresponse()
        return Answered(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()
