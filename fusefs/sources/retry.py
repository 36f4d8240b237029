"""Retrying: the one place that tries again, as a Source round a Source.

How long and how often is `Patience`'s to say.  A range is not begun anew: its Body asks for the bytes that are still
missing.  For a Body the time begins anew with the read after each `_PROGRESS` bytes, because a large span over a slow
link takes longer than any sensible timeout, and a byte a second must not count as life.

One of several sources gives up after one quick try more: its caller asks the others, and when all are in trouble waits
with `patience` before it asks all of them again.  So a dead mirror costs little, and one that comes back after a minute
is found although the registry behind it is out of reach for ever.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from fusefs.errors import Cancelled, FusefsError, HostResting, NoEvidence, RangeIgnored
from fusefs.net.clock import SystemClock
from fusefs.sources.backoff import Patience
from fusefs.sources.base import Evidenced, Evidencing, Learner, ListKeeper, Remote
from fusefs.sources.distrust import Standing
from fusefs.values import metrics
from fusefs.values.chunks import Blob, Chunk, ChunkList
from fusefs.values.voucher import Proof, Voucher

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.net.clock import Clock
    from fusefs.sources.base import Body, Source
    from fusefs.values.counters import Counters
    from fusefs.values.digest import Digest
    from fusefs.values.evidence import Evidence
    from fusefs.values.names import Name

_PROGRESS = 1 << 16

MANIFEST_TIMEOUT = 15.0
"""Seconds for a manifest at most: a person waits for it, or the one in the cache could be used (P7)."""

T = TypeVar("T")


class Retrying:
    """A Source that tries `source` again where that may help, and counts `requests` and `retries`.

    Attributes:
        label: that of `source`.
        remote: `source` when it is behind a network.
        standing: what it has been caught at; None where it is the only one, or costs nothing to ask.
        voucher: what its word on chunk lists and tags is worth.
    """

    def __init__(
        self,
        source: Source,
        *,
        timeout: float,
        counters: Counters,
        clock: Clock | None = None,
        several: bool = False,
        proof: Proof = Proof.REGISTRY,
        who: str = "",
    ) -> None:
        """Make one.

        Args:
            source: who is asked.
            timeout: seconds without success after which a call fails.
            counters: what happened.
            clock: the time.
            several: others are asked, too, by a caller who waits with `patience`.
            proof: `NONE` for a mirror, which gives bytes and never says which are right.
            who: vouches, as `Voucher.who`; by default the label.
        """
        self.label = source.label
        self.voucher = Voucher(proof, who or source.label)
        self.remote = source if isinstance(source, Remote) else None
        self.standing = Standing(source.label, clock) if several and self.remote is not None else None
        self._several = several
        self._source = source
        self._timeout = timeout
        self._counters = counters
        self._clock = clock or SystemClock()
        self._patience = partial(Patience, self._clock, counters, brief=several)
        self._stopped = threading.Event()
        self._bodies: set[_ResumingBody] = set()
        self._lock = threading.Lock()

    def manifest(self, name: Name) -> bytes:
        """See `Source.manifest`."""
        patience = self._patience(min(self._timeout, MANIFEST_TIMEOUT), self._stopped)
        return self._tried(patience, self._source.manifest, name)

    def patience(self, longest: float = float("inf"), share: float = 1.0) -> Patience | None:
        """For whoever asks several sources in turn; None when this one has had all the patience there is itself.

        Args:
            longest: seconds at most.
            share: of `timeout`, at most.
        """
        if not self._several:
            return None
        return Patience(self._clock, self._counters, min(self._timeout * share, longest), self._stopped)

    def chunk_list(self, name: Name, blob: Blob) -> ChunkList | None:
        """See `Source.chunk_list`."""
        return self._tried(self._patience(self._timeout, self._stopped), self._source.chunk_list, name, blob)

    def stored_list(self, name: Name, blob: Blob, text: Digest) -> ChunkList | None:
        """See `ListKeeper.stored_list`."""
        if not isinstance(self._source, ListKeeper):
            return None
        return self._tried(self._patience(self._timeout, self._stopped), self._source.stored_list, name, blob, text)

    def evidence_voucher(self, name: Name, blob: Blob) -> Voucher | None:
        """See `Evidencing.evidence_voucher`."""
        return self._source.evidence_voucher(name, blob) if isinstance(self._source, Evidencing) else None

    def learn(self, name: Name, digest: Digest, document: bytes) -> None:
        """See `Learner.learn`."""
        if isinstance(self._source, Learner):
            self._source.learn(name, digest, document)

    def open_range(self, name: Name, blob: Blob, chunk: Chunk) -> Body:
        """See `Source.open_range`.  The first request is made here, so that "not found" is known at once."""
        closed = threading.Event()
        patience = self._patience(self._timeout, closed)
        open_rest = partial(self._tried, patience, self._source.open_range, name, blob)
        body = _ResumingBody(open_rest, chunk, patience, closed, self._bodies.discard)
        with self._lock:
            self._bodies.add(body)
        try:
            return _EvidencedBody(body) if body.begin() else body
        except BaseException:
            body.close()
            raise

    def close(self) -> None:
        """See `Source.close`; whoever waits for the next try is woken."""
        self._stopped.set()
        with self._lock:
            bodies = list(self._bodies)
        for body in bodies:
            body.close()
        self._source.close()

    def _tried(self, patience: Patience, call: Callable[..., T], *args: object) -> T:
        while True:
            if self._stopped.is_set():
                raise Cancelled("the source is closed")
            self._counters.add(metrics.REQUESTS)
            try:
                return call(*args)
            except HostResting as exc:
                self._counters.add(metrics.REQUESTS, -1)  # there was none
                patience.pause(exc)
            except FusefsError as exc:
                patience.pause(exc)


class _ResumingBody:
    """A Body that goes on at the byte where it broke.

    One that is all of a blob, from a server that ignores Range, is asked for the rest like any other.  If the answer is
    all of the blob again, its front is read and dropped, which takes its time and gains nothing: a server that always
    cuts at the same byte is given up.

    Attributes:
        given: as `Body`; known from `begin` on.
    """

    def __init__(
        self,
        open_rest: Callable[[Chunk], Body],
        chunk: Chunk,
        patience: Patience,
        closed: threading.Event,
        on_close: Callable[[_ResumingBody], None],
    ) -> None:
        self.given = chunk
        self._open_rest = open_rest
        self._off = chunk.start
        self._skip = 0
        self._gained = 0
        self._patience = patience
        self._closed = closed
        self._on_close = on_close
        self._inner: Body | None = None
        self._lock = threading.Lock()

    def begin(self) -> bool:
        """Ask for the range.

        Returns:
            Whether its source proves what it gives.

        Raises:
            FusefsError: it cannot be had.
            Cancelled: `close` was called.
        """
        inner = self._open(self.given)
        self.given = inner.given
        self._off = self.given.start
        return isinstance(inner, Evidenced)

    def last_evidence(self) -> Evidence:
        """That of the answer that came last: evidence is of chunks, and not of answers.

        Raises:
            FusefsError: it cannot be had.
            Cancelled: `close` was called.
        """
        self._patience.renew()
        while True:
            inner: object = self._inner
            if inner is None:
                raise Cancelled("the range was closed")
            if not isinstance(inner, Evidenced):
                raise NoEvidence("it has been found meanwhile that nothing proves what comes")
            try:
                return inner.evidence()
            except FusefsError as exc:
                self._patience.pause(exc)

    def readinto(self, buffer: memoryview) -> int:
        """See `Body.readinto`."""
        if not buffer or self._off == self.given.stop:
            return 0
        if self._gained >= _PROGRESS:
            self._gained = 0
            self._patience.renew()
        while True:
            if self._closed.is_set():
                raise Cancelled("the range was closed")
            inner = self._inner or self._go_on()
            try:
                while self._skip:
                    self._skip -= inner.readinto(buffer[: self._skip])
                got = inner.readinto(buffer)
            except FusefsError as exc:
                self._inner = None
                inner.close()
                self._patience.pause(exc)
                continue
            self._off += got
            self._gained += got
            return got

    def close(self) -> None:
        """See `Body.close`."""
        with self._lock:
            self._closed.set()
            inner, self._inner = self._inner, None
        if inner is not None:
            inner.close()
        self._on_close(self)

    def _open(self, rest: Chunk) -> Body:
        inner = self._open_rest(rest)
        with self._lock:
            if not self._closed.is_set():
                self._inner = inner
                return inner
        inner.close()
        raise Cancelled("the range was closed")

    def _go_on(self) -> Body:
        """Ask for what is missing."""
        inner = self._open(Chunk(self._off, self.given.end))
        self._skip = self._off - inner.given.start
        if inner.given.stop != self.given.stop or (self._skip and self.given.start):
            # It began as a part.  To read through all of the blob for the rest of that part helps nobody; whoever asks
            # for the part again is given all of the blob, and can keep it.
            self.close()
            raise RangeIgnored("part of a file has come, and then the whole file for the rest of that part")
        return inner


class _EvidencedBody:
    """A resuming Body that is Evidenced, too."""

    def __init__(self, body: _ResumingBody) -> None:
        self.given = body.given
        self.readinto = body.readinto
        self.evidence = body.last_evidence
        self.close = body.close
