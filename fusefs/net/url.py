r"""Url: an http or https URL as one parsed value, which is checked, shown, connected to, and sent.

Two parsers that read one text differently are a way in: `http://a\@b/` has the host `b` for one and `a` for the other,
and a password for `a` goes to `b`.  So text is parsed here and nowhere else, strictly, and everybody behind takes the
parts.  Source: RFC 3986 (grammar, §5.2 for relative references), RFC 9110 §4.2 (no user in an http URL).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Self

from fusefs.errors import SourceError
from fusefs.net.origin import PORTS, WebOrigin
from fusefs.values.names import without_user

MAX_URL = 8192
"""Characters; signed URLs have one or two thousand."""

_SHOWN = 80

# RFC 3986, appendix B, cut down to what has a meaning here; all of it is checked part by part afterwards.
_REFERENCE = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
_PATH = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")
_QUERY = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})(?::([0-9]{1,5}))?")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
# What inet_aton takes for an address: its last part is a number, as a decimal, octal or hexadecimal one.
_NUMBER = re.compile(r"[0-9]+|0[Xx][0-9A-Fa-f]*")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


@dataclass(frozen=True, slots=True)
class Url:
    """An absolute URL without a fragment.

    Attributes:
        origin: scheme, host and port.
        path: begins with a slash and has no dot segments; percent-encodings are as they came.
        query: without its question mark; None where there is none.
        target: what the origin itself is asked for: path and query.
    """

    origin: WebOrigin
    path: str
    query: str | None = None
    target: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", self.path if self.query is None else f"{self.path}?{self.query}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an absolute http or https URL; its fragment is dropped.

        Raises:
            SourceError: it is anything else; the text is shown without what may be a secret.
        """
        scheme, authority, path, query = _split(text)
        if scheme is None or authority is None:
            raise _not_strict(text)
        return cls(_origin(scheme, authority, text), _without_dots(path) or "/", query)

    def join(self, reference: str) -> Self:
        """What a `Location` or `Content-Location` of this URL leads to.  Source: RFC 3986 §5.2.2.

        A header has bytes where a URL has ASCII: in a path or query they are taken as percent-encoded.

        Raises:
            SourceError: it is no reference to an http or https URL.
        """
        reference = reference.strip(" \t")  # what may stand round a header's value
        scheme, authority, path, query = _split(_NOT_ASCII.sub(_encoded, reference))
        if scheme is not None:
            return type(self).parse(_NOT_ASCII.sub(_encoded, reference))
        if authority is not None:
            return type(self)(_origin(self.origin.scheme, authority, reference), _without_dots(path) or "/", query)
        if not path:
            return type(self)(self.origin, self.path, self.query if query is None else query)
        if not path.startswith("/"):
            path = self.path[: self.path.rindex("/") + 1] + path
        return type(self)(self.origin, _without_dots(path), query)

    def with_query(self, query: str) -> Self:
        """The same with another query, as `quote_plus` and `&` make it; none when it is empty."""
        return type(self)(self.origin, self.path, query or None)

    def __str__(self) -> str:
        return f"{self.origin.scheme}://{self.origin}{self.target}"


def _split(text: str) -> tuple[str | None, str | None, str, str | None]:
    """Scheme (lower case), authority, path and query of a reference, the last two of allowed characters alone."""
    parts = _REFERENCE.fullmatch(text) if len(text) <= MAX_URL else None
    if parts is None:
        raise _not_strict(text)
    scheme, authority, path, query, _ = parts.groups()
    if not _PATH.fullmatch(path) or (query is not None and not _QUERY.fullmatch(query)):
        raise _not_strict(text)
    if authority is None and path.startswith("//"):
        raise _not_strict(text)
    return (None if scheme is None else scheme.lower()), authority, path, query


def _origin(scheme: str, authority: str, text: str) -> WebOrigin:
    parts = _AUTHORITY.fullmatch(authority)
    if scheme not in PORTS or parts is None:
        raise _not_strict(text)
    port = PORTS[scheme] if parts[2] is None else int(parts[2])
    if not 0 < port < 1 << 16:
        raise _not_strict(text)
    return WebOrigin(scheme, _host(parts[1], text), port)


def _host(host: str, text: str) -> str:
    """Lower case; an address in its one form, or the same place would have two names."""
    try:
        if host.startswith("["):
            return str(ipaddress.IPv6Address(host[1:-1]))
        labels = host.lower().split(".")
        if _NUMBER.fullmatch(labels[-1] or "0"):
            return str(ipaddress.IPv4Address(host))
    except ValueError:
        raise _not_strict(text) from None
    if not all(map(_LABEL.fullmatch, labels)):
        raise _not_strict(text)
    return ".".join(labels)


def _without_dots(path: str) -> str:
    """Source: RFC 3986 §5.2.4."""
    found: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            if len(found) > 1:
                found.pop()
        elif segment != ".":
            found.append(segment)
    if segments[-1] in (".", ".."):
        found.append("")
    return "/".join(found)


def _encoded(char: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in char[0].encode("latin-1" if char[0] <= "\xff" else "utf-8", "replace"))


def _not_strict(text: str) -> SourceError:
    """Neither what may be a password nor the query of a signed URL is shown."""
    shown = without_user(text.partition("?")[0])[:_SHOWN]
    return SourceError(f"not a strict http or https URL: {shown!r}")
