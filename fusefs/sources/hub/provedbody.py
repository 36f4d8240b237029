"""ProvedBody: the bytes of a range of a file, and the proof that they are its own, window by window.

A chunk of ours can be accepted when all of the window is here that the server proves it in, which is a few hundred KB
wider.  What comes in front of the range, and behind it, is hashed and dropped; what is read ahead for the proof of a
chunk is kept until it is asked for.  The first chunk of a range has a proof of its own, for somebody waits for it;
those behind it share one, more and more of them: a proof costs a request and a millisecond of hashing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.errors import DigestMismatch, NoEvidence
from fusefs.sources.hub.leaves import Leaves
from fusefs.sources.hub.xetbody import XetBody
from fusefs.sources.hub.xetstream import XetStream
from fusefs.values.chunks import Chunk
from fusefs.values.settings import MIB
from fusefs.xet.xethash import chunk_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from fusefs.sources.hub.ahead import Ahead
    from fusefs.sources.hub.cas import Cas
    from fusefs.sources.hub.leaves import Leaf
    from fusefs.sources.hub.provability import Provability
    from fusefs.sources.hub.xetfile import XetFile
    from fusefs.values.chunks import Buffer
    from fusefs.values.voucher import Voucher
    from fusefs.xet.windowproof import WindowProof

_LARGEST_GROUP = 8 * MIB
"""Bytes that one proof is asked for at most: they are in memory beside the buffer of a span."""

_MOST_HELD = 16 * MIB
"""Bytes that were read ahead for a proof and are kept; more is asked for again."""

MOST_BEYOND = 32 * MIB
"""Bytes that a window may have beyond what was asked for.  Where a file repeats itself for long, as in a tensor of
zeros, it may go on to the end of the file."""


@dataclass(frozen=True, slots=True)
class XetPlace:
    """A file whose parts are to be proved, and who is asked.

    Attributes:
        cas: for bytes and proofs.
        ahead: makes requests before they are needed.
        provability: is told what came of the proofs.
        file: of which.
        voucher: whose word it is that the file has this hash of Xet.
    """

    cas: Cas
    ahead: Ahead
    provability: Provability
    file: XetFile
    voucher: Voucher


def proof_of(cas: Cas, file: XetFile, part: Chunk) -> WindowProof:
    """What proves `part` of a file, by a window that is not much larger.

    Raises:
        NoEvidence: nothing does.
        SourceError, Cancelled: it cannot be had now.
    """
    proof = cas.proof(file, part)
    if proof.window.size - part.size > MOST_BEYOND:
        beyond = (proof.window.size - part.size) // MIB
        raise NoEvidence(f"proves bytes {part} only together with {beyond} MiB beside them", source=cas.label)
    return proof


class ProvedBody(XetBody):
    """A Body that is Evidenced."""

    def __init__(self, place: XetPlace, given: Chunk) -> None:
        """Make one; `begin` asks for the first of it."""
        self._place = place
        self._unit = place.file.unit
        self._groups = list(_groups(given, self._unit))
        self._coming: dict[int, Future[WindowProof]] = {}
        self._proofs: dict[int, WindowProof] = {}
        self._proved: set[int] = set()
        self._leaves = Leaves()
        self._edges: deque[Leaf] = deque()
        self._held: deque[tuple[int, bytes]] = deque()
        self._held_size = 0
        last = len(self._groups) - 1
        for number in {0, last} if last else ():
            self._foresee(number)
        start, stop = self._proof(0).window.start, self._proof(last).window.stop
        self._need = start
        super().__init__(XetStream(place.cas, place.file, Chunk(start, stop - 1), place.ahead), given)
        self._stream.begin()
        self._foresee(1)

    def evidence(self) -> XetEvidence:
        """See `Evidenced.evidence`."""
        last = self._off - 1
        number = next(i for i, group in enumerate(self._groups) if last <= group.end)
        self._rest = memoryview(bytes(self._rest))  # for what comes now takes its place
        proof = self._proof(number)
        self._foresee(number + 1)
        start = last // self._unit * self._unit
        while self._edges and self._edges[0].stop <= start:
            self._edges.popleft().data = None  # both sides are over
        window = proof.window
        if not self._leaves.hashed(window.start, start):
            self._again(window.start)
        while self._stream.off < window.stop:
            leaf, data = self._arrive()
            leaf.hash = leaf.hash or chunk_hash(data)
            self._hold(leaf, data)
        return XetEvidence(self._place, proof, self._leaves, self._proved, number)

    # Proofs

    def _proof(self, number: int) -> WindowProof:
        """That of a group, for which somebody may have asked already."""
        proof = self._proofs.get(number)
        if proof is None:
            coming = self._coming.pop(number, None)  # if it has failed, the next try asks anew
            place = self._place
            try:
                place.provability.check(place.file)
                proof = coming.result() if coming else proof_of(place.cas, place.file, self._groups[number])
            except NoEvidence as exc:
                place.provability.impossible(place.file, exc)
                raise
            self._proofs[number] = proof
        return proof

    def _foresee(self, number: int) -> None:
        if number < len(self._groups) and number not in self._proofs and number not in self._coming:
            place = self._place
            self._coming[number] = place.ahead.submit(proof_of, place.cas, place.file, self._groups[number])

    # Bytes

    def _next(self) -> tuple[int, Buffer]:
        """See `XetBody._next`."""
        data: Buffer
        if self._held:
            start, data = self._held.popleft()
            self._held_size -= len(data)
        else:
            if self._stream.off != self._need:
                self._again(self._need)
            leaf, data = self._arrive()
            start = leaf.start
            if leaf.hash is None and (leaf.stop <= self.given.start or leaf.start >= self.given.stop):
                leaf.hash = chunk_hash(data)  # nobody else sees it
        self._need = start + len(data)
        return start, data

    def _arrive(self) -> tuple[Leaf, Buffer]:
        """The next chunk of Xet; one that the edge of a chunk of ours cuts is kept with its leaf, for both sides."""
        data = self._stream.next()
        stop = self._stream.off
        leaf = self._leaves.add(stop - len(data), stop)
        if leaf.start // self._unit != (stop - 1) // self._unit or leaf.start < self.given.stop < stop:
            leaf.data = bytes(data)
            self._edges.append(leaf)
            leaf.hash = chunk_hash(data)
        return leaf, data

    def _hold(self, leaf: Leaf, data: Buffer) -> None:
        """Keep what will be asked for next, as far as there is room."""
        follows = leaf.start == self._need + self._held_size
        if follows and leaf.start < self.given.stop and self._held_size + len(data) <= _MOST_HELD:
            self._held.append((leaf.start, bytes(data)))
            self._held_size += len(data)

    def _again(self, start: int) -> None:
        """What begins at `start` has to come again.  Nothing that comes is right because it was right before."""
        self._held.clear()
        self._held_size = 0
        self._proved.clear()
        self._edges.clear()
        self._leaves.cut(start)
        self._stream.begin(start)


class XetEvidence:
    """An Evidence: the leaves of a window, which must fold to the hash of the file.

    Attributes:
        voucher: whose word that hash is.
    """

    def __init__(self, place: XetPlace, proof: WindowProof, leaves: Leaves, proved: set[int], number: int) -> None:
        self.voucher = place.voucher
        self._place = place
        self._proof = proof
        self._leaves = leaves
        self._proved = proved
        self._number = number

    def check(self, chunk: Chunk, pieces: Iterable[Buffer]) -> None:
        """See `Evidence.check`."""
        place, window = self._place, self._proof.window
        if not window.start <= chunk.start <= chunk.end <= window.end:
            raise NoEvidence(f"no proof of the bytes {chunk}", source=place.cas.label)
        try:
            self._leaves.hash_by(chunk, pieces)
            if self._number not in self._proved:
                self._proof.verify(self._leaves.nodes(window), place.file.hash)
        except DigestMismatch:
            place.cas.disbelieve(place.file)
            place.provability.failed(place.file)
            raise
        self._proved.add(self._number)
        place.provability.proved(place.file)


def _groups(given: Chunk, unit: int) -> Iterator[Chunk]:
    """What has a proof of its own: the chunk in which the range begins, and more and more of those behind it."""
    start, size = given.start // unit * unit, unit
    while start < given.stop:
        stop = min(start + size, given.stop)
        yield Chunk(start, stop - 1)
        start, size = stop, min(2 * size, max(unit, _LARGEST_GROUP))
