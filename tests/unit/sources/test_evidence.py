"""Evidence through a source that tries again: it is there, it is of the chunk, and trouble with it is waited out."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fusefs.errors import Cancelled, NotFound, TransportError
from fusefs.sources.base import Evidenced
from fusefs.sources.retry import Retrying
from fusefs.values.chunks import Chunk, ChunkList
from fusefs.values.counters import Counters
from fusefs.values.names import Name
from fusefs.values.voucher import BOUND
from tests.fake_source import FakeSource
from tests.merkle import MerkleEvidence, MerkleTree
from tests.reading import FakeClock, read_body
from tests.world import some_bytes

if TYPE_CHECKING:
    from fusefs.errors import FusefsError
    from fusefs.sources.base import Body
    from fusefs.values.chunks import Blob
    from tests.merkle import Proof

DATA = some_bytes(1000)
CHUNK = Chunk(300, 399)
NAME = Name.parse("m")


class Cut:
    """A Body of which only the first bytes come."""

    def __init__(self, body: Body, left: int) -> None:
        self.given = body.given
        self.close = body.close
        self._body = body
        self._left = left

    def readinto(self, buffer: memoryview) -> int:
        """As Body."""
        if not self._left:
            raise TransportError("cut off", source="cutting")
        got = self._body.readinto(buffer[: self._left])
        self._left -= got
        return got


class CutProved(Cut):
    """One that is Evidenced, whose evidence fails as often as it is told."""

    def __init__(self, body: Body, left: int, evidence: MerkleEvidence, failures: list[FusefsError]) -> None:
        super().__init__(body, left)
        self._evidence = evidence
        self._failures = failures

    def evidence(self) -> MerkleEvidence:
        """As Evidenced."""
        if self._failures:
            raise self._failures.pop()
        return self._evidence


class Cutting(FakeSource):
    """Cuts its first body off, in the middle of a chunk."""

    def __init__(self) -> None:
        super().__init__("cutting")
        self.failures: list[FusefsError] = []
        self.blob: Blob = self.add(DATA, ChunkList.evidenced(len(DATA), 100, BOUND))
        self.proofs: list[int] = []
        self._tree = MerkleTree(DATA, 100)

    def open_range(self, name: Name, blob: Blob, chunk: Chunk) -> Body:  # type: ignore[override]  # any Body will do
        """See FakeSource."""
        left = 40 if not self.asked else chunk.size
        body = super().open_range(name, blob, chunk)
        return CutProved(body, left, MerkleEvidence(BOUND, self._tree.root, 100, self._ask), self.failures)

    def _ask(self, index: int) -> Proof:
        self.proofs.append(index)
        return self._tree.proof(index)


@pytest.fixture
def inner() -> Cutting:
    return Cutting()


@pytest.fixture
def source(inner: Cutting) -> Retrying:
    return Retrying(inner, timeout=300, counters=Counters(), clock=FakeClock())


def test_a_body_that_was_cut_within_a_chunk_has_the_evidence_of_the_whole_chunk(
    inner: Cutting, source: Retrying
) -> None:
    with closing(source.open_range(NAME, inner.blob, CHUNK)) as body:
        data = read_body(body, CHUNK.size)
        assert data == DATA[300:400]
        assert inner.asked == [CHUNK, Chunk(340, 399)]
        assert isinstance(body, Evidenced)
        body.evidence().check(CHUNK, [data])
    assert inner.proofs == [3]


def test_trouble_with_the_evidence_is_waited_out_and_a_refusal_is_not(inner: Cutting, source: Retrying) -> None:
    inner.failures += [NotFound("no proof", source="cutting"), TransportError("reset", source="cutting")]
    with closing(source.open_range(NAME, inner.blob, CHUNK)) as body:
        assert isinstance(body, Evidenced)
        with pytest.raises(NotFound):
            body.evidence()
        assert not inner.failures, "it was asked twice"


def test_evidence_of_a_body_that_was_closed_is_cancelled(inner: Cutting, source: Retrying) -> None:
    body = source.open_range(NAME, inner.blob, CHUNK)
    body.close()
    assert isinstance(body, Evidenced)
    with pytest.raises(Cancelled):
        body.evidence()


def test_a_body_of_a_source_that_proves_nothing_is_not_evidenced() -> None:
    plain = FakeSource()
    blob = plain.add(DATA)
    retrying = Retrying(plain, timeout=300, counters=Counters(), clock=FakeClock())
    with closing(retrying.open_range(NAME, blob, CHUNK)) as body:
        assert not isinstance(body, Evidenced)
