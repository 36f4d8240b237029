"""How a server misbehaves: an `Answer` as it should be, a `Fault`, and what then goes over the wire."""

from __future__ import annotations

import gzip
import socket
import struct
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from http.server import BaseHTTPRequestHandler

Kind = Literal[
    "wrong-bytes",  # as many bytes, all other ones
    "flipped-bit",  # one bit of byte `at`
    "short-body",  # the connection ends after `at` bytes
    "short-clean",  # `at` bytes, and Content-Length says so
    "long-body",  # more bytes than asked for, and Content-Length says so
    "long-chunked",  # more bytes than asked for, without a Content-Length
    "whole-for-range",  # 200 and the whole blob
    "wrong-content-range",  # shifted by one
    "wrong-total",  # the total in Content-Range is one too large
    "no-content-range",
    "wrong-length",  # Content-Length is one too small
    "gzip",  # compressed though nobody asked for it
    "reset-before",  # before the head
    "reset-amid",  # after `at` bytes of the body
    "reset-after",  # after the whole body, though keep-alive was promised
    "silence-before",  # nothing comes, until `release`
    "silence-amid",  # `at` bytes, then nothing, until `release`
    "trickle",  # a byte each `interval` seconds
    "status",  # `status` with a JSON error document; `retry_after`
    "html",  # `status` with an HTML page
    "redirect",  # 307 to `to`
    "redirect-host",  # 307 to the same path at `to`
    "redirect-loop",
    "cut-body",  # the first `at` bytes, chunked, with a clean end
    "replace-body",  # `body` instead
    "act",  # `act` is called before the answer is made, which is as it should be
]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass
class Answer:
    """An answer as it should be.

    Attributes:
        status: HTTP status.
        body: its bytes.
        headers: without Content-Length.
        whole: the blob of which `body` is a part, if it is one.
        on_sent: told before each piece how many bytes of the body go out.
        chunked: sent with Transfer-Encoding: chunked.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    whole: bytes | None = None
    on_sent: Callable[[int], None] = lambda _size: None
    chunked: bool = False


@dataclass
class Fault:
    """One way to misbehave; the fields beyond `kind` matter to some kinds only."""

    kind: Kind
    times: int | None = 1
    at: int | None = None
    status: int = 503
    retry_after: str | None = None
    interval: float = 0.05
    to: str = ""
    body: bytes = b""
    act: Callable[[], None] = lambda: None


@dataclass
class Wire:
    """One connection, and how to wait on it.

    Attributes:
        handler: of the request that is to be answered.
        released: ends every silence.
        silent: set when a silence begins.
    """

    handler: BaseHTTPRequestHandler
    released: threading.Event
    silent: threading.Event

    def send(self, answer: Answer, fault: Fault | None) -> None:
        """Answer, rightly or wrongly."""
        at = len(answer.body) // 2
        if fault is not None:
            at = at if fault.at is None else fault.at
            answer = _changed(answer, fault, at, self.handler.path)
        kind = fault.kind if fault is not None else None
        if kind == "reset-before":
            return self.reset()
        if kind == "silence-before":
            self._silence()
        self._head(answer, -1 if kind == "wrong-length" else 0)
        if kind == "trickle" and fault is not None:
            return self._trickle(answer, fault.interval)
        if kind in ("short-body", "reset-amid", "silence-amid"):
            self._piece(answer, answer.body[:at])
            if kind == "silence-amid":
                self._silence()
            return self.reset() if kind == "reset-amid" else self._end()
        self._piece(answer, answer.body)
        if answer.chunked:
            self.handler.wfile.write(b"0\r\n\r\n")
        if kind == "reset-after":
            self.reset()
        return None

    def reset(self) -> None:
        """End the connection with RST."""
        self.handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._end()

    def _end(self) -> None:
        self.handler.close_connection = True

    def _silence(self) -> None:
        self.handler.wfile.flush()
        self.silent.set()
        self.released.wait(60)

    def _head(self, answer: Answer, off_by: int) -> None:
        self.handler.send_response(answer.status)
        for key, value in answer.headers.items():
            self.handler.send_header(key, value)
        if answer.chunked:
            self.handler.send_header("Transfer-Encoding", "chunked")
        else:
            self.handler.send_header("Content-Length", str(len(answer.body) + off_by))
        self.handler.end_headers()

    def _piece(self, answer: Answer, data: bytes) -> None:
        if not data or self.handler.command == "HEAD":
            return
        answer.on_sent(len(data))  # before the client can have it, so that a test may look at once
        self.handler.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if answer.chunked else data)
        self.handler.wfile.flush()

    def _trickle(self, answer: Answer, interval: float) -> None:
        for i in range(len(answer.body)):
            self._piece(answer, answer.body[i : i + 1])
            if self.released.wait(interval):
                return self._end()
        return None


def _changed(answer: Answer, fault: Fault, at: int, path: str) -> Answer:
    """The answer with what of the fault is in its content."""
    headers = dict(answer.headers)
    match fault.kind:
        case "gzip":
            return replace(answer, body=gzip.compress(answer.body), headers={**headers, "Content-Encoding": "gzip"})
        case "whole-for-range" if answer.whole is not None:
            headers.pop("Content-Range", None)
            return replace(answer, status=200, body=answer.whole, headers=headers)
        case "wrong-content-range" | "wrong-total" | "no-content-range":
            return replace(answer, headers=_other_range(headers, fault.kind))
        case "status" | "html":
            return _error(fault)
        case "redirect" | "redirect-loop":
            return Answer(307, b"", {"Location": path if fault.kind == "redirect-loop" else fault.to})
        case "redirect-host":
            return Answer(307, b"", {"Location": fault.to + path})
    return _other_body(answer, fault, at)


def _other_body(answer: Answer, fault: Fault, at: int) -> Answer:
    body = answer.body
    match fault.kind:
        case "wrong-bytes":
            return replace(answer, body=bytes(byte ^ 0xFF for byte in body))
        case "flipped-bit":
            return replace(answer, body=body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :])
        case "short-clean":
            return replace(answer, body=body[:at])
        case "cut-body":
            return replace(answer, body=body[:at], chunked=True)
        case "long-body" | "long-chunked":
            return replace(answer, body=body + b"more", chunked=fault.kind == "long-chunked")
        case "wrong-length":
            return replace(answer, chunked=False)
        case "replace-body":
            return replace(answer, body=fault.body)
    return answer


def _other_range(headers: dict[str, str], kind: Kind) -> dict[str, str]:
    span, _, total = headers.pop("Content-Range", "bytes 0-0/1").removeprefix("bytes ").partition("/")
    start, _, end = span.partition("-")
    if kind == "no-content-range":
        return headers
    if kind == "wrong-total":
        return {**headers, "Content-Range": f"bytes {span}/{int(total) + 1}"}
    return {**headers, "Content-Range": f"bytes {int(start) + 1}-{int(end) + 1}/{total}"}


def _error(fault: Fault) -> Answer:
    headers = {"Retry-After": fault.retry_after} if fault.retry_after is not None else {}
    if fault.kind == "html":
        page = b"<html><body><h1>Something is wrong</h1></body></html>"
        return Answer(fault.status, fault.body or page, {**headers, "Content-Type": "text/html"})
    document = b'{"errors":[{"code":"SCRIPTED","message":"a fault of the test"}]}'
    return Answer(fault.status, fault.body or document, {**headers, "Content-Type": "application/json"})
