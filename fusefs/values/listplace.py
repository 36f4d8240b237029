"""ListPlace: where a person says that chunk lists are (`--index-from`): a folder, a web server, a registry.

Each keeps the list of a blob under the blob's own digest, `sha256-<hex>.chunksums`: a file, a path below the URL, a tag
of the repository.  So one list serves every copy of a blob, wherever that copy is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from fusefs.errors import InvalidInput, InvalidSetting
from fusefs.values.names import Name, without_user
from fusefs.values.reference import is_path

_REPOSITORIES = frozenset(("oci", "oci+http", "docker"))
"""Schemes that name a repository, and no place of a web server."""


@dataclass(frozen=True, slots=True)
class ListPlace:
    """Where lists are.

    Attributes:
        kind: what it is.
        text: as a person wrote it.
        where: a path, a URL without a slash at its end, or the name of a repository as `Name.parse` reads it.
    """

    kind: Literal["folder", "web", "repository"]
    text: str
    where: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `DIR`, `file:///DIR`, `http(s)://host/path`, or a repository: `oci://host/ns/model`, `host/ns/model`.

        Raises:
            InvalidSetting: it is none of them.
        """
        scheme, separator, rest = text.partition("://")
        shown = without_user(text)[:200]
        if "\0" in text or not text:
            raise InvalidSetting("--index-from wants a folder, a URL or a repository")
        if is_path(text):
            return cls("folder", text, text)
        if not separator:
            return cls._repository(text)
        scheme = scheme.lower()
        if scheme == "file" and rest.startswith("/"):
            return cls("folder", text, rest)
        if scheme in _REPOSITORIES:
            return cls._repository(text)
        if scheme in ("http", "https") and rest.strip("/") and not any(char in text for char in "?#@ "):
            return cls("web", text, f"{scheme}://{rest.rstrip('/')}")
        raise InvalidSetting(
            f"--index-from {shown!r}: want a folder (./DIR), a URL without query or user (https://host/path), "
            "or a repository (oci://host/namespace/name)"
        )

    @classmethod
    def _repository(cls, text: str) -> Self:
        try:
            name = Name.parse(text)
        except InvalidInput as exc:
            raise InvalidSetting(f"--index-from: {exc}") from exc
        if name.digest is not None:
            raise InvalidSetting(f"--index-from {without_user(text)[:200]!r}: want a repository, without a digest")
        return cls("repository", text, text)
