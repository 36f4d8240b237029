"""Catalog: what a registry offers, without HTTP.  Blocking; every method may be called from many threads at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fusefs.errors import ServeError
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fusefs.offers.stamp import Stamp
    from fusefs.values.chunks import ChunkList


class Refused(ServeError):
    """The registry does not have what it was asked for, or may not give it.

    Attributes:
        status: the HTTP status.
        code: the registry API's word for it.
    """

    def __init__(self, code: str, message: str, *, status: int = 404) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or a config: small, and in memory.

    Attributes:
        raw: the bytes.
        media_type: for the Content-Type header.
    """

    raw: bytes
    media_type: str = "application/octet-stream"

    @property
    def digest(self) -> Digest:
        """Of the bytes."""
        return Digest.of(self.raw)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A blob that is a file.

    Attributes:
        path: where it lies.
        open: opens it, and says what it looks like.  Blocking.  ServeError: it cannot be.
        stamp: what it looked like when it had the digest; anything else must not be served as that.
        chunks: by which its bytes are proved as they are sent; None when no list is known yet.
        distrust: call it when the bytes are others than `chunks` says.  Blocking.
    """

    path: Path
    open: Callable[[Path], tuple[int, Stamp]]
    stamp: Stamp
    chunks: ChunkList | None
    distrust: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Offer:
    """A model as a person is told of it.

    Attributes:
        name: `<namespace>/<model>`, and `:<tag>` where it is not `latest`.
        folder: the name of its folder where that is another one, else empty.
    """

    name: str
    folder: str = ""


class Catalog(Protocol):
    """Repositories are `<namespace>/<model>`, in any case.  Errors: Refused, ServeError, NotYet, Cancelled."""

    def offers(self) -> list[Offer]:
        """All models, sorted."""

    def repositories(self) -> list[str]:
        """All of them, sorted."""

    def tags(self, repository: str) -> list[str]:
        """The tags of one, sorted."""

    def manifest(self, repository: str, reference: str | Digest, *, oci: bool = False) -> Document:
        """The manifest with this digest, or with this tag; `oci`: of a tag its OCI form, where it has one."""

    def blobs(self, repository: str, digest: Digest) -> list[Document | StoredFile]:
        """Where the bytes of `digest` are: at least one place, the first that can still be opened counts."""

    def chunk_list(self, repository: str, digest: Digest) -> ChunkList:
        """The chunk list of a blob; NotYet, for minutes perhaps, when it is not known."""
