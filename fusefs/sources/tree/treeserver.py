"""Files: what a TreeSource asks of a web server or a bucket.  Blocking; from any thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fusefs.errors import SourceChanged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusefs.artifacts.listedfile import Pieces
    from fusefs.sources.base import Body
    from fusefs.values.chunks import Blob, Chunk
    from fusefs.values.digest import Digest


@dataclass(frozen=True, slots=True)
class Seen:
    """What a server said of a file: when any of it differs, it is another file.

    Attributes:
        size: in bytes.
        etag: or the version of an object; empty where the server has none.
        modified: as it came; empty where the server does not say.
    """

    size: int
    etag: str = ""
    modified: str = ""

    def check(self, now: Seen, where: str, source: str) -> None:
        """Return when this is still the file that it was.

        Raises:
            SourceChanged: its bytes must not stand beside those that were read before.
        """
        if now.size != self.size:
            what = f"had {self.size} bytes and has {now.size}"
        elif self.etag and now.etag:
            if self.etag.removeprefix("W/") == now.etag.removeprefix("W/"):  # a proxy that compresses weakens it
                return
            what = f"had the ETag {self.etag[:80]} and has {now.etag[:80]}"
        elif self.modified and now.modified and self.modified != now.modified:
            what = f"was of {self.modified[:40]} and is of {now.modified[:40]}"
        else:
            return
        raise SourceChanged(
            f"{where} has changed since it was listed ({what}); mount it again when its list of digests is right",
            source=source,
        )


@dataclass(frozen=True, slots=True)
class Sums:
    """What a server keeps as the sha256 of a file.

    Attributes:
        digest: of all of it.
        pieces: of equal parts of it, where it has them.
    """

    digest: Digest
    pieces: Pieces | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A file that no list names.

    Attributes:
        path: relative to the folder; unchecked text.
        seen: what its server says of it; None where that has to be asked.
        sums: its checksums, where the server keeps any.
    """

    path: str
    seen: Seen | None = None
    sums: Sums | None = None


class Files(Protocol):
    """Places are absolute; `at` makes them.

    Attributes:
        label: what to call the server in messages.
        host: as its origin is called in messages.
        web: the URLs of a Metalink can be followed.
    """

    label: str
    host: str
    web: bool

    def at(self, folder: str, path: str) -> str:
        """The place of a file that a list names: a path beside it (`folder` ends with a slash), or an absolute URL.

        Raises:
            SourceError: there is no such place.
        """

    def fetch(self, place: str, limit: int) -> bytes:
        """A small file whole; at most `limit` bytes of it.

        Raises:
            NotFound: there is none.
            SourceError: it cannot be had.
        """

    def look(self, place: str) -> Seen:
        """What the server says of a file.

        Raises:
            NotFound, SourceError: as `fetch`.
        """

    def found(self, folder: str, limit: int) -> Sequence[Found]:
        """The files below a folder, where the server can tell; `limit` at most.

        Raises:
            NotFound: there is no such folder, or the server does not say what is in it.
            InvalidInput: they are more, or what it says cannot be read.
            SourceError: as `fetch`.
        """

    def listed(self, folder: str, limit: int) -> Mapping[str, Seen]:
        """What the server says of the files below a folder in few requests, by their places; nothing where it cannot.

        Raises:
            SourceError: as `fetch`.
        """

    def open(self, place: str, blob: Blob, chunk: Chunk, seen: Seen | None) -> tuple[Body, Seen]:
        """Begin to read a range of a file that has the size of `blob`.

        Args:
            place: of the file.
            blob: what it is.
            chunk: the range, which lies inside.
            seen: what was said of the file before, if it was asked for.

        Raises:
            SourceChanged: it is another file by now.
            NotFound, SourceError: as `fetch`.
        """


class FilesControl(Protocol):
    """The part of `Files` that is about its connections."""

    @property
    def ignores_range(self) -> bool:
        """See `Remote.ignores_range`."""

    def refresh(self) -> None:
        """See `Remote.refresh`."""

    def in_flight(self) -> list[str]:
        """See `Remote.in_flight`."""

    def close(self) -> None:
        """See `Source.close`."""


class RemoteFiles(Files, FilesControl, Protocol):
    """Both."""
