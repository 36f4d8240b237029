"""XetStream: the chunks of a file, in order, from one place on.

How they are put together is asked for once, and again from where it broke: URLs end, and a range of a xorb can only be
had whole, so that a plan for the rest is what asks for no byte twice.  That gains something each time, or is given up:
waiting is for others (`fusefs.sources.retry`).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from fusefs.errors import Cancelled, HostResting, InvalidXet, SourceError, Unauthorized, WrongResponse
from fusefs.sources.hub.xorbreaders import XorbReaders
from fusefs.values.chunks import Chunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusefs.sources.hub.ahead import Ahead
    from fusefs.sources.hub.cas import Cas
    from fusefs.sources.hub.xetfile import XetFile
    from fusefs.values.chunks import Buffer


class XetStream:
    """For one thread, but for `close`.

    Attributes:
        off: where in the file the next chunk begins; before the first one, where it begins at the latest.
    """

    def __init__(self, cas: Cas, file: XetFile, part: Chunk, ahead: Ahead) -> None:
        """Make one; nothing is asked for yet.

        Args:
            cas: who is asked.
            file: of which.
            part: the bytes that are wanted.
            ahead: where requests are made before they are needed.
        """
        self.off = part.start
        self._cas = cas
        self._file = file
        self._stop = part.stop
        self._ahead = ahead
        self._readers: XorbReaders | None = None
        self._chunks: Iterator[Buffer] = iter(())
        self._gained = False
        self._refused = False
        self._began = False
        self._lock = threading.Lock()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def begin(self, off: int | None = None) -> None:
        """Ask how it is put together, from where it is or from the chunk that begins at `off`.

        Raises:
            SourceError, Cancelled: that cannot be had.
        """
        if off is not None:
            self.off, self._began = off, True
        self._end()
        self._gained = False
        plan = self._cas.plan(self._file, Chunk(self.off, self._stop - 1))
        readers = XorbReaders(self._cas, plan, self._ahead)
        with self._lock:
            if self._closed:
                raise Cancelled("the range was closed")
            self._readers = readers
        self._chunks = self._from(plan.reconstruction.skip, readers)

    def next(self) -> Buffer:
        """The chunk at `off`, which moves behind it; good until the next call.

        Raises:
            SourceError, Cancelled: it cannot be had.  Another call tries again.
        """
        while True:
            try:
                if self._readers is None:
                    self.begin()
                data = next(self._chunks, None)
                if data is None:
                    raise WrongResponse("a reconstruction ends too early", source=self._cas.label)
            except (SourceError, InvalidXet) as exc:
                error = exc if isinstance(exc, SourceError) else WrongResponse(str(exc), source=self._cas.label)
                self._end()
                if not self._worth_another(error):
                    raise error from exc
                continue
            self._gained, self._refused = True, False
            self.off += len(data)
            return data

    def close(self) -> None:
        """End what is under way.  From any thread; idempotent."""
        with self._lock:
            self._closed = True
        self._end()

    def _from(self, skip: int, readers: XorbReaders) -> Iterator[Buffer]:
        """The chunks of a plan, without those in front of the place where it begins."""
        for data in readers.chunks():
            if skip >= len(data):
                skip -= len(data)
                continue
            if skip and self._began:
                raise WrongResponse("a reconstruction has other chunks than another one", source=self._cas.label)
            self.off -= skip
            skip = 0
            self._began = True
            yield data

    def _worth_another(self, error: SourceError) -> bool:
        """Whether to ask for a plan of the rest at once: something came of the last one, or its URLs had ended."""
        if isinstance(error, HostResting):
            return False
        ended = isinstance(error, Unauthorized) and not self._refused
        self._refused = self._refused or ended
        return self._gained or ended

    def _end(self) -> None:
        with self._lock:
            readers, self._readers = self._readers, None
        if readers is not None:
            readers.close()
