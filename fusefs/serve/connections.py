"""Connections: hypercorn's HTTP/1.1 on every accepted connection, and an end within seconds.

`hypercorn.trio.serve` is not used, because it shields what it sends from cancellation: a client that stopped reading
would keep a server from stopping for ever.  Here each connection is known, so that it can be closed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from hypercorn.typing import Framework
    from starlette.types import ASGIApp

log = logging.getLogger(__name__)

_GRACE = 1.0
"""Seconds that answers under way get to end in when the server stops."""

_KEEP_ALIVE = 75.0
"""Seconds a connection may be idle, as with nginx: longer than a reader thinks between two chunks."""


async def serve_connections(
    app: ASGIApp, listening: socket.socket, stop: trio.Event, ready: Callable[[], None]
) -> None:
    """Serve `app` on a bound socket until `stop` is set; within `_GRACE` seconds after that all is closed."""
    listening.listen(128)
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
    open_streams: set[trio.SocketStream] = set()
    config = _config()
    context = WorkerContext(None)
    wrapped = wrap_app(cast("Framework", app), config.wsgi_max_body_size, "asgi")

    async def serve_one(stream: trio.SocketStream) -> None:
        open_streams.add(stream)
        try:
            await TCPServer(wrapped, config, context, ConnectionState({}), stream)  # type: ignore[arg-type]
        except Exception:
            # One connection must not end the others; hypercorn handles what it expects, so that this is a bug.
            log.exception("A connection failed.")
        finally:
            open_streams.discard(stream)
            stream.socket.close()

    accept, answer = trio.CancelScope(), trio.CancelScope()
    async with trio.open_nursery() as helpers:
        helpers.start_soon(_cancel_when, stop, accept)
        with answer:
            async with trio.open_nursery() as connections:
                ready()
                with accept:
                    await trio.serve_listeners(serve_one, [listener], handler_nursery=connections)
                await listener.aclose()
                await context.terminated.set()
                helpers.start_soon(_close_all, open_streams, answer)
        helpers.cancel_scope.cancel()


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def _close_all(open_streams: set[trio.SocketStream], answer: trio.CancelScope) -> None:
    await trio.sleep(_GRACE)
    answer.cancel()
    for stream in list(open_streams):
        stream.socket.close()  # wakes a send that is shielded from cancellation


def _config() -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = logging.getLogger("fusefs.serve.http")
    config.loglevel = "WARNING"
    config.include_server_header = False
    config.keep_alive_timeout = _KEEP_ALIVE
    config.keep_alive_max_requests = 1_000_000  # a reader of a large blob keeps its connection
    return config
