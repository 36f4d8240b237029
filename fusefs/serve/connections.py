"""Connections: a place for each, as many as the limits say, and an end of all of them within seconds."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import trio

from fusefs.serve.client import Connection
from fusefs.serve.seats import Seats

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    from starlette.types import ASGIApp

    from fusefs.serve.hosts import Hosts
    from fusefs.serve.limits import ClientLimits

log = logging.getLogger(__name__)

_GRACE = 1.0
"""Seconds that answers under way get to end in when the server stops."""

_WAITING = 1024
"""Connections that the kernel keeps until we accept them: of a flood, too, or the others' would be lost in it."""

_FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"


async def serve_connections(
    app: ASGIApp,
    listening: socket.socket,
    hosts: Hosts,
    limits: ClientLimits,
    stop: trio.Event,
    ready: Callable[[], None],
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve `app` on a bound socket until `stop` is set; within `_GRACE` seconds after that all is closed."""
    listening.listen(_WAITING)
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
    seats = Seats(limits)

    async def serve_one(stream: trio.SocketStream) -> None:
        with stream.socket:
            await _serve_stream(stream, seats, app, hosts, limits, tls)

    accept = trio.CancelScope()
    async with trio.open_nursery() as helpers:
        helpers.start_soon(_cancel_when, stop, accept)
        async with trio.open_nursery() as connections:
            ready()
            with accept:
                await trio.serve_listeners(serve_one, [listener], handler_nursery=connections)
            await listener.aclose()
            helpers.start_soon(_end, seats)
        helpers.cancel_scope.cancel()


async def _serve_stream(
    stream: trio.SocketStream,
    seats: Seats,
    app: ASGIApp,
    hosts: Hosts,
    limits: ClientLimits,
    tls: ssl.SSLContext | None,
) -> None:
    try:
        seat = seats.take(stream.socket.getpeername()[0])
    except OSError:
        return  # reset before it was accepted
    if seat is None:
        with contextlib.suppress(OSError):
            if tls is None:  # a word that is not TLS would only puzzle, and TLS is work for whom there is no room
                await stream.socket.send(_FULL)  # a fresh connection has room for it
        return
    try:
        await Connection(stream, seat, app, hosts, limits, tls).serve()
    except Exception:
        # One connection must not end the others; what can go wrong with a client is handled, so that this is a bug.
        log.exception("A connection failed.")
    finally:
        seats.leave(seat)


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def _end(seats: Seats) -> None:
    seats.end_idle()
    await trio.sleep(_GRACE)
    seats.end_all()
