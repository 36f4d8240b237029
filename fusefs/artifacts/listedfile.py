"""ListedFile: a file as a list of digests beside it describes it, whichever form the list has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.artifacts.manifest import MAX_LAYERS
from fusefs.artifacts.paths import check_path
from fusefs.errors import InvalidManifest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusefs.values.digest import Digest

MAX_LIST_SIZE = 16 << 20
"""Bytes of a list that are read at most: 65,536 files with long names fit in."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """Digests of equal parts of a file, the last of which may be shorter.

    Attributes:
        size: bytes of a piece.
        digests: the raw sha256 of each, one behind the other.
    """

    size: int
    digests: bytes


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One file of a list.

    Attributes:
        path: relative, components joined by `/`, checked.
        digest: sha256 of the whole file.
        size: in bytes; None where the list does not say.
        urls: where it lies, best first; empty: at its path beside the list.
        pieces: where the list has them.
        chunks: the digest of its chunk list (`list_digest`), where the list says which one it must be.
    """

    path: str
    digest: Digest
    size: int | None = None
    urls: tuple[str, ...] = ()
    pieces: Pieces | None = None
    chunks: Digest | None = None


def checked_name(name: str) -> str:
    """A file's name without the `./` that find(1) puts before it.

    Raises:
        InvalidManifest: no relative path that every Linux file system can hold.
    """
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    try:
        check_path(name)
    except InvalidManifest as exc:
        raise InvalidManifest(str(exc).replace("layer name", "name", 1)) from None
    return name


def each_once(files: Iterable[ListedFile], what: str) -> tuple[ListedFile, ...]:
    """The files in the order of their paths.

    Raises:
        InvalidManifest: none, too many, or two of one path that differ.
    """
    found: dict[str, ListedFile] = {}
    for file in files:
        first = found.setdefault(file.path, file)
        if first.digest != file.digest:
            raise InvalidManifest(f"{what}: {file.path[:100]!a} is listed with two digests")
        if None not in (first.size, file.size) and first.size != file.size:
            raise InvalidManifest(f"{what}: {file.path[:100]!a} is listed with two sizes")
        if len(found) > MAX_LAYERS:
            raise InvalidManifest(f"{what}: more than {MAX_LAYERS} files")
    if not found:
        raise InvalidManifest(f"{what} lists no file with a sha256 digest")
    return tuple(found[path] for path in sorted(found))
