"""Server: a catalog, a socket and the loop round them; `run` is `fusefs serve`."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING

import trio

from fusefs.errors import InvalidSetting, ServeError
from fusefs.serve.app import make_app
from fusefs.serve.connections import serve_connections
from fusefs.serve.folders import Folder
from fusefs.serve.hosts import Hosts
from fusefs.serve.indexer import Indexer
from fusefs.serve.kept import KeptDigests
from fusefs.serve.leftout import Allowed, LeftOut
from fusefs.serve.limits import Limits
from fusefs.serve.plain import PlainCatalog
from fusefs.serve.store import StoreCatalog, is_store
from fusefs.system.places import cache_home
from fusefs.values.settings import MIB

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from fusefs.serve.indexer import Progress


def run(
    directory: Path,
    host: str,
    port: int,
    *,
    chunk_size: int = MIB,
    on_ready: Callable[[str], None],
    allowed: Allowed | None = None,
    names: tuple[str, ...] = (),
    warn: Callable[[str], None] | None = None,
    progress: Progress | None = None,
    index_dir: Path | None = None,
) -> None:
    """Serve `directory` until SIGINT or SIGTERM.

    Args:
        directory: an OLLAMA_MODELS store, a folder of model folders, or one model folder.
        host: the address to listen at.
        port: 0 picks a free one.
        chunk_size: bytes of a chunk in the lists that are computed.
        on_ready: called once, with the URL, when requests are answered.
        allowed: what is served beyond the default.
        names: by which clients may call the server, beside its address and those of loopback.
        warn: called before `on_ready` with each line that the person should see.
        progress: called while a file is hashed: its path, bytes done, bytes in all; from any thread.
        index_dir: where digests are kept; None for the user's cache directory, where there is one.

    Raises:
        ServeError: the directory cannot be served, or the address cannot be had.
        InvalidSetting: a port, a name or a chunk size that cannot be.
    """
    server = Server(
        directory,
        host,
        port,
        chunk_size=chunk_size,
        allowed=allowed,
        names=names,
        warn=warn,
        progress=progress,
        index_dir=index_dir,
    )
    server.run(on_ready)


class Server:
    """A registry over a directory.  Its address is taken when it is made; `run` does the rest.

    Attributes:
        url: where it is (or will be) reachable.
        indexer: what hashes the files.
        left_out: what of the directory is not served.
    """

    def __init__(
        self,
        directory: Path,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        chunk_size: int = MIB,
        allowed: Allowed | None = None,
        names: tuple[str, ...] = (),
        limits: Limits | None = None,
        warn: Callable[[str], None] | None = None,
        progress: Progress | None = None,
        index_dir: Path | None = None,
    ) -> None:
        if chunk_size < 1:
            raise InvalidSetting(f"invalid chunk size {chunk_size}: it must be at least one byte")
        self.left_out = LeftOut()
        self._directory = _checked(directory)
        self._allowed = allowed or Allowed()
        self._hosts = Hosts(host, names)
        self._limits = (limits or Limits()).within_descriptors()
        self._warn = warn or _say_nothing
        kept = KeptDigests(index_dir or _index_dir(), chunk_size)
        self.indexer = Indexer(kept, chunk_size, progress)
        self._socket = _bound(host, port)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._socket.getsockname()[1]}"
        self._stop = threading.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._stop_loop: trio.Event | None = None
        self._lock = threading.Lock()

    def run(self, on_ready: Callable[[str], None]) -> None:
        """Hash what must be hashed, then serve until `stop` or, in the main thread, SIGINT or SIGTERM."""
        with self._socket:
            catalog = self._catalog()
            catalog.prepare()
            if line := self.left_out.line():
                self._warn(line)
            if not _is_loopback(self._socket):
                self._warn(f"whoever can reach {self.url} may read all that is served: there is no authentication")
            trio.run(self._serve, catalog, on_ready)

    def stop(self) -> None:
        """End `run` within two seconds, from any thread; also while it is hashing.  Idempotent."""
        self.indexer.stop()
        with self._lock:
            self._stop.set()
            if self._token is not None and self._stop_loop is not None:
                with contextlib.suppress(trio.RunFinishedError):
                    self._token.run_sync_soon(self._stop_loop.set)

    def _catalog(self) -> StoreCatalog | PlainCatalog:
        if is_store(self._directory):
            return StoreCatalog(self._directory, self.indexer, self._allowed, self.left_out)
        folder = Folder(self._directory, self._allowed, self.left_out)
        return PlainCatalog(folder, self.indexer, self.left_out)

    async def _serve(self, catalog: StoreCatalog | PlainCatalog, on_ready: Callable[[str], None]) -> None:
        stop = trio.Event()
        with self._lock:
            self._token, self._stop_loop = trio.lowlevel.current_trio_token(), stop
            if self._stop.is_set():
                return
        with contextlib.ExitStack() as stack:
            signals = None
            if threading.current_thread() is threading.main_thread():
                signals = stack.enter_context(trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM))
            await self._serve_until(stop, catalog, signals, on_ready)

    async def _serve_until(
        self,
        stop: trio.Event,
        catalog: StoreCatalog | PlainCatalog,
        signals: AsyncIterator[int] | None,
        on_ready: Callable[[str], None],
    ) -> None:
        async with trio.open_nursery() as nursery:
            if signals is not None:
                nursery.start_soon(self._stop_on, signals)
            await serve_connections(
                make_app(catalog), self._socket, self._hosts, self._limits, stop, lambda: on_ready(self.url)
            )
            nursery.cancel_scope.cancel()

    async def _stop_on(self, signals: AsyncIterator[int]) -> None:
        async for _ in signals:
            self.stop()


def _say_nothing(_line: str) -> None:
    pass


def _is_loopback(sock: socket.socket) -> bool:
    address = ipaddress.ip_address(sock.getsockname()[0].partition("%")[0])
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _checked(directory: Path) -> Path:
    try:
        os.listdir(directory)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else str(exc)
        raise ServeError(f"cannot serve {directory}: {reason}") from exc
    return directory.absolute()


def _bound(host: str, port: int) -> socket.socket:
    """A socket at the address, not yet listening: nobody is let in before there is something to serve."""
    if not 0 <= port <= 65535:
        raise InvalidSetting(f"invalid port {port}: want 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as exc:
        raise ServeError(f"cannot listen at {host}:{port}: {exc}") from exc
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as exc:
        sock.close()
        raise ServeError(f"cannot listen at {host}:{port}: {exc.strerror}; choose another with --listen") from exc
    return sock


def _index_dir() -> Path | None:
    place = cache_home()
    return place / "serve" if place is not None else None
