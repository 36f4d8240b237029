"""Origin: scheme, host and port of a URL, which is what credentials belong to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from fusefs.errors import SourceError

# Digits of other scripts, or numbers that no address has, would make it a name that somebody else may answer to.
_LOOPBACK = re.compile(r"127(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Origin:
    """What credentials belong to: scheme, host and port together."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """The origin of an absolute http or https URL.

        Raises:
            SourceError: any other URL.
        """
        try:
            parts = urlsplit(url)
            scheme, host, port = parts.scheme, parts.hostname, parts.port
        except ValueError as exc:
            raise SourceError(f"not a URL: {url[:80]!r}") from exc
        if scheme not in ("http", "https") or not host:
            raise SourceError(f"not an http or https URL: {url[:80]!r}")
        return cls(scheme, host, port if port is not None else {"http": 80, "https": 443}[scheme])

    @property
    def loopback(self) -> bool:
        """Whether it is this very machine."""
        return self.host in ("localhost", "::1") or _LOOPBACK.fullmatch(self.host) is not None

    def allows(self, other: Origin) -> bool:
        """Whether one may be sent on from here to there: what came over TLS is not continued in the clear."""
        return self.scheme == other.scheme or other.scheme == "https"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"http": 80, "https": 443}[self.scheme] else f"{host}:{self.port}"
