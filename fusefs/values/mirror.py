"""Mirror: where another registry, or a cache in front of one, has the blobs that the registry in a name has."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from fusefs.errors import InvalidSetting
from fusefs.values.names import BaseUrl, without_user

_PARTS = re.compile(r"([^/?#]*//[^/?#]*)((?:/[A-Za-z0-9._~+-]{1,200}){0,16})/?", re.ASCII)

_MAX = 1000
"""Characters; an Artifactory's has fifty."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where the API of a mirror begins.

    Attributes:
        base: its scheme and host.
        prefix: the path before `/v2/`: empty, or with a slash in front and none at its end.
    """

    base: BaseUrl
    prefix: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `https://host[:port][/path]`.

        Raises:
            InvalidSetting: it is anything else; a user and a password are refused, and not repeated.
        """
        match = _PARTS.fullmatch(text) if len(text) <= _MAX else None
        segments = match[2].split("/") if match is not None else []
        if match is None or "." in segments or ".." in segments:
            raise _invalid(text, "want https://host[:port][/path], http://, https+insecure:// or oci://")
        if segments[-1] in ("v1", "v2"):
            raise _invalid(text, f"leave out /{segments[-1]}, which fusefs appends as registries have it")
        try:
            return cls(BaseUrl.parse(match[1]), match[2])
        except InvalidSetting:
            raise _invalid(text, "want https://host[:port][/path], http://, https+insecure:// or oci://") from None

    def __str__(self) -> str:
        return f"{self.base}{self.prefix}"


def _invalid(text: str, want: str) -> InvalidSetting:
    return InvalidSetting(f"invalid mirror URL {without_user(text.partition('?')[0])[:80]!r}: {want}")
