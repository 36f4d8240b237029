"""What an error of obstore means: it tells by text alone why something failed."""

from __future__ import annotations

import re

from obstore import exceptions

from fusefs.errors import NotFound, SourceChanged, SourceError, TlsError, TransportError, Unauthorized
from fusefs.sources.tree.bucketcodes import NO_BUCKET, code_of, remedy_of
from fusefs.sources.tree.bucketstore import CREDENTIALS

_STATUS = re.compile(r"status code: (\d{3})")
_LONGEST = 300

_METADATA = ("169.254.", "/latest/api/token", "metadata.google")
"""Where machines of the clouds have credentials: who asks there has found none in the environment."""

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
    whole = str(exc)
    if code_of(whole) in NO_BUCKET:
        return SourceError(f"there is no such bucket ({code_of(whole)})", source=label)
    if isinstance(exc, FileNotFoundError | exceptions.NotFoundError):
        return NotFound(f"there is no object {place}", source=label)
    if isinstance(exc, exceptions.PreconditionError):
        return SourceChanged(
            f"{label}/{place} has changed since it was listed (its ETag is another one); mount it again when "
            "its list of digests is right",
            source=label,
        )
    text = whole.partition("\n")[0].partition("<?xml")[0].partition("<Error>")[0].strip(" :\ufeff")[:_LONGEST]
    text = "; ".join(filter(None, (text, remedy_of(whole))))
    if isinstance(exc, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
        return Unauthorized(text, source=label)
    if any(place in text for place in _METADATA):
        return Unauthorized(f"no credentials were found; {CREDENTIALS[scheme]} ({text})", source=label)
    found = _STATUS.search(text)
    # Without a status it is a redirect to where the bucket is, which is not followed.
    status = found[1] if found else "301" if code_of(whole) else ""
    if status == "407":  # a proxy's: the library has no error of its own for it
        return Unauthorized(text, source=label)
    if status.startswith(("3", "4")) and status not in ("408", "429"):
        return SourceError(text, source=label)
    if not status and (tls := _TLS.search(whole)):
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
