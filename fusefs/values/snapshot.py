"""Snapshot: what one source is made of at one time: paths, and what each of them shows.

Whoever mounts, pins, lists or verifies a model looks at this and at nothing else; where it came from is known to the
room that made it (`fusefs.artifacts`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from fusefs.values.chunks import Blob
    from fusefs.values.digest import Digest
    from fusefs.values.names import Name


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a blob: what a file shows.

    Attributes:
        blob: digest and size.
        off: where in the blob it begins, in bytes.
        size: in bytes.
    """

    blob: Blob
    off: int
    size: int

    @classmethod
    def whole(cls, blob: Blob) -> Self:
        """All of a blob."""
        return cls(blob, 0, blob.size)

    @property
    def is_whole(self) -> bool:
        """Whether it is all of its blob, so that the digest of the blob is its own."""
        return self.size == self.blob.size


@dataclass(frozen=True, slots=True)
class File:
    """One file of a snapshot or of a mount.

    Attributes:
        path: relative, components joined by `/`, checked.
        content: a part of a blob, or the bytes themselves.
        mtime_ns: the time it shows, in nanoseconds; the same at every mount (P3).
        target: where it leads as a symbolic link, relative to the folder that it lies in; its content is empty then.
    """

    path: str
    content: Slice | bytes
    mtime_ns: int = 0
    target: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One SOURCE, resolved.

    Attributes:
        reference: as asked for.
        digest: of the document that says what the source is made of.
        files: what a mount of it alone shows.
        blobs: everything that belongs to it, whether a file shows it or not; one that is named twice stands twice.
        document: the bytes whose digest is `digest`, as they came.
        mtime_ns: the time its files show, in nanoseconds.
        made: blobs that are made here of some of `blobs`, which are compressed; no source has them.
    """

    reference: Name
    digest: Digest
    files: tuple[File, ...]
    blobs: tuple[Blob, ...]
    document: bytes
    mtime_ns: int = 0
    made: tuple[Blob, ...] = ()
