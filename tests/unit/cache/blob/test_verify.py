"""Verify: everything that is present is hashed, and what is wrong is dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusefs.cache.blob.mapfile import ARRIVED
from fusefs.cache.blob.sealing import seal
from fusefs.cache.blob.verification import total, verify
from fusefs.cache.disk import DiskCache
from fusefs.cache.memory.buffer import Buffer
from fusefs.values.chunks import ChunkList
from fusefs.values.voucher import Proof, Voucher
from tests.chunkers import Bytes, blob_of, corrupt, fill, opened, place_of, reboot
from tests.merkle import MerkleEvidence, MerkleTree
from tests.world import some_bytes

if TYPE_CHECKING:
    from pathlib import Path

DATA = some_bytes(1000)


def test_an_empty_cache_has_nothing_to_verify(tmp_path: Path) -> None:
    assert list(verify(DiskCache.open(tmp_path))) == []


def test_what_is_partial_is_hashed_and_what_is_wrong_is_dropped(tmp_path: Path) -> None:
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA, 1, 2, 9)
    corrupt(place_of(tmp_path, DATA).data, 250)
    hashed: list[int] = []
    (found,) = verify(DiskCache.open(tmp_path), hashed.append)
    assert (found.digest, found.size, found.state) == (blob_of(DATA).digest, 1000, "partial")
    assert (found.present, found.dropped, found.busy) == (200, 100, 0)
    assert sum(hashed) == 300
    with opened(tmp_path, DATA) as chunker:
        assert chunker.present_ranges() == [(100, 200), (900, 1000)]


def test_claims_that_are_right_are_proved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA, 1)
    reboot(monkeypatch)
    list(verify(DiskCache.open(tmp_path)))
    with opened(tmp_path, DATA) as chunker:
        assert not chunker.missing(100, 100)


@pytest.mark.logs("it will be repaired")
def test_a_sealed_blob_that_has_rotten_loses_its_name_and_keeps_the_rest(tmp_path: Path) -> None:
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA)
        assert seal(chunker)
    cache = DiskCache.open(tmp_path)
    (found,) = verify(cache)
    assert (found.present, found.dropped, found.state) == (1000, 0, "sealed")
    corrupt(place_of(tmp_path, DATA).sealed, 250)
    (found,) = verify(cache)
    assert (found.present, found.dropped, found.state) == (900, 100, "partial")
    assert not place_of(tmp_path, DATA).sealed.exists()
    with opened(tmp_path, DATA) as chunker:
        assert chunker.missing(0, 1000) == [2]


def test_a_blob_without_a_list_is_proved_as_a_whole_or_removed(tmp_path: Path) -> None:
    cache = DiskCache.open(tmp_path)
    cache.put(blob_of(DATA).digest, Bytes(DATA), 1000)
    (found,) = verify(cache)
    assert (found.present, found.dropped, found.state) == (1000, 0, "sealed")
    corrupt(cache.path(blob_of(DATA).digest), 999)
    (found,) = verify(cache)
    assert (found.present, found.dropped, found.state) == (0, 1000, "partial")
    assert list(verify(cache)) == []


def test_what_arrived_without_a_list_cannot_be_judged_yet(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, chunks=ChunkList.uniform(1000, 100)) as chunker:
        fill(chunker, DATA, 0)
    (found,) = verify(DiskCache.open(tmp_path))
    assert found.state == "unproved"


def test_p5_what_arrived_without_a_list_and_has_rotted_since_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, DATA, chunks=ChunkList.uniform(1000, 100)) as chunker:
        fill(chunker, DATA, 0, 1, 2)
        chunker.mark(3, ARRIVED)  # by a version that kept no digest of it
    corrupt(place_of(tmp_path, DATA).data, 150)
    for boot in (0, 1):
        if boot:
            reboot(monkeypatch)
        (found,) = verify(DiskCache.open(tmp_path))
        assert (found.present, found.dropped, found.state) == (300, 0 if boot else 100, "unproved")
    with opened(tmp_path, DATA, chunks=ChunkList.uniform(1000, 100)) as chunker:
        assert [chunker.present(i) for i in range(5)] == [True, False, True, True, False]
        assert chunker.by_whole, "nothing of it is served"


def test_p5_what_evidence_accepted_and_has_rotted_since_is_dropped(tmp_path: Path) -> None:
    word = Voucher(Proof.STORE, "/srv")
    tree = MerkleTree(DATA, 100)
    evidence = MerkleEvidence(word, tree.root, 100, tree.proof)
    with opened(tmp_path, DATA, chunks=ChunkList.evidenced(1000, 100, word)) as chunker:
        for index in range(3):
            chunker.fill(index, Bytes(DATA[100 * index :]), Buffer(bytearray(100)), lambda: evidence)
    corrupt(place_of(tmp_path, DATA).data, 150)
    (found,) = verify(DiskCache.open(tmp_path))
    assert (found.present, found.dropped, found.state) == (200, 100, "partial")


def test_p9_a_chunk_that_is_being_fetched_is_left_alone(tmp_path: Path) -> None:
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA, 1, 2)
        assert chunker.try_lock(2)
        (found,) = verify(DiskCache.open(tmp_path))
        assert (found.present, found.busy) == (100, 1)
        assert not chunker.missing(100, 200)


def test_strangers_in_the_folders_are_passed_over(tmp_path: Path) -> None:
    cache = DiskCache.open(tmp_path)
    (tmp_path / "blobs" / "README").write_text("x")
    (tmp_path / "blobs" / ("sha256-" + "z" * 64)).write_text("x")
    (tmp_path / "partial" / blob_of(DATA).digest.file_name).mkdir()
    assert list(verify(cache)) == []
    assert total(cache) == 0
