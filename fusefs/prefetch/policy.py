"""Policy: which bytes of one blob to have next, from the reads of it so far.  Pure: reads in, byte ranges out.

The policies are asked in the order of one list; the first that explains a read has the last word about it:

    replay       a load in step with the record of an earlier one: what that load read next
    files        a file that may have tensors: while its header is read, nothing runs ahead (`headerwatch`); then the
                 tensor that was touched, and how far a window may reach (`tensors`)
    sequential   any other file: the window of a reader who goes through it in order

A new policy is a module with a class that has the one method of `Policy`, and a place in the list.  All are hints: they
may cost bytes, never correctness.  `observe` runs for the reads of a blob that is not whole, one at a time and in the
way of who reads, so it must cost microseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fusefs.prefetch.filehints import Files
from fusefs.prefetch.ranges import Ranges
from fusefs.prefetch.read import Read
from fusefs.prefetch.record import Record
from fusefs.prefetch.replay import Replay
from fusefs.prefetch.sequential import Sequential
from fusefs.prefetch.streams import SMALLEST_WINDOW, ReadAhead
from fusefs.prefetch.tensors import Tensors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusefs.formats.extents import Extents
    from fusefs.values.chunks import ChunkList
    from fusefs.values.trace import Trace

FEW_CHUNKS = 4
"""A blob of no more chunks is here before anything can be learned about it."""

_REMEMBERED = 4096
"""Ranges that were returned, and that were read, are remembered so that none is returned again; of more of them all
are forgotten, which costs a look at the chunk map."""


class Policy(Protocol):
    """One way to guess what a reader wants next."""

    def observe(self, read: Read) -> list[range] | None:
        """Take note of a read.

        Returns:
            The bytes to have next, most urgent first, often none; None when this policy does not explain the read, so
            that the next one is asked.
        """


class Prefetch:
    """The policies for one blob with these chunks; windows grow to `largest` bytes.

    A `cold` load is recorded, and replayed when one was `kept` of an earlier load.  The blob is one file, or an archive
    of `files`, which lie in it there.
    """

    def __init__(
        self,
        chunks: ChunkList,
        largest: int,
        *,
        kept: Trace | None = None,
        cold: bool = False,
        without: frozenset[str] = frozenset(),
        files: Iterable[range] = (),
    ) -> None:
        many = len(chunks) > FEW_CHUNKS
        cold = cold and many and "replay" not in without
        self._largest = largest
        self._without = without
        self._streams = ReadAhead(chunks.size, largest, both_ways=True)
        self._record = Record(chunks, kept) if cold else None
        self._replay = Replay(kept) if cold and kept is not None else None
        self._files = Files(files or (range(chunks.size),)) if many and "tensors" not in without else None
        self._sequential = Sequential(self._streams)
        asked: tuple[Policy | None, ...] = (self._replay, self._files, self._sequential)
        self._policies = [policy for policy in asked if policy is not None]
        self._read = Ranges()
        self._returned = Ranges()

    # The header

    @property
    def wants_header(self) -> range | None:
        """The file that somebody reads, who could read tensors, and at whose header nobody has looked yet."""
        return None if self._files is None else self._files.wanted

    def files_known(self, files: Iterable[range]) -> None:
        """The blob has turned out to be an archive of these files."""
        if self._files is not None:
            place = self._policies.index(self._files)
            self._files = self._policies[place] = Files(files)

    @property
    def knows_tensors(self) -> bool:
        """Whether a header has told where tensors are."""
        return self._files is not None and bool(self._files.tensors)

    def header_begun(self, file: range) -> None:
        """Somebody is looking at the header of a file, and fetches it to its end."""
        if self._files is not None:
            self._files.begun(file)

    def header_failed(self, file: range) -> None:
        """The header could not be had now: the next read asks again, a few times."""
        if self._files is not None:
            self._files.failed(file)

    def header_read(self, file: range, extents: Extents | None) -> None:
        """The header has told where in its file the tensors are; None when it has none that can be read."""
        if self._files is None:
            return
        tensors = None
        if extents is not None and len(extents):
            credit = "credit" not in self._without
            tensors = Tensors(extents, file, self._largest, self._sequential, credit=credit)
        self._files.done(file, tensors)

    # Reads

    def observe(self, off: int, size: int, rate: float, *, tight: bool = False) -> list[range]:
        """Take note of a read of [off, off+size), which lies in the blob.

        Args:
            off: offset in bytes.
            size: length in bytes.
            rate: measured bandwidth in bytes per second; what is on its way is at most about a second of it.
            tight: what is fetched may have to leave again before it is read (the disk is full): a small window only.

        Returns:
            Ranges to prefetch, most urgent first; usually none.  A range is returned once, except when `tight`, because
            it may have been dropped since.
        """
        if not self._read.add(range(off, off + size)) and not tight:
            return []  # read before, and here: the same again says nothing new
        if self._record is not None:
            self._record.note(off, size)
        most = SMALLEST_WINDOW if tight else int(min(self._largest, max(SMALLEST_WINDOW, rate)))
        read = Read(off, size, self._streams.follow(off, size), most, tight)
        for policy in self._policies:
            ranges = policy.observe(read)
            if ranges is not None:
                return ranges if tight or not ranges else self._new(ranges)
        return []

    def _new(self, ranges: Iterable[range]) -> list[range]:
        if len(self._returned) > _REMEMBERED:
            self._returned.clear()
        if len(self._read) > _REMEMBERED:
            self._read.clear()
        return [new for one in ranges for new in self._returned.add(one)]

    # The record

    @property
    def record_grown(self) -> bool:
        """True when the record of this load should be kept before the load ends."""
        return self._record is not None and self._record.grown

    def unsaved_record(self) -> Trace | None:
        """The access trace to keep for the next load; None when the kept one is better, or nothing has changed."""
        left = self._replay is not None and self._replay.left
        return None if self._record is None else self._record.unsaved(left=left)

    def record_saved(self, trace: Trace) -> None:
        """What `unsaved_record` gave was written."""
        if self._record is not None:
            self._record.saved(trace)
