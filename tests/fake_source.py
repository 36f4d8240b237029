"""FakeSource: a Source in memory that keeps count, lies and fails on demand.

It passes the conformance suite that every real source passes (`tests/conformance/test_sources.py`).
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from fusefs.errors import Cancelled, ModelNotFound, NotFound, SourceError
from fusefs.values.chunks import Blob, Chunk, ChunkList
from fusefs.values.digest import Digest
from tests.merkle import MerkleEvidence, MerkleTree

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.values.names import Name

    Fault = Callable[[Chunk, bytes], bytes]
    """Given what was asked for and its right bytes: other bytes, or raise."""


def chunk_list(data: bytes, chunk_size: int) -> ChunkList:
    """The honest list of `data`."""
    starts = range(0, len(data), chunk_size)
    return ChunkList.from_pairs(
        len(data),
        ((Digest.of(data[s : s + chunk_size]), Chunk(s, min(s + chunk_size, len(data)) - 1)) for s in starts),
    )


class FakeSource:
    """Blobs, lists and manifests in memory.

    Attributes:
        asked: every range that was opened, in order.
        faults: taken from the left, one for each range that is opened.
        ignores_range: each range is answered with all of the blob.
        gate: when set to an unset event, ranges wait for it: a network that is slow as long as the test wants.
    """

    def __init__(self, label: str = "fake") -> None:
        self.label = label
        self.asked: list[Chunk] = []
        self.faults: deque[Fault | None] = deque()
        self.always: Fault | None = None
        self.ignores_range = False
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False
        self._blobs: dict[Digest, bytes] = {}
        self._lists: dict[Digest, ChunkList] = {}
        self._proofs: dict[Digest, MerkleEvidence] = {}
        self._manifests: dict[tuple[str, ...], bytes] = {}
        self._lock = threading.Lock()

    def add(self, data: bytes, chunks: ChunkList | None = None) -> Blob:
        """Have a blob, with a chunk list or without."""
        digest = Digest.of(data)
        self._blobs[digest] = data
        blob = Blob(digest, len(data))
        self._keep(blob, data, chunks)
        return blob

    def claim(self, blob: Blob, data: bytes, chunks: ChunkList | None = None) -> None:
        """Have other bytes under the name of `blob`."""
        self._blobs[blob.digest] = data
        self._keep(blob, data, chunks)

    def prove(self, blob: Blob, evidence: MerkleEvidence) -> None:
        """Have other evidence than what an evidenced list brings with it, or evidence without a list."""
        self._proofs[blob.digest] = evidence

    def _keep(self, blob: Blob, data: bytes, chunks: ChunkList | None) -> None:
        if chunks is not None:
            self._lists[blob.digest] = chunks
        if chunks is not None and chunks.voucher is not None:
            tree = MerkleTree(data, chunks[0].size)
            self._proofs[blob.digest] = MerkleEvidence(chunks.voucher, tree.root, chunks[0].size, tree.proof)

    def add_manifest(self, name: Name, raw: bytes) -> None:
        """Have a model."""
        self._manifests[name.key] = raw

    def manifest(self, name: Name) -> bytes:
        """As Source.manifest."""
        self._check()
        if name.key not in self._manifests:
            raise ModelNotFound(f"no model {name}", source=self.label)
        return self._manifests[name.key]

    def chunk_list(self, name: Name, blob: Blob) -> ChunkList | None:
        """As Source.chunk_list."""
        del name
        self._check()
        return self._lists.get(blob.digest)

    def open_range(self, name: Name, blob: Blob, chunk: Chunk) -> _Body:
        """As Source.open_range."""
        del name
        self._check()
        if blob.digest not in self._blobs:
            raise NotFound("no such blob", source=self.label)
        with self._lock:
            self.asked.append(chunk)
        chunk = Chunk(0, blob.size - 1) if self.ignores_range else chunk
        data = self._blobs[blob.digest][chunk.start : chunk.stop]
        with self._lock:
            fault = self.faults.popleft() if self.faults else self.always
        if fault is not None:
            data = fault(chunk, data)
        evidence = self._proofs.get(blob.digest)
        return _Body(self, chunk, data) if evidence is None else _ProvedBody(self, chunk, data, evidence)

    def close(self) -> None:
        """As Source.close."""
        self.closed = True
        self.gate.set()

    @property
    def bytes_asked(self) -> int:
        """Sum of all ranges."""
        return sum(chunk.size for chunk in self.asked)

    def _check(self) -> None:
        if self.closed:
            raise Cancelled("the source is closed")


class _Body:
    def __init__(self, source: FakeSource, given: Chunk, data: bytes) -> None:
        self.given = given
        self._source = source
        self._rest = memoryview(data)

    def readinto(self, buffer: memoryview) -> int:
        self._source.gate.wait()
        self._source._check()
        got = min(len(buffer), len(self._rest))
        buffer[:got] = self._rest[:got]
        self._rest = self._rest[got:]
        return got

    def close(self) -> None:
        self._rest = self._rest[:0]


class _ProvedBody(_Body):
    def __init__(self, source: FakeSource, given: Chunk, data: bytes, evidence: MerkleEvidence) -> None:
        super().__init__(source, given, data)
        self._evidence = evidence

    def evidence(self) -> MerkleEvidence:
        return self._evidence


def flip(chunk: Chunk, data: bytes) -> bytes:
    """One flipped bit, in the middle."""
    del chunk
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def fail(chunk: Chunk, data: bytes) -> bytes:
    """Trouble."""
    del data
    raise SourceError(f"no bytes {chunk} today", source="fake", temporary=True)
