"""What an error of obstore means: it tells by text alone why something failed."""

from __future__ import annotations

import re

from obstore import exceptions

from fusefs.errors import NotFound, SourceChanged, SourceError, TlsError, TransportError, Unauthorized
from fusefs.sources.tree.bucketstore import CREDENTIALS

_STATUS = re.compile(r"status code: (\d{3})")
_LONGEST = 300

_TLS = re.compile(
    r"InvalidCertificate\(\s*(?:Other\(\s*OtherError\(\s*)?(\w+)"
    r"|InvalidMessage\(\s*(InvalidContentType)|AlertReceived\(\s*(\w+)"
)
"""Of rustls, in what obstore shows of the insides of its errors; the second is of a server that speaks no TLS."""


def translated(exc: Exception, label: str, scheme: str, place: str) -> SourceError:
    """What it is here.

    Args:
        exc: of obstore, or FileNotFoundError.
        label: what to call the bucket in messages.
        scheme: of the bucket.
        place: the object that it is about.
    """
    if isinstance(exc, FileNotFoundError | exceptions.NotFoundError):
        return NotFound(f"there is no object {place}", source=label)
    if isinstance(exc, exceptions.PreconditionError):
        return SourceChanged(
            f"{label}/{place} has changed since it was listed (its ETag is another one); mount it again when "
            "its list of digests is right",
            source=label,
        )
    text = str(exc).partition("\n")[0].partition("<?xml")[0].strip(" :")[:_LONGEST]
    if isinstance(exc, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
        return Unauthorized(text, source=label)
    if "169.254." in text or "metadata.google" in text:
        return Unauthorized(f"no credentials were found; {CREDENTIALS[scheme]} ({text})", source=label)
    status = _STATUS.search(text)
    if status and status[1] == "407":  # a proxy's: the library has no error of its own for it
        return Unauthorized(text, source=label)
    if status and status[1].startswith("4") and status[1] not in ("408", "429"):
        return SourceError(text, source=label)
    if status is None and (tls := _TLS.search(str(exc))):
        return TlsError(_tls(next((word for word in tls.groups() if word), "")), source=label)
    return TransportError(text, source=label)


def asks_to_wait(exc: Exception) -> bool:
    """Whether a server may have said how long it wants to be left alone, which the library does not hand on."""
    status = _STATUS.search(str(exc))
    return status is not None and status[1] in ("429", "503")


def _tls(what: str) -> str:
    if what == "InvalidContentType":
        return "its endpoint does not speak TLS; write http:// if that is meant"
    return f"TLS failed: its certificate is not trusted ({what or 'invalid'}); SSL_CERT_FILE names one that is"
