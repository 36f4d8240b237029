"""HubEndpoint: where a Hugging Face Hub is: at `https://huggingface.co`, or where `$HF_ENDPOINT` says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from fusefs.errors import InvalidSetting
from fusefs.values.names import without_user

KINDS = ("models", "datasets", "spaces")
"""What repositories of a Hub are; the first is what a name without a kind means."""

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}))"
    r"(?::(?P<port>\d{1,5}))?(?P<path>(?:/[A-Za-z0-9_.~+-]{1,80})*)/*",
    re.ASCII | re.IGNORECASE,
)
_PORTS = {"https": "443", "http": "80"}
_LONGEST = 120


@dataclass(frozen=True, slots=True)
class HubEndpoint:
    """The place of one Hub.

    Attributes:
        scheme: `https` or `http`.
        host: in lower case, with its port unless that is the scheme's own, and with the path below which a proxy
            serves the Hub, if there is one: `repo.example.org/artifactory/api/huggingfaceml/models`.
    """

    scheme: str
    host: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `https://host[:port][/path]`.

        Raises:
            InvalidSetting: it is anything else; what may be a password is not shown.
        """
        match = _URL.fullmatch(text)
        shown = without_user(text)[:80]
        if match is None or not 0 < int(match["port"] or 443) < 1 << 16:
            raise InvalidSetting(f"invalid Hub {shown!r}: want https://host[:port][/path], without user and query")
        scheme, host, port = match["scheme"].lower(), match["host"].lower(), (match["port"] or "").lstrip("0")
        parts = match["path"].split("/")[1:]
        if any(part in (".", "..") for part in parts) or parts[-1:] == [KINDS[0]] or len(match["path"]) > _LONGEST:
            # A path that ends so could not be told from what stands behind it in a name.
            raise InvalidSetting(f"invalid Hub {shown!r}: a path of that form cannot stand in a name")
        port = f":{port}" if port and port != _PORTS[scheme] else ""
        return cls(scheme, f"{host}{port}{match['path']}")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}"


HUGGING_FACE = HubEndpoint("https", "huggingface.co")
