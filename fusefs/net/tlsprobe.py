"""Whether a server of this machine speaks TLS: it is asked once, with the first message of a handshake.

Only of this machine, whose wires nobody taps: elsewhere whoever sits on the wire would answer in the clear, and have us
go on so.
"""

from __future__ import annotations

import contextlib
import socket
import ssl

_PATIENCE = 2.0
"""Seconds for a connection within the machine; a server that is silent for longer is asked as usual, and times out."""

_RECORDS = (b"\x16", b"\x15")
"""How the answer begins: a handshake, or an alert.  Source: RFC 8446, section 5.1."""


def speaks_tls(host: str, port: int) -> bool | None:
    """Ask a server; None when it does not say.  Blocking, for a moment."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), _PATIENCE) as sock:
        # A server of plain HTTP waits for the end of a line.
        sock.sendall(_hello(host) + b"\r\n\r\n")
        try:
            first = sock.recv(1)
        except ConnectionError:
            return False
        return first in _RECORDS
    return None


def _hello(host: str) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=host).do_handshake()
    return out.read()
