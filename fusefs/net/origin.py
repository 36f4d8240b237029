"""WebOrigin: scheme, host and port of a URL, which is what credentials belong to."""

from __future__ import annotations

from dataclasses import dataclass, field

from fusefs.values.loopback import is_loopback

PORTS = {"http": 80, "https": 443}
"""What each scheme has where a URL names none."""


@dataclass(frozen=True, slots=True)
class WebOrigin:
    """What credentials belong to: scheme, host and port together.  Made by `fusefs.net.url` alone.

    Attributes:
        scheme: `http` or `https`.
        host: a name or an address in its one form, lower case, IPv6 without brackets.
        port: 1 to 65535.
    """

    scheme: str
    host: str
    port: int
    _text: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        host = f"[{self.host}]" if ":" in self.host else self.host
        # Made once, because each request shows it several times.
        object.__setattr__(self, "_text", host if self.port == PORTS[self.scheme] else f"{host}:{self.port}")

    @property
    def loopback(self) -> bool:
        """Whether it is this very machine."""
        return is_loopback(self.host)

    def allows(self, other: WebOrigin) -> bool:
        """Whether one may be sent on from here to there: what came over TLS is not continued in the clear."""
        return self.scheme == other.scheme or other.scheme == "https"

    def __str__(self) -> str:
        return self._text
