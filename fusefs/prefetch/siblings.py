"""Siblings: which small files of a model to have next, from those of it that were read.  Pure: files in, blobs out.

A tokenizer and its configuration are dozens of small files, and a program reads one after the other: each would begin
with the delay of an answer.  So the first one that somebody waits for brings those that follow it in the order in which
`os.walk` lists them, and after the last one the first ones.

What is ahead, fetched and not opened yet, is bounded.  A reader who goes on moves the bound; of a model of thousands of
small files one that nobody follows up costs no more than that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.values.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from fusefs.values.chunks import Blob
    from fusefs.values.digest import Digest
    from fusefs.values.snapshot import File

SMALL = 1 * MIB
"""Bytes of a file up to which the delay of an answer costs more than its bytes: 8 ms at 1 Gbit/s."""

MOST_AHEAD = 8 * MIB
"""Bytes that are ahead at most: less than a second of a link of 100 Mbit/s is lost when nobody wants them."""

MOST_FILES = 64
"""Files that are ahead at most: ten times what is in flight at once, and more than nearly every model has."""

_REACH = 1024
"""Places behind a file that are looked at: who reads in any order leaves few of them out."""


class Siblings:
    """The small files of one model."""

    def __init__(
        self,
        files: Iterable[File],
        *,
        largest: int = SMALL,
        most: int = MOST_AHEAD,
        elsewhere: Container[Digest] = frozenset(),
    ) -> None:
        """Nothing is looked at before the first read: a mount may have thousands of models.

        Args:
            files: of the model, as a mount of it alone shows them.
            largest: bytes of a file that is small.
            most: bytes that are ahead at most.
            elsewhere: blobs that are not fetched at all.
        """
        self._files = files
        self._largest = min(largest, SMALL)
        self._most = min(most, MOST_AHEAD)
        self._elsewhere = elsewhere
        self._order: list[Blob] = []
        self._places: dict[Digest, int] = {}
        self._read: set[int] = set()
        self._ahead: set[int] = set()
        self._bytes = 0

    def missed(self, blob: Blob) -> list[Blob]:
        """Somebody waits for a file that is not here, nor on its way.

        Returns:
            What to have next, most urgent first.  A file is returned once, until one is missed that was read before:
            the cache has lost them, and the model is read anew.
        """
        if not self._places:
            self._list()
        place = self._places.get(blob.digest)
        if place is None:
            return []
        if place in self._read:
            self._read.clear()
            self._ahead.clear()
            self._bytes = 0
        return self._next(place)

    def opened(self, blob: Blob) -> list[Blob]:
        """Somebody opens a file.  If it was returned before, he reads on: what to have next, as above."""
        place = self._places.get(blob.digest) if self._ahead else None
        return self._next(place) if place in self._ahead and place is not None else []

    def _next(self, place: int) -> list[Blob]:
        if place in self._ahead:
            self._ahead.discard(place)
            self._bytes -= self._order[place].size
        self._read.add(place)
        found: list[Blob] = []
        count = len(self._order)
        if len(self._read) + len(self._ahead) == count:
            return found
        for step in range(1, min(count, _REACH)):
            after = (place + step) % count
            if after in self._read or after in self._ahead:
                continue
            blob = self._order[after]
            if len(self._ahead) >= MOST_FILES or self._bytes + blob.size > self._most:
                break
            self._ahead.add(after)
            self._bytes += blob.size
            found.append(blob)
        return found

    def _list(self) -> None:
        for file in sorted(self._files, key=_as_walked):
            if isinstance(file.content, bytes):
                continue
            blob = file.content.blob
            small = 0 < blob.size <= self._largest  # no list is needed: its digest proves it as a whole
            if small and blob.digest not in self._elsewhere and blob.digest not in self._places:
                self._places[blob.digest] = len(self._order)
                self._order.append(blob)


def _as_walked(file: File) -> tuple[list[str], str]:
    """Files of a folder stand together, before those of the folders in it."""
    *folders, name = file.path.split("/")
    return folders, name
