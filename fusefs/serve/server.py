"""Server: a catalog, a socket and the loop round them; it is `fusefs serve`."""

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
from fusefs.offers.choose import catalog_of, default_kept
from fusefs.offers.kept import KeptDigests
from fusefs.offers.leftout import Allowed, LeftOut
from fusefs.serve.app import make_app
from fusefs.serve.connections import serve_connections
from fusefs.serve.entry import Guard
from fusefs.serve.hosts import Hosts
from fusefs.serve.limits import ClientLimits
from fusefs.values.settings import MIB

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from starlette.types import ASGIApp

    from fusefs.offers.catalog import Offer
    from fusefs.offers.indexer import Progress
    from fusefs.serve.passwords import Passwords


class Server:
    """A registry over a directory.  Its address is taken when it is made; `run` does the rest.

    Attributes:
        url: where it is (or will be) reachable.
        public_url: the same for other machines, as far as that is known.
        offers: the models that are served, once it runs.
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
        limits: ClientLimits | None = None,
        warn: Callable[[str], None] | None = None,
        progress: Progress | None = None,
        index_dir: Path | None = None,
        tls: ssl.SSLContext | None = None,
        passwords: Passwords | None = None,
    ) -> None:
        """Take the address.

        Args:
            directory: an OLLAMA_MODELS store, a folder of model folders, one model folder, or a cache of the Hugging
                Face Hub.
            host: the address to listen at.
            port: 0 picks a free one.
            chunk_size: bytes of a chunk in the lists that are computed.
            allowed: what is served beyond the default.
            names: by which clients may call the server, beside its address and those of loopback.
            limits: what clients may take.
            warn: called with each line that the person should see; from any thread.
            progress: called while files are hashed: of which model, bytes done, bytes in all; from any thread.
            index_dir: where digests are kept; None for the user's cache directory, where there is one.
            tls: what TLS is spoken with; None for plain HTTP.
            passwords: who may read; None for everybody.

        Raises:
            ServeError: the directory cannot be served, or the address cannot be had.
            InvalidSetting: a port, a name or a chunk size that cannot be.
        """
        if chunk_size < 1:
            raise InvalidSetting(f"invalid chunk size {chunk_size}: it must be at least one byte")
        self.left_out = LeftOut()
        self._directory = _checked(directory)
        self._allowed = allowed or Allowed()
        self._hosts = Hosts(host, names)
        self._limits = (limits or ClientLimits()).within_descriptors()
        self._warn = warn or _say_nothing
        kept = KeptDigests(index_dir or default_kept(), chunk_size)
        self._catalog, self.indexer = catalog_of(
            self._directory, self._allowed, self.left_out, kept, chunk_size, progress
        )
        self.indexer.on_failure = self._warn
        self.offers: list[Offer] = []
        self._socket = _bound(host, port)
        address, port = self._socket.getsockname()[:2]
        self._tls = tls
        self._passwords = passwords
        scheme = "http" if tls is None else "https"
        self.url = _url(scheme, host, port)
        # 0.0.0.0 is no address to call from elsewhere.
        unspecified = ipaddress.ip_address(address.partition("%")[0]).is_unspecified
        self.public_url = _url(scheme, os.uname().nodename, port) if unspecified else self.url
        self._stop = threading.Event()
        self._looked = threading.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._stop_loop: trio.Event | None = None
        self._lock = threading.Lock()

    def run(self, on_ready: Callable[[str], None]) -> None:
        """Serve until `stop` or, in the main thread, SIGINT or SIGTERM; what must be hashed is hashed meanwhile.

        Args:
            on_ready: called once, with the URL, when requests are answered; `offers` are known then.
        """
        with self._socket:
            self._catalog.prepare()
            self.offers = self._catalog.offers()
            if line := self.left_out.line():
                self._warn(line)
            if not _is_loopback(self._socket) and (line := self._exposure()):
                self._warn(line)
            try:
                trio.run(self._serve, on_ready)
            finally:
                self.indexer.stop()

    def stop(self) -> None:
        """End `run` within two seconds, from any thread; also while it is hashing.  Idempotent."""
        self.indexer.stop()
        with self._lock:
            self._stop.set()
            if self._token is not None and self._stop_loop is not None:
                with contextlib.suppress(trio.RunFinishedError):
                    self._token.run_sync_soon(self._stop_loop.set)

    def wait_hashed(self, timeout: float) -> bool:
        """Wait until everything is hashed; False when that takes longer than `timeout` seconds."""
        return self._looked.wait(timeout) and self.indexer.wait_idle(timeout)

    def _exposure(self) -> str:
        """What is not protected beyond loopback; empty where all is."""
        if self._passwords is None:
            plain = "" if self._tls else ", and what is sent can be read on the way (--tls-cert)"
            return f"whoever can reach {self.url} may read all that is served (--htpasswd){plain}"
        return "" if self._tls else "passwords and files can be read on the way: use --tls-cert and --tls-key"

    async def _serve(self, on_ready: Callable[[str], None]) -> None:
        stop = trio.Event()
        with self._lock:
            self._token, self._stop_loop = trio.lowlevel.current_trio_token(), stop
            if self._stop.is_set():
                return
        with contextlib.ExitStack() as stack:
            signals = None
            if threading.current_thread() is threading.main_thread():
                signals = stack.enter_context(trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM))
            await self._serve_until(stop, signals, on_ready)

    async def _serve_until(
        self,
        stop: trio.Event,
        signals: AsyncIterator[int] | None,
        on_ready: Callable[[str], None],
    ) -> None:
        async with trio.open_nursery() as nursery:
            if signals is not None:
                nursery.start_soon(self._stop_on, signals)
            # A thread of its own, that nobody waits for: to look at a hundred thousand files takes seconds.
            threading.Thread(target=self._hash_soon, name="hash-soon", daemon=True).start()
            app: ASGIApp = make_app(self._catalog)
            if self._passwords is not None:
                app = Guard(app, self._passwords)
            await serve_connections(
                app, self._socket, self._hosts, self._limits, stop, lambda: on_ready(self.url), self._tls
            )
            nursery.cancel_scope.cancel()

    def _hash_soon(self) -> None:
        try:
            self._catalog.hash_soon()
        except ServeError as exc:
            self._warn(str(exc))  # the served folder can be read no more
        self._looked.set()

    async def _stop_on(self, signals: AsyncIterator[int]) -> None:
        async for _ in signals:
            self.stop()


def _url(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


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
