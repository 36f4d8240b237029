"""Lists whose digests become known one by one: what a slot is worth, and what it never is."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.blob.mapfile import ABSENT, ARRIVED, PRESENT, peek
from fusefs.cache.blob.sealing import seal
from fusefs.cache.blob.slotfile import SLOT
from fusefs.cache.blob.writeback import write_back
from fusefs.cache.disk import DiskCache
from fusefs.cache.memory.buffer import Buffer
from fusefs.cache.space.eviction import evict_chunks
from fusefs.errors import BlobQuarantined, CacheFull, DigestMismatch, NoEvidence
from fusefs.values.chunks import ChunkList
from fusefs.values.digest import Digest
from fusefs.values.voucher import BOUND, NOBODY, Proof, Voucher
from tests.chunkers import Bytes, blob_of, corrupt, fill, opened, place_of, reboot
from tests.fake_source import chunk_list
from tests.merkle import MerkleEvidence, MerkleTree
from tests.world import some_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.cache.blob.chunker import Chunker
    from fusefs.values.evidence import Evidence

SIZE, CHUNK = 1000, 100
DATA = some_bytes(SIZE)
OTHER = some_bytes(SIZE, seed=2)
WORD = Voucher(Proof.REGISTRY, "registry.example")
EVIDENCED = ChunkList.evidenced(SIZE, CHUNK, WORD)
UNLISTED = ChunkList.uniform(SIZE, CHUNK)
LISTED = chunk_list(DATA, CHUNK)


def evidence(data: bytes = DATA, voucher: Voucher = WORD) -> MerkleEvidence:
    """What an honest source has for `data`; of other bytes, what a liar has."""
    tree = MerkleTree(data, CHUNK)
    return MerkleEvidence(voucher, tree.root, CHUNK, tree.proof)


def accept(
    chunker: Chunker, data: bytes, *indices: int, by: Evidence | None = None, buffer: int = 1 << 16
) -> list[int]:
    """Take chunks with evidence, as a worker does; how many bytes were taken of each."""
    taken = []
    for index in indices:
        reader = Bytes(data[chunker.chunks[index].start :])
        assert chunker.try_lock(index)
        try:
            chunker.fill(index, reader, Buffer(bytearray(buffer)), None if by is None else lambda: by)
        finally:
            chunker.unlock(index)
            taken.append(reader.taken)
    return taken


def slots_at(root: Path) -> int:
    """Where the slots begin in the pinned list."""
    return place_of(root, DATA).chunks.stat().st_size - SLOT * 10


def slot(root: Path, index: int) -> bytes:
    """What lies there."""
    return place_of(root, DATA).chunks.read_bytes()[slots_at(root) + SLOT * index :][:SLOT]


def raw(index: int, data: bytes = DATA) -> bytes:
    """The sha256 of a chunk."""
    return Digest.of(data[CHUNK * index :][:CHUNK]).raw


def states(root: Path) -> bytes:
    return peek(place_of(root, DATA).map, blob_of(DATA))


# Evidence


def test_p1_what_evidence_accepts_is_present_and_its_digest_is_in_its_slot(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        assert chunker.missing(0, SIZE) == list(range(10))
        accept(chunker, DATA, 3, by=evidence())
        assert chunker.missing(250, 200) == [2, 4]
        assert chunker.pread(300, 100) == DATA[300:400]
        assert chunker.chunks.known(3) == raw(3)
        assert chunker.chunks.known(4) is None
    assert slot(tmp_path, 3) == raw(3)
    assert slot(tmp_path, 4) == bytes(SLOT)


@pytest.mark.parametrize("buffer", [1 << 16, 30], ids=["in memory", "streamed"])
def test_p1_bytes_that_the_evidence_does_not_prove_are_not_kept(tmp_path: Path, buffer: int) -> None:
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        with pytest.raises(DigestMismatch):
            accept(chunker, OTHER, 3, by=evidence(), buffer=buffer)
        assert states(tmp_path)[3] == ABSENT
        assert chunker.chunks.known(3) is None
        accept(chunker, DATA, 3, by=evidence(), buffer=buffer)
        assert chunker.pread(300, 100) == DATA[300:400]


def test_p1_a_source_without_evidence_is_asked_for_no_byte_of_a_chunk_that_nobody_knows(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        reader = Bytes(DATA)
        with pytest.raises(NoEvidence):
            chunker.fill(0, reader, Buffer(bytearray(CHUNK)))
        assert reader.taken == 0
        assert not chunker.present_ranges()


def test_p1_the_evidence_of_somebody_else_counts_for_nothing(tmp_path: Path) -> None:
    """A mirror may carry a proof; it may not make one."""
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        for voucher in (NOBODY, Voucher(Proof.REGISTRY, "another.example"), Voucher(Proof.STORE, "/srv")):
            with pytest.raises(NoEvidence):
                accept(chunker, OTHER, 0, by=evidence(OTHER, voucher))
        assert not chunker.present_ranges()
        accept(chunker, DATA, 0, by=evidence(DATA, BOUND))
        assert chunker.present(0)


def test_p1_what_one_word_accepted_does_not_count_for_another(tmp_path: Path) -> None:
    other = ChunkList.evidenced(SIZE, CHUNK, Voucher(Proof.REGISTRY, "another.example"))
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        accept(chunker, OTHER, *range(10), by=evidence(OTHER))
        with opened(tmp_path, DATA, chunks=other) as beside:
            assert beside.missing(0, SIZE) == list(range(10))
            accept(beside, DATA, 0, by=evidence(voucher=other.voucher or NOBODY))
            assert chunker.pread(0, 100) == OTHER[:100], "each has a file of its own"
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        assert chunker.missing(0, SIZE) == list(range(10))
        assert chunker.chunks.known(3) is None


def test_p1_what_arrived_without_evidence_does_not_count_for_who_has_some(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, chunks=UNLISTED) as chunker:
        fill(chunker, OTHER, 0, 1)
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        assert chunker.missing(0, SIZE) == list(range(10))
        assert not any(chunker.claimed(index) and chunker.prove(index) for index in range(10))


def test_p9_another_process_sees_what_was_accepted(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, chunks=EVIDENCED) as one, opened(tmp_path, DATA, chunks=EVIDENCED) as two:
        accept(one, DATA, 3, by=evidence())
        assert two.missing(300, 100) == []
        assert two.chunks.known(3) == raw(3)


# Slots


def test_p5_after_a_boot_the_slot_decides_and_no_evidence_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        accept(chunker, DATA, 0, 1, 2, by=evidence())
    corrupt(place_of(tmp_path, DATA).data, 150)
    reboot(monkeypatch)
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        assert chunker.missing(0, 300) == [0, 1, 2]
        assert [chunker.claimed(index) and chunker.prove(index) for index in range(4)] == [True, False, True, False]
        assert states(tmp_path)[:4] == bytes([PRESENT, ABSENT, PRESENT, ABSENT])
        accept(chunker, DATA, 1, by=None)
        assert chunker.pread(0, 300) == DATA[:300], "a mirror without evidence will do, for the digest is known"


def test_p5_a_lost_map_makes_claims_of_what_the_slots_know(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        accept(chunker, DATA, 0, 2, by=evidence())
    place_of(tmp_path, DATA).map.unlink()
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        assert [chunker.prove(index) for index in range(4)] == [True, False, True, False]


@pytest.mark.parametrize("torn", [bytes(16) + raw(1)[16:], raw(1)[:31] + b"x", raw(2), bytes(SLOT)])
def test_p5_a_torn_or_rotten_slot_costs_a_fetch_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: bytes
) -> None:
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        accept(chunker, DATA, 0, 1, by=evidence())
    with place_of(tmp_path, DATA).chunks.open("r+b") as file:
        file.seek(slots_at(tmp_path) + SLOT)
        file.write(torn)
    reboot(monkeypatch)
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        assert [chunker.prove(index) for index in range(2)] == [True, False]
        accept(chunker, DATA, 1, by=evidence())
        assert chunker.pread(0, 200) == DATA[:200]
    assert slot(tmp_path, 1) == raw(1), "evidence says more than the slot of a chunk that is not here"


def test_p5_a_slot_without_its_mark_does_not_keep_the_chunk_out(tmp_path: Path) -> None:
    """A crash between the two; the bytes were another's, who could prove them then."""
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        chunker.chunks.slots.fill(0, raw(0, OTHER))
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        assert chunker.missing(0, 100) == [0]
        with pytest.raises(DigestMismatch):
            accept(chunker, DATA, 0)
        accept(chunker, DATA, 0, by=evidence())
        assert chunker.pread(0, 100) == DATA[:100]
    assert slot(tmp_path, 0) == raw(0)


def test_what_was_evicted_is_known_when_it_comes_again(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        accept(chunker, DATA, *range(5), by=evidence())
        try:
            assert evict_chunks(chunker, [4, 3], 200) == 200
        except OSError:  # no holes here: what matters is the mark
            chunker.mark(4, ABSENT)
        assert 4 in chunker.missing(0, 500)
        with pytest.raises(DigestMismatch):
            accept(chunker, OTHER, 4)
        accept(chunker, DATA, 4)
        assert chunker.pread(400, 100) == DATA[400:500]


@pytest.mark.logs("are served from memory")
def test_p8_what_the_disk_refused_has_its_slot_when_it_is_written_back(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        room = chunker._room
        with contextlib.ExitStack() as full:
            chunker._room = Full()
            full.callback(setattr, chunker, "_room", room)
            accept(chunker, DATA, 0, by=evidence())
        assert chunker.missing(0, 100) == []
        assert slot(tmp_path, 0) == bytes(SLOT)
        assert write_back(chunker)
        assert states(tmp_path)[0] == PRESENT
    assert slot(tmp_path, 0) == raw(0)


class Full:
    """A Room without any."""

    def room(self, size: int) -> contextlib.AbstractContextManager[None]:
        """See Room."""
        raise CacheFull(f"no {size} bytes")


def test_slots_of_a_copied_cache_are_not_shared_with_it(tmp_path: Path) -> None:
    """`cp -al` gives the files a second name."""
    with opened(tmp_path / "one", DATA, chunks=EVIDENCED) as chunker:
        accept(chunker, DATA, 0, by=evidence())
    shutil.copytree(tmp_path / "one", tmp_path / "two", copy_function=os.link)
    with opened(tmp_path / "two", DATA, chunks=EVIDENCED) as chunker:
        assert chunker.chunks.known(0) == raw(0)
        accept(chunker, DATA, 1, by=evidence())
    assert slot(tmp_path / "one", 1) == bytes(SLOT)
    assert slot(tmp_path / "two", 1) == raw(1)


# The whole


def test_p4_when_the_whole_is_proved_the_list_is_complete_and_bound(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        accept(chunker, DATA, 5, 1, *(i for i in range(10) if i not in (5, 1)), by=evidence())
        assert seal(chunker)
        assert chunker.chunks == LISTED
        assert chunker.voucher == BOUND
    assert DiskCache.open(tmp_path).pinned(blob_of(DATA)) == (LISTED, BOUND)


@pytest.mark.parametrize("chunks", [EVIDENCED, UNLISTED], ids=["evidenced", "unlisted"])
def test_p4_rot_in_a_slot_is_not_bound_for_ever(tmp_path: Path, chunks: ChunkList) -> None:
    with opened(tmp_path, DATA, chunks=chunks) as chunker:
        accept(chunker, DATA, *range(10), by=evidence())
        corrupt(place_of(tmp_path, DATA).chunks, slots_at(tmp_path) + SLOT * 3)
        assert seal(chunker)
        assert chunker.chunks == LISTED


@pytest.mark.logs("put into quarantine")
def test_p4_evidence_that_lied_is_found_out_by_the_whole(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        accept(chunker, OTHER, *range(10), by=evidence(OTHER))
        with pytest.raises(BlobQuarantined):
            seal(chunker)
        assert chunker.quarantined
    assert DiskCache.open(tmp_path).pinned_list(blob_of(DATA)) is None


@pytest.mark.logs("1 chunks have changed on disk")
def test_p5_of_what_arrived_without_a_list_only_the_rotten_chunk_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, DATA, chunks=UNLISTED) as chunker:
        fill(chunker, DATA, *range(7))
    corrupt(place_of(tmp_path, DATA).data, 450)
    reboot(monkeypatch)
    with opened(tmp_path, DATA, chunks=UNLISTED) as chunker:
        fill(chunker, DATA, 7, 8, 9)
        assert not seal(chunker)
        assert [index for index in range(10) if not chunker.present(index)] == [4]
        fill(chunker, DATA, 4)
        assert seal(chunker)
        assert chunker.pread(0, SIZE) == DATA


def test_p1_what_may_be_served_unproved_is_what_arrived_and_not_what_a_boot_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, DATA, chunks=UNLISTED) as chunker:
        fill(chunker, DATA, 0, 1)
        chunker.mark(2, ARRIVED)  # by a version that kept no slots: perhaps zeros by now
    corrupt(place_of(tmp_path, DATA).data, 150)
    reboot(monkeypatch)
    with opened(tmp_path, DATA, chunks=UNLISTED) as chunker:
        chunker.serve_by(bound_only=False, unproved=True)
        assert [chunker.claimed(index) and chunker.prove(index) for index in range(4)] == [True, False, False, False]
        assert states(tmp_path)[:4] == bytes([ARRIVED, ABSENT, ABSENT, ABSENT])
        assert chunker.missing(0, 400) == [1, 2, 3]


def test_p4_bytes_that_another_process_has_put_in_place_of_the_hashed_ones_are_not_sealed(tmp_path: Path) -> None:
    """It had found the whole wrong before, and dropped all that had arrived, also what this one had hashed."""
    with opened(tmp_path, DATA, chunks=UNLISTED) as one, opened(tmp_path, DATA, chunks=UNLISTED) as two:
        fill(one, DATA, *range(10))
        two.map.mark_all(ABSENT)
        fill(two, OTHER[:CHUNK] + DATA[CHUNK:], *range(10))
        assert one.hashed
        assert not seal(one)
        with pytest.raises(DigestMismatch):
            seal(one)
        fill(one, DATA, *range(10))
        assert seal(one)
    assert place_of(tmp_path, DATA).sealed.read_bytes() == DATA


def test_p1_where_an_evidenced_list_does_not_decide_chunks_may_arrive_for_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with a digest believes no registry, and its own sources may prove nothing."""
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        accept(chunker, DATA, 0, by=evidence())
        chunker.serve_by(bound_only=True, unproved=False)
        accept(chunker, OTHER, 1, 2)
        assert states(tmp_path)[:3] == bytes([PRESENT, ARRIVED, ARRIVED])
        assert slot(tmp_path, 1) == bytes(SLOT), "a slot is of what was accepted"
        assert chunker.missing(0, 300) == [0, 1, 2]
        with opened(tmp_path, DATA, chunks=EVIDENCED) as believing:
            assert believing.missing(0, 300) == [1, 2], "for who serves by it they have not come"
            assert not believing.present(1)
    reboot(monkeypatch)
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        assert [chunker.claimed(index) and chunker.prove(index) for index in range(3)] == [True, False, False]


def test_p4_of_an_evidenced_blob_that_is_wrong_what_nobody_accepted_is_dropped(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        chunker.serve_by(bound_only=True, unproved=False)
        accept(chunker, DATA, *range(5), by=evidence())
        accept(chunker, OTHER, *range(5, 10))
        with pytest.raises(DigestMismatch):
            seal(chunker)
        assert states(tmp_path) == bytes([PRESENT] * 5 + [ABSENT] * 5)
        accept(chunker, DATA, *range(5, 10))
        assert seal(chunker)
        assert chunker.chunks == LISTED


def test_who_has_no_list_leaves_the_one_that_lies_there(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, chunks=LISTED) as chunker:
        fill(chunker, DATA, 0)
    with opened(tmp_path, DATA, chunks=UNLISTED) as chunker:
        fill(chunker, DATA, 1)
    assert DiskCache.open(tmp_path).pinned_list(blob_of(DATA)) == LISTED


def test_a_list_without_digests_or_evidence_counts_as_none(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, chunks=UNLISTED) as chunker:
        fill(chunker, DATA, 0)
        assert not chunker.listed
        assert chunker.voucher == NOBODY
    assert DiskCache.open(tmp_path).pinned(blob_of(DATA)) is None
    assert slot(tmp_path, 0) == raw(0)
