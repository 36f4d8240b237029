"""Endpoint: where below its host a registry's API begins, and what a mirror is told of the registry it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

if TYPE_CHECKING:
    from fusefs.net.url import Url


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Of one source; that of a registry itself has no attribute.

    Attributes:
        prefix: the path before `/v2/`, as that of a `Mirror`.
        host: of the registry that a mirror stands for, as that of a Name; empty for a registry itself.
        registry: the same as a base URL.
    """

    prefix: str = ""
    host: str = ""
    registry: str = ""

    def url(self, base: Url, path: str) -> Url:
        """The URL of what a registry has at `path`.

        A mirror of several registries knows by `ns` which one is meant.  Source: containerd's `hosts.toml`; Spegel and
        Dragonfly read it, others ignore it.
        """
        url = base.join(self.prefix + path)
        if not self.host:
            return url
        ns = f"ns={quote_plus(self.host)}"
        return url.with_query(f"{url.query}&{ns}" if url.query else ns)

    @property
    def headers(self) -> dict[str, str]:
        """What each request to it has besides.  Source: the registry mirror of Dragonfly's proxy."""
        return {"X-Dragonfly-Registry": self.registry} if self.registry else {}


ITSELF = Endpoint()
"""That of a registry."""
