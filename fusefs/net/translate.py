"""The seam to fusefs.errors: what urllib3, http.client, ssl and sockets raise, and what it means here."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from http.client import HTTPException
from typing import TYPE_CHECKING

from urllib3 import exceptions as u3

from fusefs.errors import SourceError, StallTimeout, TlsError, TransportError, WrongResponse
from fusefs.system.descriptors import ran_out
from fusefs.values.printable import line_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusefs.net.exchange import Flight

_MAX_REASON = 200
"""Characters; http.client quotes the line that it did not understand."""


@contextmanager
def translated(flight: Flight, source: str) -> Iterator[None]:
    """Turn what urllib3, http.client, ssl and the socket raise into fusefs.errors."""
    try:
        yield
    except WrongResponse as exc:  # of a frame, which does not know whose it is
        raise flight.error(source) or WrongResponse(str(exc), source=source) from exc
    except (u3.HTTPError, HTTPException, OSError, ValueError) as exc:
        raise flight.error(source) or _translate(exc, source) from exc


def _translate(exc: Exception, source: str) -> SourceError:
    causes = list(_causes(exc))
    if any(ran_out(cause) for cause in causes):
        return TransportError("cannot be asked: this process may open no more files (ulimit -n)", source=source)
    for cause in causes:
        # urllib3 counts every failure to connect among its timeouts.
        if isinstance(cause, (TimeoutError, u3.TimeoutError)) and not isinstance(cause, u3.NewConnectionError):
            return StallTimeout("no byte came within the stall time", source=source)
        if isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)):
            return TransportError("the connection ended inside TLS", source=source)
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return TlsError(
                f"its certificate is not trusted: {line_of(cause.verify_message, _MAX_REASON)}", source=source
            )
    for cause in reversed(causes):
        if isinstance(cause, (ssl.SSLError, u3.SSLError)):
            return TlsError(f"TLS failed: {_reason(cause)}", source=source)
    if isinstance(exc, (u3.LocationValueError, u3.ProxySchemeUnknown, ValueError)):
        return SourceError(f"cannot be asked: {_reason(exc)}", source=source)
    return TransportError(_reason(causes[-1]), source=source)


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
