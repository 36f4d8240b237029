"""Slots: digests become known one by one, and whatever happens, no byte is wrong and no chunk is lost for good."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fusefs.cache.blob.mapfile
from fusefs.cache.blob.mapfile import ABSENT, PRESENT
from fusefs.cache.blob.sealing import seal
from fusefs.cache.blob.slotfile import SlotFile
from fusefs.cache.disk import DiskCache
from fusefs.cache.memory.buffer import Buffer
from fusefs.errors import DigestMismatch, InvalidChunkList, NoEvidence
from fusefs.values.chunkpack import fingerprint, pack, slots_at, unpack
from fusefs.values.chunks import ChunkList
from fusefs.values.voucher import BOUND, NOBODY, Proof, Voucher
from tests.chunkers import Bytes, blob_of, corrupt, place_of
from tests.fake_source import chunk_list
from tests.merkle import MerkleEvidence, MerkleTree
from tests.world import some_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusefs.cache.blob.chunker import Chunker

COUNT, CHUNK = 5, 64
DATA, LIE = some_bytes(COUNT * CHUNK - 9), some_bytes(COUNT * CHUNK - 9, seed=2)
WORD = Voucher(Proof.REGISTRY, "registry.example")
CHUNKS = ChunkList.evidenced(len(DATA), CHUNK, WORD)
TREE, FORGED = MerkleTree(DATA, CHUNK), MerkleTree(LIE, CHUNK)
HONEST = MerkleEvidence(WORD, TREE.root, CHUNK, TREE.proof)
LYING = MerkleEvidence(WORD, TREE.root, CHUNK, FORGED.proof)

TAKEN = {
    "honest": (DATA, HONEST),
    "lie": (LIE, HONEST),
    "forge": (LIE, LYING),
    "unproved": (DATA, None),
    "lie unproved": (LIE, None),
}
"""Bytes, and the evidence that comes with them."""

OTHERS = ("half", "drop", "look", "boot", "rot", "rot slot", "lose map", "lose list")

ACTS = st.tuples(
    st.sampled_from([*TAKEN, *OTHERS]),
    st.integers(0, COUNT - 1),
    st.integers(0, 31),
)


class Blob:
    """A blob in a cache, opened by two processes' worth of chunkers, to which things happen.

    Attributes:
        root: the cache directory.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._boot = 1
        self._chunkers: list[Chunker] = []
        self._open()

    def do(self, what: str, index: int, at: int) -> None:
        """One act."""
        chunker = self._chunkers[at % 2]
        if what in TAKEN:
            self.take(chunker, index, *TAKEN[what])
        elif what == "half":  # killed between the slot and the mark, with bytes that count for nothing
            if chunker.map[index] == ABSENT:
                with contextlib.closing(SlotFile.open(place_of(self.root, DATA).chunks)) as dying:
                    dying.fill(index, os.urandom(32))
        elif what == "drop":
            chunker.mark(index, ABSENT)
        elif what == "look":
            self.check()
        else:
            self.close()
            self._damage(what, index, at)
            self._boot += what in ("boot", "rot")  # rot is found by the hash, and within a boot nothing is hashed twice
            self._open()

    def _damage(self, what: str, index: int, at: int) -> None:
        place = place_of(self.root, DATA)
        if what == "rot":
            corrupt(place.data, min(index * CHUNK + at, len(DATA) - 1))
        elif what == "rot slot":
            corrupt(place.chunks, place.chunks.stat().st_size - 32 * (COUNT - index) + at)
        elif what == "lose map":
            place.map.unlink()
        elif what == "lose list":
            place.chunks.unlink()

    def take(self, chunker: Chunker, index: int, data: bytes, evidence: MerkleEvidence | None) -> None:
        """As a worker does."""
        if chunker.map[index] == PRESENT or (chunker.claimed(index) and chunker.prove(index)):
            return
        with contextlib.suppress(DigestMismatch, NoEvidence):
            reader = Bytes(data[index * CHUNK :])
            chunker.fill(index, reader, Buffer(bytearray(CHUNK)), None if evidence is None else lambda: evidence)

    def check(self) -> None:
        """What would be served now is right, whoever serves it."""
        for chunker in self._chunkers:
            for index in range(COUNT):
                off, size = index * CHUNK, chunker.chunks[index].size
                if not chunker.missing(off, size) or (chunker.claimed(index) and chunker.prove(index)):
                    assert bytes(chunker.pread(off, size)) == DATA[off : off + size]

    def complete(self) -> None:
        """In the end an honest source is enough."""
        self.check()
        for index in range(COUNT):
            self.take(self._chunkers[0], index, DATA, HONEST)
        assert seal(self._chunkers[0])
        assert self._chunkers[0].chunks == chunk_list(DATA, CHUNK)
        assert place_of(self.root, DATA).sealed.read_bytes() == DATA

    def close(self) -> None:
        """Both end."""
        while self._chunkers:
            self._chunkers.pop().close()

    def _open(self) -> None:
        boot = bytes([self._boot]) * 16
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fusefs.cache.blob.mapfile, "boot_id", lambda: boot)
            for _ in range(2):
                self._chunkers.append(DiskCache.open(self.root).chunker(blob_of(DATA), CHUNKS))


@contextlib.contextmanager
def a_blob() -> Iterator[Blob]:
    with TemporaryDirectory() as folder:
        blob = Blob(Path(folder) / "cache")
        try:
            yield blob
        finally:
            blob.close()


@given(st.lists(ACTS, max_size=15))
def test_p1_p5_whatever_happens_no_wrong_byte_is_served_and_an_honest_source_completes_it(
    acts: list[tuple[str, int, int]],
) -> None:
    with a_blob() as blob:
        for act in acts:
            blob.do(*act)
        blob.complete()


VOUCHERS = st.builds(Voucher, st.sampled_from([Proof.REGISTRY, Proof.STORE, Proof.BOUND]), st.text(max_size=20))


@given(st.integers(0, 2000), st.integers(1, 300), VOUCHERS)
def test_a_list_with_slots_goes_to_disk_and_back(size: int, chunk_size: int, voucher: Voucher) -> None:
    for chunks in (ChunkList.evidenced(size, chunk_size, voucher), ChunkList.uniform(size, chunk_size)):
        packed = pack(chunks, BOUND)
        read, who = unpack(packed, size)
        assert read == chunks
        assert fingerprint(read) == fingerprint(chunks)
        assert who == (chunks.voucher or NOBODY), "its own voucher, whatever else is said"
        assert len(packed) - slots_at(packed) == 32 * len(chunks)


@given(VOUCHERS, VOUCHERS)
def test_lists_of_the_same_chunks_are_one_only_by_the_same_word(one: Voucher, other: Voucher) -> None:
    first, second = ChunkList.evidenced(1000, 100, one), ChunkList.evidenced(1000, 100, other)
    assert (fingerprint(first) == fingerprint(second)) == (one == other)
    for different in (ChunkList.uniform(1000, 100), chunk_list(some_bytes(1000), 100)):
        assert fingerprint(first) != fingerprint(different)


@given(st.data())
def test_p5_rot_in_the_fixed_part_of_such_a_list_is_noticed(data: st.DataObject) -> None:
    packed = bytearray(pack(CHUNKS, NOBODY))
    off = data.draw(st.integers(0, slots_at(bytes(packed)) - 1))
    packed[off] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InvalidChunkList):
        unpack(packed, len(DATA))
