"""Streams: blobs that come in one stream from the front, because their source ignores Range.

Such a source gives all of a blob to each request.  So one worker takes the stream, and keeps each chunk that passes and
is not here, whether somebody wants it or not: it cannot be had again without all that stands before it.  Workers that
were asking for other parts give their chunks back to the queue, where the stream finds them.  Chunks that the stream
has passed, because another process had them, or that came wrong, are left to the next one.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

import trio

from fusefs.fetch.flight import Flight, Priority
from fusefs.fetch.shares import SILENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.values.digest import Digest


class Verdict(enum.Enum):
    """What to do with a chunk that is about to pass."""

    TAKE = enum.auto()
    SKIP = enum.auto()
    STOP = enum.auto()
    """Neither with it nor with any other behind it, for all that is not one's own."""


class Along(Protocol):
    """What a worker with a stream asks; blocking, from its thread."""

    def entire(self) -> bool:
        """Whether all of the blob is wanted."""

    def begin(self) -> bool:
        """Whether the stream is this worker's to take; another one may have it."""

    def claim(self, index: int) -> Verdict:
        """A chunk is about to pass; one to TAKE is the worker's from now on, like those that it was started for."""


class Alone:
    """For a worker that nobody else works beside: it takes its own chunks and no others."""

    def entire(self) -> bool:
        """See `Along.entire`."""
        return True

    def begin(self) -> bool:
        """See `Along.begin`."""
        return True

    def claim(self, index: int) -> Verdict:  # noqa: ARG002  # whichever it is
        """See `Along.claim`."""
        return Verdict.SKIP


class WholeStream:
    """One worker's part in it, from the worker's start; an Along.

    Attributes:
        first: the flight that the worker was started for.
        flights: all that the worker has, by index; those that it takes along are added.
    """

    def __init__(self, streams: Streams, first: Flight, flights: dict[int, Flight]) -> None:
        self.first = first
        self.flights = flights
        self._streams = streams
        streams.workers[first.blob] = streams.workers.get(first.blob, 0) + 1

    def entire(self) -> bool:
        """See `Along.entire`."""
        return self.first.entire

    def begin(self) -> bool:
        """See `Along.begin`."""
        return trio.from_thread.run(self._streams.begin, self)

    def claim(self, index: int) -> Verdict:
        """See `Along.claim`."""
        return trio.from_thread.run_sync(self._streams.claim, self, index)


class Streams:
    """Of one dispatcher; lives on the event loop.

    Args:
        lock: takes a flight's chunk between processes; False where somebody else has it, who is waited for.
        timeout: seconds without progress after which who waits for a stream has waited enough.

    Attributes:
        workers: how many each blob has that has any.
    """

    def __init__(self, lock: Callable[[Flight], bool], timeout: float) -> None:
        self.workers: dict[Digest, int] = {}
        self._lock = lock
        self._timeout = timeout
        self._streams: dict[Digest, WholeStream] = {}
        self._ended = trio.Event()

    def may_start(self, flight: Flight) -> bool:
        """Whether a worker for this flight would get what no stream brings: of such a source, one worker a blob."""
        if flight.blob not in self.workers:
            return True
        return flight.blob not in self._streams and not flight.of.origins.ignores_range(entire=flight.entire)

    def end(self, stream: WholeStream) -> None:
        """The worker is done."""
        blob = stream.first.blob
        self.workers[blob] -= 1
        if not self.workers[blob]:
            del self.workers[blob]
        if self._streams.get(blob) is stream:
            del self._streams[blob]
        if self._streams:
            self._ended.set()
            self._ended = trio.Event()

    async def begin(self, stream: WholeStream) -> bool:
        """See `Along.begin`.  Waits a little for workers that have asked, too, and now give their chunks back."""
        blob = stream.first.blob
        if self._streams.setdefault(blob, stream) is not stream:
            return False
        with trio.move_on_after(SILENT):
            while self.workers[blob] > 1:
                await self._ended.wait()
        return True

    def claim(self, stream: WholeStream, index: int) -> Verdict:
        """See `Along.claim`."""
        of, chunker = stream.first.of, stream.first.chunker
        of.use.progress(self._timeout)
        if chunker in of.retired or chunker.quarantined or chunker.sealed or of.forsaken:
            return Verdict.STOP
        flight = of.get(index)
        if chunker.present(index) or (flight is not None and (flight.started or flight.chunker is not chunker)):
            return Verdict.SKIP
        if flight is None:
            if chunker.full is not None:
                return Verdict.SKIP  # memory is for those who wait
            flight = of[index] = Flight(of, chunker, index, Priority.FILL)
        flight.started = True
        if not self._lock(flight):
            return Verdict.SKIP
        stream.flights[index] = flight
        return Verdict.TAKE
