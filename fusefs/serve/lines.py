"""Lines: the bytes of one connection, plain or with TLS, for whoever speaks HTTP on them.

A send takes a part of what it is given, as that of a socket does, so that a client's pace can be counted.
"""

from __future__ import annotations

import socket
import ssl
import struct
from typing import TYPE_CHECKING, Protocol

import trio

from fusefs.errors import InvalidSetting

if TYPE_CHECKING:
    from pathlib import Path

_RECORD = 16384
"""Bytes of a TLS record at most: a client that takes one has made progress."""

_RESET = struct.pack("ii", 1, 0)  # linger for no time: close(2) drops what the kernel still has for the client


class Line(Protocol):
    """One connection.  OSError: the client has gone."""

    scheme: str

    async def begin(self) -> None:
        """Whatever comes before the first byte."""

    async def receive(self, size: int) -> bytes:
        """Some bytes, `size` at most; none at the end."""

    async def send(self, data: memoryview) -> int:
        """Hand a part of `data` to the kernel; how many bytes of it."""

    async def finish(self) -> None:
        """Say that nothing more is sent."""


class PlainLine:
    """TCP as it is."""

    scheme = "http"

    def __init__(self, stream: trio.SocketStream) -> None:
        self._socket = stream.socket

    async def begin(self) -> None:
        """See Line."""

    async def receive(self, size: int) -> bytes:
        """See Line."""
        return await self._socket.recv(size)

    async def send(self, data: memoryview) -> int:
        """See Line."""
        return await self._socket.send(data)

    async def finish(self) -> None:
        """See Line."""
        self._socket.shutdown(socket.SHUT_WR)


class TlsLine:
    """TLS over it.  After a cancelled send nothing more can be sent: its end may be missing."""

    scheme = "https"

    def __init__(self, stream: trio.SocketStream, context: ssl.SSLContext) -> None:
        self._tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)

    async def begin(self) -> None:
        """See Line."""
        try:
            await self._tls.do_handshake()
        except trio.BrokenResourceError as exc:
            raise _gone() from exc

    async def receive(self, size: int) -> bytes:
        """See Line."""
        try:
            return bytes(await self._tls.receive_some(size))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise _gone() from exc

    async def send(self, data: memoryview) -> int:
        """See Line."""
        piece = data[:_RECORD]
        try:
            await self._tls.send_all(piece)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise _gone() from exc
        return len(piece)

    async def finish(self) -> None:
        """See Line.  It waits for the client to have heard it."""
        try:
            await self._tls.unwrap()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise _gone() from exc


def drop_at_close(stream: trio.SocketStream) -> None:
    """Have the kernel forget, when the connection is closed, what the client has not taken."""
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def tls_of(certificate: Path, key: Path) -> ssl.SSLContext:
    """What TLS is spoken with.  Blocking.

    Args:
        certificate: PEM file of the server's certificate, and of those between it and the authority.
        key: PEM file of its key, not encrypted.

    Raises:
        InvalidSetting: one cannot be read, or they do not belong together.
    """
    for path, option in ((certificate, "--tls-cert"), (key, "--tls-key")):
        try:
            with open(path, "rb"):
                pass
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else exc
            raise InvalidSetting(f"cannot read {option} {path}: {reason}") from exc
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    try:
        # With an empty password an encrypted key is refused; without one OpenSSL would ask for it on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, OSError, ValueError) as exc:
        mismatch = isinstance(exc, ssl.SSLError) and exc.reason == "KEY_VALUES_MISMATCH"
        reason = (
            "the key is another certificate's" if mismatch else "want a certificate and an unencrypted key, both as PEM"
        )
        raise InvalidSetting(f"cannot use --tls-cert {certificate} with --tls-key {key}: {reason}") from exc
    return context


def _gone() -> OSError:
    return ConnectionResetError("the client has gone")
