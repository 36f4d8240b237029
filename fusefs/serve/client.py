"""Connection: HTTP/1.1 with one client, by h11, for an ASGI application; no HTTP/2, no upgrade, no body of a request.

The client is waited for with a limit at every step, and nothing is read from it while it is being answered: what it
sends meanwhile stays in the kernel.  Bytes of an answer are handed to the kernel as they come from the application, so
that a client that does not read holds up its own answer and one piece of it.
Source: RFC 9110, RFC 9112; ASGI 3.0.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote

import h11
import trio

from fusefs.serve.lines import PlainLine, TlsLine, drop_at_close
from fusefs.serve.seats import Owes

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message

    from fusefs.serve.hosts import Hosts
    from fusefs.serve.limits import ClientLimits
    from fusefs.serve.lines import Line
    from fusefs.serve.seats import Seat

log = logging.getLogger(__name__)

_RECEIVED = 8192
"""Bytes read from a client at a time."""

_DRAINED = 65536
"""Bytes of a request's body that are read and dropped so that the client gets to see the answer."""

_ABSOLUTE = {
    scheme: re.compile(rb"(?i:%s)://([^/?#]*)([/?].*)?" % scheme.encode(), re.DOTALL) for scheme in ("http", "https")
}


class _Refused(Exception):
    """A request that does not reach the application."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Connection:
    """One connection; `serve` ends when it may be closed."""

    def __init__(
        self,
        stream: trio.SocketStream,
        seat: Seat,
        app: ASGIApp,
        hosts: Hosts,
        limits: ClientLimits,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._stream = stream
        self._line: Line = PlainLine(stream) if tls is None else TlsLine(stream, tls)
        self._seat = seat
        self._app = app
        self._hosts = hosts
        self._limits = limits
        self._local: str = stream.socket.getsockname()[0]
        self._port: int = stream.socket.getsockname()[1]
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_bytes)
        self._pace_left = limits.pace_time
        self._pace_taken = 0
        self._without_body = False
        self._received = False
        self._begun = False

    async def serve(self) -> None:
        """Answer one request after the other until the client or a limit ends it."""
        with self._seat.scope:
            self._seat.mark(Owes.HEADERS)
            deadline = trio.current_time() + self._limits.head_time
            while await self._begins(deadline) and await self._serve_one(deadline):
                self._http.start_next_cycle()
                self._seat.mark(Owes.ASKING)
                deadline = trio.current_time() + self._limits.idle_time
        if self._seat.scope.cancelled_caught and self._seat.owes is Owes.TAKING:
            drop_at_close(self._stream)

    # ---- requests

    async def _begins(self, deadline: float) -> bool:
        """Whether TLS, where it is spoken, comes about in time; nothing is left to do before later requests."""
        if not self._begun:
            with trio.move_on_at(deadline), contextlib.suppress(OSError):
                await self._line.begin()
                self._begun = True
        return self._begun

    async def _serve_one(self, deadline: float) -> bool:
        """Answer the next request; False when there is none, or none may follow."""
        try:
            request = await self._next_request(deadline)
            if request is None:
                return False
            self._seat.mark(Owes.NOTHING)
            scope = self._scope(request)
            has_body = not isinstance(self._http.next_event(), h11.EndOfMessage)
        except _Refused as exc:
            await self._refuse(exc.status, exc.code, str(exc))
            return False
        except h11.RemoteProtocolError as exc:
            await self._refuse(exc.error_status_hint, "BAD_REQUEST", str(exc))
            return False
        await self._answer(scope, last=has_body)
        return await self._may_go_on()

    async def _next_request(self, deadline: float) -> h11.Request | None:
        """Wait for all headers of a request.

        Returns:
            None when the client has gone or asks nothing more.

        Raises:
            h11.RemoteProtocolError: it is no HTTP, or too long.
            _Refused: it took too long.
        """
        begun = False
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.trailing_data[0] and not begun:
                begun = True
                if self._seat.owes is Owes.ASKING:
                    self._seat.mark(Owes.HEADERS)
                    deadline = trio.current_time() + self._limits.head_time
            with trio.move_on_at(deadline) as waiting:
                self._http.receive_data(await self._receive_some())
            if waiting.cancelled_caught:
                if not begun:
                    return None
                raise _Refused(408, "TIMEOUT", f"the headers took longer than {self._limits.head_time:g} s")
        return event if isinstance(event, h11.Request) else None

    async def _receive_some(self) -> bytes:
        try:
            return await self._line.receive(_RECEIVED)
        except OSError:
            return b""  # reset by the client: the same to us as an end

    def _scope(self, request: h11.Request) -> dict[str, Any]:
        """What the application is told of a request.

        Raises:
            _Refused: it is for another server, or in a form that this one does not speak.
        """
        if request.http_version not in (b"1.0", b"1.1"):
            raise _Refused(400, "BAD_REQUEST", "want HTTP/1.1")
        path, _, query = self._path(request).partition(b"?")
        return {
            "type": "http",
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "http_version": request.http_version.decode(),
            "method": request.method.decode(),
            "scheme": self._line.scheme,
            "path": unquote(path.decode("latin-1")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": list(request.headers),
            "client": (self._seat.client, 0),
            "server": (self._local, self._port),
        }

    def _path(self, request: h11.Request) -> bytes:
        """The path and query of a request that is for us, in the usual or in the absolute form."""
        for name, value in request.headers:
            if name == b"host":
                self._check_host(value)
        if request.target.startswith(b"/"):
            return request.target
        match = _ABSOLUTE[self._line.scheme].fullmatch(request.target)
        if match is None:
            raise _Refused(400, "BAD_REQUEST", f"want a path, or an absolute {self._line.scheme}:// URL")
        self._check_host(match[1])
        path = match[2] or b"/"
        return path if path.startswith(b"/") else b"/" + path

    def _check_host(self, value: bytes) -> None:
        host = value.decode("latin-1")
        if not self._hosts.allows(host, self._local):
            message = f"this server is not {host[:100]!r}; its operator can allow a name: fusefs serve --host NAME"
            raise _Refused(421, "MISDIRECTED", message)

    # ---- answers

    async def _answer(self, scope: Mapping[str, Any], *, last: bool) -> None:
        head_only = scope["method"] == "HEAD"
        self._received = False

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._start(message["status"], message["headers"], head_only=head_only, last=last)
            elif message["type"] == "http.response.body":
                await self._continue(message.get("body", b""), more=message.get("more_body", False))

        try:
            await self._app(scope, self._receive, send)  # type: ignore[arg-type] # a dict is what it wants
        except Exception:
            # One request must not end the others; the application answers what it expects, so that this is a bug.
            log.exception("A request failed.")

    async def _receive(self) -> Message:
        """Requests have no bodies here; a client that goes away is noticed when its bytes are sent."""
        if self._received:
            await trio.sleep_forever()
        self._received = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _start(
        self, status: int, headers: list[tuple[bytes, bytes]], *, head_only: bool = False, last: bool = False
    ) -> None:
        sent = [*headers, (b"date", formatdate(usegmt=True).encode())]
        if last:
            sent.append((b"connection", b"close"))
        self._without_body = head_only or status in (204, 304)
        await self._send(self._http.send(h11.Response(status_code=status, headers=sent)))

    async def _continue(self, body: bytes | memoryview, *, more: bool) -> None:
        if len(body) and not self._without_body:
            # h11 hands on what it was given, and so a piece is in memory once.
            for piece in self._http.send_with_data_passthrough(h11.Data(data=body)) or ():  # type: ignore[arg-type]
                await self._send(piece)
        if not more:
            await self._send(self._http.send(h11.EndOfMessage()))

    async def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer with an error, as the registry's API does, and nothing after it."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        self._seat.mark(Owes.NOTHING)
        await self._start(status, headers, last=True)
        await self._continue(body, more=False)
        await self._linger()

    async def _may_go_on(self) -> bool:
        if (self._http.our_state, self._http.their_state) == (h11.DONE, h11.DONE):
            return True
        if self._http.our_state is h11.MUST_CLOSE:
            await self._linger()
        return False  # also an answer that ended too early: closing is the only way left to say so

    async def _linger(self) -> None:
        """Let the client read the end of the answer: closing with its bytes unread would reset the connection."""
        self._seat.mark(Owes.HEADERS)
        left = _DRAINED
        with trio.move_on_after(self._limits.linger_time):
            try:
                await self._line.finish()
            except OSError:
                return  # it has gone already
            while left > 0 and (data := await self._receive_some()):
                left -= len(data)

    async def _send(self, data: bytes | bytearray | memoryview | None) -> None:
        """Hand `data` to the kernel as the client takes it."""
        view = memoryview(data or b"")
        while view:
            self._seat.mark(Owes.TAKING)
            began = trio.current_time()
            count = 0
            with trio.move_on_after(self._pace_left):
                try:
                    count = await self._line.send(view)
                except OSError:
                    await self._give_up()
            view = view[count:]
            self._count(count, trio.current_time() - began)
            if self._pace_left <= 0:
                await self._give_up()
        self._seat.mark(Owes.NOTHING)

    def _count(self, taken: int, seconds: float) -> None:
        """Time in which we keep the client waiting does not count against it."""
        self._pace_left -= seconds
        self._pace_taken += taken
        if self._pace_taken >= self._limits.pace_bytes and self._pace_left <= 0:
            self._pace_left, self._pace_taken = self._limits.pace_time, 0

    async def _give_up(self) -> NoReturn:
        """End the connection from within the application, which needs no word for that."""
        self._seat.scope.cancel()
        await trio.sleep_forever()
        raise AssertionError
