"""Binding: a list whose digests became known one by one is bound to bytes that nobody can exchange meanwhile."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.blob.mapfile import ABSENT, PRESENT
from fusefs.cache.blob.sealing import seal, unseal
from fusefs.cache.blob.slotfile import SLOT
from fusefs.cache.blob.verification import verify
from fusefs.cache.disk import DiskCache
from fusefs.errors import CacheError, DigestMismatch
from fusefs.system import locks
from fusefs.system.locks import LockHeld
from fusefs.system.steps import Hook, Step
from fusefs.values.chunkpack import pack
from fusefs.values.voucher import BOUND
from tests.chunkers import blob_of, corrupt, fill, opened, place_of
from tests.fake_source import chunk_list
from tests.unit.cache.blob.test_slots import (
    CHUNK,
    DATA,
    EVIDENCED,
    OTHER,
    SIZE,
    UNLISTED,
    accept,
    evidence,
    raw,
    slot,
    slots_at,
    states,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextlib.contextmanager
def at(name: Step, deed: Callable[[], object]) -> Iterator[None]:
    """Do something when that step begins for the first time, as another process may."""
    left = [deed]

    def hook(begun: Step) -> contextlib.AbstractContextManager[None]:
        if begun == name and left:
            left.pop()()
        return contextlib.nullcontext()

    Hook.armed = hook
    try:
        yield
    finally:
        Hook.armed = None
    assert not left, f"there was no step {name!r}"


def wrong_is_named(root: Path) -> bool:
    """Whether bytes that are not the blob's have its name."""
    sealed = place_of(root, DATA).sealed
    return sealed.exists() and sealed.read_bytes() != DATA


def test_p4_a_chunk_that_is_taken_anew_while_the_hashed_bytes_go_to_disk_is_not_sealed(tmp_path: Path) -> None:
    """Its slot was torn: `verify` has dropped it, and a mirror sends something else.  A large blob's fsync is long."""
    with opened(tmp_path, DATA, chunks=UNLISTED) as one, opened(tmp_path, DATA, chunks=UNLISTED) as two:
        fill(one, DATA)

        def retaken() -> None:
            two.mark(3, ABSENT)
            fill(two, OTHER, 3)

        with at("data fsynced", retaken):
            assert not seal(one)
        assert not wrong_is_named(tmp_path)
        with pytest.raises(DigestMismatch):
            seal(one)
        fill(one, DATA)
        assert seal(one)
        assert one.pread(0, SIZE) == DATA


def test_p1_evidence_that_lies_to_another_process_gets_nothing_into_what_the_whole_has_proved(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, chunks=EVIDENCED) as one, opened(tmp_path, DATA, chunks=EVIDENCED) as believing:
        one.serve_by(bound_only=True, unproved=False)
        accept(one, DATA, *range(10))
        with at("data fsynced", lambda: accept(believing, OTHER, 3, by=evidence(OTHER))):
            assert not seal(one)
        assert not wrong_is_named(tmp_path)


def test_p4_a_chunk_that_is_on_its_way_anew_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.05)
    with opened(tmp_path, DATA, chunks=UNLISTED) as one, opened(tmp_path, DATA, chunks=UNLISTED) as two:
        fill(one, DATA)
        assert two.try_lock(0)
        assert two.try_lock(7)
        with pytest.raises(CacheError) as raised:
            seal(one)
        assert isinstance(raised.value.__cause__, LockHeld)
        two.unlock(0)
        two.unlock(7)
        assert two.try_lock(8), "who did not get all of them keeps none"
        two.unlock(8)
        assert seal(one)


def test_p4_what_arrived_anew_without_a_slot_is_compared_with_what_was_hashed(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, chunks=EVIDENCED) as one, opened(tmp_path, DATA, chunks=EVIDENCED) as two:
        for chunker in (one, two):
            chunker.serve_by(bound_only=True, unproved=False)
        accept(one, DATA, *range(10))
        two.map.mark_all(ABSENT)
        accept(two, OTHER[:CHUNK] + DATA[CHUNK:], *range(10))
        assert one.hashed
        assert not seal(one)
        assert not wrong_is_named(tmp_path)


def test_p4_a_chunk_that_is_streamed_over_one_that_has_arrived_has_not_arrived(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, chunks=EVIDENCED) as one, opened(tmp_path, DATA, chunks=EVIDENCED) as believing:
        one.serve_by(bound_only=True, unproved=False)
        accept(one, DATA, *range(10))
        with pytest.raises(DigestMismatch):
            accept(believing, OTHER, 3, by=evidence(), buffer=30)
        assert states(tmp_path)[3] == ABSENT
        assert not seal(one)
        accept(one, DATA, 3)
        assert seal(one)


def test_p4_slots_of_a_list_that_lies_there_no_more_say_nothing_of_what_others_did(tmp_path: Path) -> None:
    """`verify` removes a rotten list, and who comes next makes another one."""
    with opened(tmp_path, DATA, chunks=UNLISTED) as one:
        fill(one, DATA)
        place_of(tmp_path, DATA).chunks.unlink()
        with opened(tmp_path, DATA, chunks=UNLISTED) as two:
            two.map.mark_all(ABSENT)
            fill(two, OTHER[:CHUNK] + DATA[CHUNK:])
            assert not seal(one)
            assert not wrong_is_named(tmp_path)


@pytest.mark.parametrize("torn", [False, True])
def test_p9_verify_leaves_a_blob_alone_that_was_sealed_since_it_opened_it(tmp_path: Path, torn: bool) -> None:
    """Else what is proved would count as merely arrived, and nobody could fetch it into a sealed file."""
    with opened(tmp_path, DATA, chunks=UNLISTED) as chunker:
        fill(chunker, DATA)

        def sealed() -> None:
            assert seal(chunker)

        if torn:
            corrupt(place_of(tmp_path, DATA).chunks, slots_at(tmp_path) + SLOT * 3)
        with at("chunk locked", sealed):
            (found,) = verify(DiskCache.open(tmp_path))
        assert found.dropped == 0
        assert states(tmp_path) == bytes([PRESENT] * 10)
        assert chunker.missing(0, SIZE) == []


def test_p5_a_torn_slot_does_not_keep_a_chunk_out_for_ever_where_nobody_proves_it(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        chunker.serve_by(bound_only=True, unproved=False)
        chunker.chunks.slots.fill(0, raw(0, OTHER))
        accept(chunker, DATA, 0)
        assert slot(tmp_path, 0) == bytes(SLOT)
        accept(chunker, DATA, *range(1, 10))
        assert seal(chunker)


def test_p1_another_partition_that_was_bound_since_is_not_taken_for_the_own_one(tmp_path: Path) -> None:
    """The process that has sealed the blob had no room for its list, and a third one came with the registry's."""
    with opened(tmp_path, DATA, chunks=UNLISTED) as one, opened(tmp_path, DATA, chunks=UNLISTED) as two:
        fill(one, DATA)
        assert seal(one)
        place_of(tmp_path, DATA).chunks.write_bytes(pack(chunk_list(DATA, 30), BOUND))
        assert seal(two)
        assert two.missing(0, SIZE) == []
        assert two.pread(0, SIZE) == DATA


@pytest.mark.logs("it will be repaired")
def test_p1_who_has_a_list_with_slots_open_fills_no_chunk_of_one_that_was_bound_since(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, chunks=EVIDENCED) as one, opened(tmp_path, DATA, chunks=EVIDENCED) as believing:
        accept(one, DATA, *range(10), by=evidence())
        assert seal(one)
        unseal(one)
        one.mark(3, ABSENT)
        with pytest.raises(CacheError, match="bound"):
            accept(believing, OTHER, 3, by=evidence(OTHER))
        assert one.missing(0, SIZE) == [3]
        fill(one, DATA, 3)
        assert seal(one)


def test_an_opening_that_fails_leaves_the_slots_of_its_caller_open(tmp_path: Path) -> None:
    """A blob is opened again with the list that it has."""
    with opened(tmp_path, DATA, chunks=EVIDENCED) as chunker:
        accept(chunker, DATA, 0, by=evidence())
        place = place_of(tmp_path / "other", DATA)
        place.folder.mkdir(parents=True)
        place.data.mkdir()
        (place.data / "in the way").touch()
        with contextlib.suppress(CacheError):
            DiskCache.open(tmp_path / "other").chunker(blob_of(DATA), chunker.chunks).close()
        assert chunker.chunks.known(0) == raw(0)
