"""A threaded HTTP(S) server on the loopback address for tests: one handler, clean start and stop."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable


class LoopbackServer:
    """Hands every GET to `handle`, from a thread of its own per connection.

    Attributes:
        port: where it listens from the moment it is made, so that URLs can be written before it starts.
        problems: what went wrong inside `handle`, other than clients that went away.
    """

    def __init__(
        self,
        handle: Callable[[BaseHTTPRequestHandler], None],
        context: ssl.SSLContext | None = None,
        port: int = 0,
        address: str = "127.0.0.1",
    ) -> None:
        self.problems: list[str] = []
        self._server = _Server((address, port), _handler_class(handle, self.problems))
        self._server.context = context
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def refuse(self) -> None:
        """End every connection and refuse new ones, until `accept`; the port stays ours.  Idempotent."""
        if self._server.accepting.is_set():
            self._server.accepting.clear()
            self._server.socket.shutdown(socket.SHUT_RDWR)  # a listening socket stops to listen, and stays bound
        self._server.end_connections()

    def accept(self) -> None:
        """Accept connections again.  Idempotent."""
        if not self._server.accepting.is_set():
            self._server.socket.listen(_Server.request_queue_size)
            self._server.accepting.set()

    def stop(self) -> None:
        """End every connection, and wait for all threads."""
        self._server.accepting.set()
        self._server.shutdown()
        self._thread.join()
        self._server.end_connections()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close waits for them
    block_on_close = True
    request_queue_size = 128
    context: ssl.SSLContext | None = None

    def __init__(self, *args: Any) -> None:
        self.accepting = threading.Event()
        self.accepting.set()
        super().__init__(*args)
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()

    def server_bind(self) -> None:
        """Bind.  Only a port that was asked for by its number stays bound when the socket stops to listen."""
        if self.server_address[1] == 0:
            with socket.socket() as chosen:
                chosen.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                chosen.bind(self.server_address)
                self.server_address = chosen.getsockname()
                super().server_bind()
        else:
            super().server_bind()

    def get_request(self) -> tuple[socket.socket, Any]:
        if not self.accepting.wait(0.05):  # the socket counts as readable all the time
            raise OSError("refusing")
        sock, address = super().get_request()
        if self.context is not None:
            # The handshake is made by the connection's own thread, so that a client that fails it blocks nobody.
            sock = self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._connections.add(sock)
        return sock, address

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        # Not socketserver's own shutdown(SHUT_WR) first: it would turn a reset that a fault asks for into a clean end.
        self.close_request(request)

    def end_connections(self) -> None:
        with self._lock:
            for sock in self._connections:
                with suppress(OSError):  # it has ended by itself
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what many tests are about; all else is told by the handler."""


def _handler_class(
    handle: Callable[[BaseHTTPRequestHandler], None], problems: list[str]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16
        body = b""
        disable_nagle_algorithm = True  # or the end of a chunked body waits 40 ms for an acknowledgement

        def do_GET(self) -> None:
            try:
                handle(self)
            except OSError:
                self.close_connection = True
            except Exception as exc:  # told when the test ends
                problems.append(f"the test server failed: {exc!r}")
                self.close_connection = True

        def do_POST(self) -> None:
            self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def do_PUT(self) -> None:
            self.do_POST()

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *args: Any) -> None:
            pass

    return Handler
