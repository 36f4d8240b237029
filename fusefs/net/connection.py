"""urllib3's connections, made so that an `Exchange` can end them and bytes go straight into the caller's buffer.

Here it is known which address a name has come to mean, so here a flight that may not go to a private one is stopped:
a look at the name before that would be outwitted by a name server that answers twice.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import ssl
import struct
import time
from io import DEFAULT_BUFFER_SIZE
from typing import TYPE_CHECKING, Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError

from fusefs.errors import PrivateAddress
from fusefs.net.addresses import is_public
from fusefs.net.exchange import Guard, current
from fusefs.net.framing import FramedResponse
from fusefs.net.resolver import RESOLVER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusefs.net.resolver import Address

_SLICE = 1 << 18
"""Bytes asked for at once where http.client loops until a buffer is full: what it has read is lost when it fails."""

_MOMENT = 0.25
"""Seconds after which what TLS has given so far is passed on; far below the silence that counts as one."""


class RawResponse(FramedResponse):
    """The response below urllib3's, which would copy every byte twice."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._ahead = True  # the buffer may hold bytes that came with the head
        self._partial = False
        self._sock = sock
        flight = current.get()
        if flight is not None:
            flight.raw = self

    def receive_into(self, buffer: memoryview) -> int:
        """Fill the front of `buffer` with what one receive gives; 0 at the end or when the connection ended."""
        if self.fp is None or not buffer:
            return 0
        if self.chunked or self.length is None:
            return self.readinto(buffer[:_SLICE])
        wanted = min(len(buffer), self.length)
        # A larger read would take the buffered bytes and then receive, and lose them when that fails; a range is
        # resumed at the byte where it broke.
        through_buffer = self._ahead or wanted <= DEFAULT_BUFFER_SIZE
        if through_buffer:
            wanted = min(wanted, DEFAULT_BUFFER_SIZE)
        if through_buffer:
            got: int = self.fp.readinto1(buffer[:wanted])
        elif isinstance(self._sock, ssl.SSLSocket):
            got = self._decipher(self._sock, buffer[:wanted])
        else:
            got = self._receive(buffer[:wanted])
        self._ahead = through_buffer and got == wanted
        self.length -= got
        if got == 0 or self.length == 0:
            self.close()
        return got

    def _decipher(self, sock: ssl.SSLSocket, buffer: memoryview) -> int:
        """Fill `buffer` record by record, for a moment at most; fewer bytes at the end, or after a moment.

        A record has 16 KiB at most, and each way up from here to who hashes costs more than deciphering it.

        Raises:
            TimeoutError, OSError: not one byte came.
        """
        filled, until = 0, time.monotonic() + _MOMENT
        while filled < len(buffer):
            try:
                got = sock.recv_into(buffer[filled:])
            except OSError:
                if not filled:
                    raise
                break  # what has come is right; the next receive meets the same again
            if not got:
                break
            filled += got
            if time.monotonic() >= until:
                break  # on a slow link whoever watches for progress must see it
        return filled

    def _receive(self, buffer: memoryview) -> int:
        """Wait in the kernel until all of `buffer` is there, or the end, or the time is over.

        A receive a packet burst, each with a poll before it, costs more than hashing what it gives: every one of them
        lets go of the interpreter and waits to have it back.

        Raises:
            TimeoutError: not one byte came.
        """
        sock = self._sock
        timeout = sock.gettimeout()
        if timeout is not None:
            # A wait that gave a part was over because of the time, which went on since the last byte of that part.
            left = max(0.001, timeout - _silence(sock)) if self._partial else timeout
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", int(left), int(left % 1 * 1e6)))
            sock.settimeout(None)
        try:
            got = sock.recv_into(buffer, flags=socket.MSG_WAITALL)
        except BlockingIOError as exc:
            raise TimeoutError("timed out") from exc
        finally:
            sock.settimeout(timeout)
        self._partial = got < len(buffer)
        return got


def _silence(sock: socket.socket) -> float:
    """Seconds since the last byte came.  Source: tcp(7), TCP_INFO; `tcpi_last_data_recv` in linux/tcp.h."""
    with contextlib.suppress(OSError, struct.error):
        return float(struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 64), 52)[0]) / 1000
    return 0.0


class _Guarded(HTTPConnection):
    response_class = RawResponse
    _guard: Guard | None = None
    _address = ""
    _public = False

    def _new_conn(self) -> socket.socket:
        failure: OSError | None = None
        refused: PrivateAddress | None = None
        for family, kind, protocol, address in self._addresses():
            try:
                self._address, self._public = str(address[0]), is_public(str(address[0]))
                self._check_address()
                return self._connected(socket.socket(family, kind, protocol), address)
            except PrivateAddress as exc:
                refused = exc
            except OSError as exc:
                failure = exc
        if failure is None and refused is not None:
            raise refused
        # Not an OSError: urllib3 takes some of those for "the request was sent, there may be an answer".
        raise NewConnectionError(self, str(failure or f"{self.host} has no address")) from failure

    def _addresses(self) -> list[Address]:
        timeout = self.timeout if isinstance(self.timeout, float | int) else None
        try:
            return RESOLVER.addresses(self.host.strip("[]"), self.port, timeout=timeout, flight=current.get())
        except OSError as exc:
            raise NewConnectionError(self, str(exc)) from exc

    def _connected(self, sock: socket.socket, address: Any) -> socket.socket:
        guard = Guard(sock)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            _check(sock.connect_ex(address))
            # Only now, because `shutdown` does nothing to a socket that has not begun to connect.
            flight = current.get()
            if flight is not None:
                flight.watch(guard)
            _wait_connected(sock, self.timeout)
            sock.settimeout(self.timeout)
        except BaseException:
            sock.close()
            guard.drop()
            raise
        self._guard = guard
        return sock

    def request(
        self, method: str, url: str, body: Any = None, headers: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        flight = current.get()
        if flight is not None and self._guard is not None:  # a warm connection: made in an earlier flight
            self._check_address()
            flight.watch(self._guard)
        super().request(method, url, body, headers, **kwargs)

    def _check_address(self) -> None:
        """Tell the flight whether it goes to a public address.

        Raises:
            PrivateAddress: it does not, and must.
        """
        flight = current.get()
        if flight is None:
            return
        if flight.no_private and not self._public:
            raise refusal(self.host, self._address)
        flight.public = self._public

    def close(self) -> None:
        guard, self._guard = self._guard, None
        super().close()
        if guard is not None:
            guard.drop()


def refusal(host: str, address: str) -> PrivateAddress:
    """Why a flight does not go to `host`."""
    where = host if host.strip("[]") == address else f"{host} ({address})"
    text = f"a public host sends us on to the private address {where}: refused; --allow-private allows it"
    return PrivateAddress(text, source=host)


def _wait_connected(sock: socket.socket, timeout: float | None) -> None:
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    if not poll.poll(None if timeout is None else timeout * 1000):
        raise TimeoutError("the connection was not accepted in time")
    _check(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def _check(number: int) -> None:
    if number not in (0, errno.EINPROGRESS):
        raise OSError(number, os.strerror(number))


class _GuardedTls(_Guarded, HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        # urllib3 warns at each request for which nothing was verified.  That is so only where a person wrote
        # https+insecure, and the warning is for programs that did not ask.
        self.is_verified = True


class _Closable(HTTPConnectionPool):
    """A pool that may be closed by one thread while another one gives a connection back."""

    def _put_conn(self, conn: Any) -> None:
        try:
            super()._put_conn(conn)
        except AttributeError:
            # It was full, and closed before urllib3 asked for its size to warn of that.
            if self.pool is not None:
                raise
            if conn is not None:
                conn.close()


class HttpPool(_Closable):
    """Connections to one host, in the clear."""

    ConnectionCls = _Guarded


class HttpsPool(_Closable, HTTPSConnectionPool):
    """Connections to one host, over TLS."""

    ConnectionCls = _GuardedTls
