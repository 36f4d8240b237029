"""Files: the files of a blob that may have tensors, each with a header: one, or those of an archive.  Pure policy.

A read belongs to the file that it begins in.  Of a file whose header was not read yet its watch says whether it is
wanted now; of one whose header was read its tensors have the word.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from fusefs.prefetch.headerwatch import HeaderWatch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusefs.prefetch.read import Read
    from fusefs.prefetch.tensors import Tensors


class Files:
    """Of one blob.

    Args:
        files: where in the blob each lies; some may be the same.

    Attributes:
        wanted: the file whose header somebody should look at now; None while there is none.
        tensors: of the files whose header was read, by where they begin.
    """

    def __init__(self, files: Iterable[range]) -> None:
        self._files = sorted({file.start: file for file in files if file}.values(), key=lambda file: file.start)
        self._starts = [file.start for file in self._files]
        self._watches: dict[int, HeaderWatch] = {}
        self.tensors: dict[int, Tensors] = {}
        self.wanted: range | None = None

    def observe(self, read: Read) -> list[range] | None:
        """See `Policy.observe`; None for what lies between files, and for a file without tensors."""
        file = self._at(read.off)
        if file is None:
            return None
        if file.start in self.tensors:
            return self.tensors[file.start].observe(read)
        watch = self._watch(file)
        ranges = watch.observe(read)
        if watch.wanted:
            self.wanted = file
        return ranges

    def begun(self, file: range) -> None:
        """Somebody is looking at the header of a file, and fetches it to its end."""
        self._watch(file).begun()
        self.wanted = None

    def failed(self, file: range) -> None:
        """It could not be had now: the next read asks again, a few times."""
        self._watch(file).failed()

    def done(self, file: range, tensors: Tensors | None) -> None:
        """It has been read; `tensors` is None where the file has none that can be read."""
        self._watch(file).done()
        if tensors is not None:
            self.tensors[file.start] = tensors

    def _watch(self, file: range) -> HeaderWatch:
        return self._watches.setdefault(file.start, HeaderWatch(file.start))

    def _at(self, off: int) -> range | None:
        index = bisect_right(self._starts, off) - 1
        return self._files[index] if index >= 0 and off < self._files[index].stop else None
