"""The seam to fusefs.errors: what urllib3, http.client, ssl and sockets raise, and what it means here."""

from __future__ import annotations

import re
import ssl
from http.client import HTTPException, RemoteDisconnected
from socket import gaierror
from typing import TYPE_CHECKING

from urllib3 import exceptions as u3

from fusefs.errors import (
    FusefsError,
    SourceError,
    StallTimeout,
    TlsError,
    TransportError,
    Unauthorized,
    WrongResponse,
)
from fusefs.net.trust import remedy
from fusefs.system.descriptors import ran_out
from fusefs.values.printable import line_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusefs.net.exchange import Exchange

_MAX_REASON = 200
"""Characters; http.client quotes the line that it did not understand."""

_NO_TLS = frozenset(("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"))
"""What OpenSSL says of an answer in the clear, by its version."""

_TLS_ALERT = "\x15\x03"
"""How the answer of a TLS server to a request in the clear begins.  Source: RFC 8446 §5.1."""

_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3}) ?(.*)")
"""As http.client says that a proxy does not connect us."""


FOREIGN = (u3.HTTPError, HTTPException, OSError, ValueError, WrongResponse)
"""What urllib3, http.client, ssl and the socket raise; the last is of a frame, which does not know whose it is."""


def translated(exc: Exception, flight: Exchange, source: str) -> FusefsError:
    """What to raise in the place of a `FOREIGN` error: why the flight was ended from outside, if it was."""
    if flight.ended is not None:
        return flight.error(source)
    if isinstance(exc, WrongResponse):
        return WrongResponse(str(exc), source=source)
    causes = list(_causes(exc))
    if any(ran_out(cause) for cause in causes):
        return TransportError("cannot be asked: this process may open no more files (ulimit -n)", source=source)
    if flight.through:
        if any(isinstance(cause, u3.ProxyError) for cause in causes):
            return _of_proxy(causes, source, flight.through)
        source = f"{source}, asked through {flight.through}"
    return _of_host(exc, causes, source, flight)


def _of_host(exc: Exception, causes: list[BaseException], source: str, flight: Exchange) -> SourceError:
    for cause in causes:
        # urllib3 counts every failure to connect among its timeouts.
        if isinstance(cause, (TimeoutError, u3.TimeoutError)) and not isinstance(cause, u3.NewConnectionError):
            return StallTimeout("no byte came within the stall time", source=source)
        if isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)):
            return TransportError("the connection ended inside TLS" + _other_scheme(causes, flight), source=source)
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = line_of(cause.verify_message, _MAX_REASON)
            return TlsError(f"its certificate is not trusted: {reason}; {remedy()}", source=source)
    for cause in reversed(causes):
        if isinstance(cause, (ssl.SSLError, u3.SSLError)):
            if getattr(cause, "reason", None) in _NO_TLS:
                return TlsError("it does not speak TLS at this port" + _other_scheme(causes, flight), source=source)
            return TlsError(f"TLS failed: {_reason(cause)}", source=source)
    if isinstance(exc, (u3.LocationValueError, u3.ProxySchemeUnknown, ValueError)):
        return SourceError(f"cannot be asked: {_reason(exc)}", source=source)
    return TransportError(_reason(causes[-1]) + _other_scheme(causes, flight), source=source)


def _of_proxy(causes: list[BaseException], asked: str, proxy: str) -> SourceError:
    """The proxy was not reached, or does not connect us: nothing of it is the fault of whom we asked for."""
    tunnel = next((match for cause in causes if (match := _TUNNEL.search(str(cause)))), None)
    if tunnel is None:
        return TransportError(f"{_reason(causes[-1])}; it was to ask {asked}", source=proxy)
    answer = f"{tunnel[1]} {line_of(tunnel[2], _MAX_REASON)}".strip()
    if tunnel[1] == "407":
        return Unauthorized(proxy_login(answer), source=proxy)
    text = f"it does not connect us to {asked} ({answer})"
    passing = tunnel[1] in ("500", "502", "503", "504")
    return TransportError(text, source=proxy) if passing else SourceError(text, source=proxy)


def proxy_login(answer: str) -> str:
    """What a 407 means."""
    return (
        f"it wants a user and a password, or refuses those that it was given ({answer}): http://user:password@host:port"
    )


def _other_scheme(causes: list[BaseException], flight: Exchange) -> str:
    """A hint, where a host that never answered before may be one that was named with the wrong scheme."""
    if flight.expected or any(isinstance(cause, (u3.NameResolutionError, gaierror)) for cause in causes):
        return ""
    if flight.scheme == "https":
        return "; to ask it in the clear, write http:// before its name"
    last = causes[-1]
    if _TLS_ALERT in str(last):
        return "; that is TLS: write https:// before its name"
    cut = isinstance(last, (ConnectionResetError, RemoteDisconnected))
    return "; if it wants TLS, write https:// before its name" if cut else ""


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from, outermost first; urllib3 keeps some causes in `args` and `reason` alone."""
    for _ in range(8):
        if exc is None:
            return
        yield exc
        inner = [arg for arg in (*exc.args, getattr(exc, "reason", None)) if isinstance(arg, Exception)]
        exc = exc.__cause__ or (inner[-1] if inner else exc.__context__)


def _reason(exc: BaseException) -> str:
    """One line, without the addresses of objects that urllib3 puts in front."""
    text = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc) or type(exc).__name__
    return line_of(text, _MAX_REASON)
