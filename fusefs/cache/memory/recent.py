"""Recent: verified chunks that lie on the disk too, kept in memory until their readers have been there.

What is kept is written past the page cache (`fusefs.cache.blob.direct`), and readers are answered from here: each byte
of a cold read is touched once less, and lies in memory once.  Any of it may be dropped at any time.

Memory has one owner.  `keep` takes that of a full buffer and lets the buffer go on with other memory, so that nothing
is copied and no fresh memory is touched.  Memory is used again only when nobody reads from it any more (`lend`,
`reply`, `hashing`).
"""

from __future__ import annotations

import contextlib
import mmap
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from fusefs.cache.memory.buffer import Buffer
    from fusefs.cache.memory.spill import Spill

    Key = tuple[Hashable, int]

_PATIENCE = 4
"""How many capacities of other chunks come by before one is given up that nobody has read."""


@dataclass(slots=True)
class _Kept:
    """One chunk.

    Attributes:
        buffer: its bytes are at the front.
        size: how many they are.
        unread: bytes of it that no reader has asked for.
        hashed: the running hash has it.
        age: what `Recent` had been offered when it came.
        lent: how many use the buffer now.
        dropped: nobody can find it any more; the last who uses it gives the buffer back.
    """

    buffer: mmap.mmap
    size: int
    unread: int
    age: int
    hashed: bool = False
    lent: int = 0
    dropped: bool = False


class Loan:
    """Bytes of a chunk for a reader, until they are given back.

    Attributes:
        view: the bytes.
    """

    __slots__ = ("_kept", "_recent", "view")

    def __init__(self, recent: Recent, kept: _Kept, view: memoryview) -> None:
        self.view = view
        self._recent = recent
        self._kept = kept

    def give_back(self) -> None:
        """They are read; once."""
        self._recent.take_back(self._kept)


class Recent:
    """Chunks of all blobs of one process.  Thread-safe.

    Args:
        capacity: bytes at most, for these chunks and for those that the disk does not take.
        spill: has the latter, which come first; what it gives back is used again at once.
    """

    def __init__(self, capacity: int, spill: Spill) -> None:
        self._capacity = capacity
        self._spill = spill
        self._used = 0
        self._offered = 0
        self._kept: dict[Key, _Kept] = {}
        self._read: OrderedDict[Key, None] = OrderedDict()  # those that wait for the running hash alone
        self._spare: list[mmap.mmap] = []
        self._replied: _Kept | None = None
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._kept)

    @property
    def used(self) -> int:
        """Bytes held now, spare buffers included."""
        return self._used + sum(map(len, self._spare))

    def has_room(self, size: int) -> bool:
        """Whether a chunk of `size` bytes would be kept now; counts as an offer of it."""
        with self._lock:
            self._offered += size
            return self._make_room(size)

    def keep(self, owner: Hashable, index: int, buffer: Buffer, size: int, *, unread: bool) -> bool:
        """Take over the memory of `buffer`, whose first `size` bytes are chunk `index` of `owner`.

        Args:
            owner: a chunker, not a digest: a blob whose list lied gets another chunker.
            index: the chunk.
            buffer: it goes on with other memory of the same length, whose content is anything.
            size: bytes of the chunk.
            unread: a reader may come; without one it stays only until it is hashed.

        Returns:
            False when there is no room after all; then nothing has changed.
        """
        with self._lock:
            if buffer.pages is None or not self._make_room(buffer.size):
                return False
            self._drop((owner, index))
            self._kept[owner, index] = _Kept(buffer.pages, size, size if unread else 0, self._offered)
            if not unread:
                self._read[owner, index] = None
            self._used += buffer.size
            fitting = next((i for i, spare in enumerate(self._spare) if len(spare) == buffer.size), None)
            spare = None if fitting is None else self._spare.pop(fitting)
        buffer.go_on_with(spare if spare is not None else mmap.mmap(-1, buffer.size))
        return True

    def reply(self, owner: Hashable, index: int, start: int, stop: int) -> memoryview | None:
        """Bytes [start, stop) of a chunk for a reader; good until the next call.  For the event loop alone."""
        with self._lock:
            before, self._replied = self._replied, None
            if before is not None:
                self._give_back(before)
            self._replied = kept = self._lend((owner, index), stop - start)
        return None if kept is None else memoryview(kept.buffer)[start:stop]

    def lend(self, owner: Hashable, index: int, start: int, stop: int) -> Loan | None:
        """Bytes [start, stop) of a chunk for a reader, if they are here.  For any thread."""
        with self._lock:
            kept = self._lend((owner, index), stop - start)
        return None if kept is None else Loan(self, kept, memoryview(kept.buffer)[start:stop])

    def take_back(self, kept: _Kept) -> None:
        """A reader has what was lent to him."""
        with self._lock:
            self._give_back(kept)

    def _lend(self, key: Key, size: int) -> _Kept | None:
        """The chunk, lent once more to who reads `size` bytes of it."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        kept.lent += 1
        kept.unread -= size
        if kept.unread <= 0:
            if kept.hashed:
                self._drop(key)
            else:
                self._read[key] = None
        return kept

    @contextlib.contextmanager
    def hashing(self, owner: Hashable, index: int) -> Iterator[memoryview | None]:
        """The bytes of a chunk for the running hash, if they are here."""
        with self._lock:
            kept = self._kept.get((owner, index))
            if kept is not None:
                kept.lent += 1
        if kept is None:
            yield None
            return
        try:
            with memoryview(kept.buffer) as view:
                yield view[: kept.size]
        finally:
            with self._lock:
                kept.hashed = True
                if kept.unread <= 0 and self._kept.get((owner, index)) is kept:
                    self._drop((owner, index))
                self._give_back(kept)

    def leave_to_others(self) -> None:
        """Others need more than before."""
        with self._lock:
            self._spare.clear()
            for key in list(self._kept):
                if self._used <= self._most:
                    break
                self._drop(key)

    def forget(self, owner: Hashable) -> None:
        """Drop every chunk of one owner."""
        with self._lock:
            for key in [key for key in self._kept if key[0] is owner]:
                self._drop(key)

    @property
    def _most(self) -> int:
        """Bytes that may be held now."""
        return self._capacity - self._spill.used

    def _make_room(self, size: int) -> bool:
        most = self._most
        while self._used + size > most and self._read:
            self._drop(next(iter(self._read)))
        while self._used + size > most and self._kept:
            oldest = next(iter(self._kept))
            if self._offered - self._kept[oldest].age < _PATIENCE * self._capacity:
                return False
            self._drop(oldest)
        return self._used + size <= most

    def _drop(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is None:
            return
        self._read.pop(key, None)
        self._used -= len(kept.buffer)
        kept.dropped = True
        kept.lent += 1
        self._give_back(kept)

    def _give_back(self, kept: _Kept) -> None:
        kept.lent -= 1
        if kept.dropped and kept.lent == 0 and self.used + len(kept.buffer) <= self._most:
            self._spare.append(kept.buffer)
