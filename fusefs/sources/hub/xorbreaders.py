"""XorbReaders: the ranges of xorbs that a plan needs, each asked for when its turn comes, and once where that can be.

The terms of a file mostly go through one range after the other.  Where a file repeats itself, or shares chunks with
others in another order, they come back to a range: to one that is short its chunks are kept, a long one stays open as
long as the terms go on in it, and else is asked for again.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

from fusefs.errors import Cancelled, WrongResponse
from fusefs.sources.hub.xorbreader import XorbReader
from fusefs.xet.xorb import MAX_CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from fusefs.sources.hub.ahead import Ahead
    from fusefs.sources.hub.cas import Cas, Plan
    from fusefs.sources.rangebody import RangeBody
    from fusefs.values.chunks import Buffer
    from fusefs.xet.reconstruction import Term, XorbRange

_MOST_OPEN = 4
"""Answers that wait half-read; each holds a connection."""

_MOST_KEPT = 16 << 20
"""Bytes of unpacked chunks that are kept because another term wants them."""

_SLACK = 64 << 20
"""Bytes that may be asked for beyond a few times the bytes of the file: a whole xorb, of which little is wanted."""

_TIMES = 4


class XorbReaders:
    """For one plan; for one thread, but for `close`."""

    def __init__(self, cas: Cas, plan: Plan, ahead: Ahead) -> None:
        self._cas = cas
        self._plan = plan
        self._ahead = ahead
        self._terms = plan.reconstruction.terms
        self._uses = Counter(id(term.fetch) for term in self._terms)
        self._budget = _SLACK + _TIMES * sum(term.size for term in self._terms)
        self._open: OrderedDict[int, XorbReader] = OrderedDict()
        self._kept: OrderedDict[int, tuple[int, list[bytes]]] = OrderedDict()
        self._coming: tuple[int, Future[RangeBody]] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def chunks(self) -> Iterator[Buffer]:
        """The unpacked chunks of all terms, in order; each is good until the next one is asked for.

        Raises:
            InvalidXet: what came is no chunk, or a term has another length than was said.
            SourceError, Cancelled: it cannot be had.
        """
        for number, term in enumerate(self._terms):
            left = term.size
            for data in self._of(number, term):
                left -= len(data)
                yield data
            if left:
                raise WrongResponse(f"a term differs by {left} bytes from what was said", source=str(self._plan.origin))
            self._uses[id(term.fetch)] -= 1
            if not self._uses[id(term.fetch)]:
                self._drop(term.fetch)

    def close(self) -> None:
        """End what is under way.  From any thread; idempotent."""
        with self._lock:
            self._closed = True
            readers, coming = list(self._open.values()), self._coming
            self._open.clear()
            self._coming = None
        for reader in readers:
            reader.close()
        if coming is not None:
            coming[1].add_done_callback(_end)

    def _of(self, number: int, term: Term) -> Iterator[Buffer]:
        """The chunks of one term."""
        fetch = term.fetch
        kept = self._kept_of(fetch)
        if kept is None:
            reader = self._reader(number, fetch, term.first)
            while reader.at < term.stop:
                yield reader.next()
            return
        for at in range(term.first - fetch.first, term.stop - fetch.first):
            while at >= len(kept):
                kept.append(bytes(self._reader(number, fetch, fetch.first + len(kept)).next()))
            yield kept[at]

    def _kept_of(self, fetch: XorbRange) -> list[bytes] | None:
        """The chunks of a range as far as they have come, of a short one that several terms want; else None."""
        found = self._kept.get(id(fetch))
        if found is not None:
            return found[1]
        count = fetch.stop - fetch.first
        if self._uses[id(fetch)] < 2 or count * MAX_CHUNK > _MOST_KEPT:
            return None
        while (count + sum(size for size, _ in self._kept.values())) * MAX_CHUNK > _MOST_KEPT:
            self._kept.popitem(last=False)
        kept: list[bytes] = []
        self._kept[id(fetch)] = count, kept
        return kept

    def _reader(self, number: int, fetch: XorbRange, first: int) -> XorbReader:
        """The reader of a range, at chunk `first`."""
        reader = self._opened(number, fetch, first)
        while reader.at < first:
            reader.next()
        return reader

    def _opened(self, number: int, fetch: XorbRange, first: int) -> XorbReader:
        """The same, at that chunk or in front of it."""
        with self._lock:
            reader = self._open.get(id(fetch))
            if reader is not None:
                self._open.move_to_end(id(fetch))
        if reader is not None and reader.at <= first:
            return reader
        if reader is not None:
            self._drop(fetch)
        reader = XorbReader(fetch, self._begin(fetch), lambda: self._foresee(number))
        with self._lock:
            closed = self._closed
            if not closed:
                self._open[id(fetch)] = reader
        if closed:
            reader.close()
            raise Cancelled("the range was closed")
        if len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)[1].close()
        return reader

    def _begin(self, fetch: XorbRange) -> RangeBody:
        """The answer for a range; it may have been asked for already."""
        self._budget -= fetch.part.size
        if self._budget < 0:
            raise WrongResponse("a file is put together of far more than it has", source=str(self._plan.origin))
        with self._lock:
            coming, self._coming = self._coming, None
        if coming is not None and coming[0] == id(fetch):
            return coming[1].result()
        if coming is not None:
            coming[1].add_done_callback(_end)
        return self._cas.open(self._plan, fetch)

    def _foresee(self, number: int) -> None:
        """Little is left of the range of term `number`: ask for the next one that is not at hand."""
        own = id(self._terms[number].fetch)
        for term in self._terms[number + 1 :]:
            if id(term.fetch) == own:
                continue
            if id(term.fetch) in self._open or id(term.fetch) in self._kept:
                return
            with self._lock:
                if not self._closed and self._coming is None:
                    self._coming = id(term.fetch), self._ahead.submit(self._cas.open, self._plan, term.fetch)
            return

    def _drop(self, fetch: XorbRange) -> None:
        """Nobody wants more of a range, or it has to be read again from its front."""
        self._kept.pop(id(fetch), None)
        with self._lock:
            reader = self._open.pop(id(fetch), None)
        if reader is not None:
            reader.close()


def _end(coming: Future[RangeBody]) -> None:
    if not coming.cancelled() and coming.exception() is None:
        coming.result().close()
