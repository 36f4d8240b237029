"""A sealed file that a kernel reads without us: nobody changes a byte of it as long as that may be."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.blob.mapfile import ABSENT, Lock
from fusefs.cache.blob.native import is_native
from fusefs.cache.blob.sealing import seal, unseal
from fusefs.cache.blob.verification import verify
from fusefs.cache.disk import DiskCache
from fusefs.cache.space.eviction import evict, evict_chunks, scan
from fusefs.cache.space.inventory import in_use
from fusefs.cache.space.quota import Limits
from fusefs.errors import CacheFull
from fusefs.system.locks import is_locked
from tests.chunkers import blob_of, corrupt, fill, opened, place_of, reboot
from tests.fake_source import chunk_list
from tests.world import some_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusefs.cache.blob.backing import Backing
    from fusefs.cache.blob.chunker import Chunker
    from fusefs.cache.space.eviction import HeldBlob

CHUNK = 4096
DATA = some_bytes(64 * CHUNK)


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    """A cache with one sealed blob that nobody uses."""
    with opened(tmp_path, DATA, CHUNK) as chunker:
        fill(chunker, DATA)
        assert seal(chunker)
    return DiskCache.open(tmp_path)


@contextlib.contextmanager
def lent(cache: DiskCache) -> Iterator[Backing]:
    """The sealed file as a mount lends it; this process reads in the kernel's place: what counts is who has it open."""
    backing = cache.backing(blob_of(DATA))
    assert backing is not None
    try:
        yield backing
    finally:
        backing.close()


@contextlib.contextmanager
def orphaned(cache: DiskCache) -> Iterator[int]:
    """What is left of that when its daemon was killed: the kernel has the file open, and no lock is held."""
    with lent(cache) as backing:
        fd = os.dup(backing.fd)
    try:
        yield fd
    finally:
        os.close(fd)


def reads(fd: int) -> bytes:
    return os.pread(fd, len(DATA), 0)


def held(cache: DiskCache) -> HeldBlob:
    (one,) = scan(cache)
    return one


@contextlib.contextmanager
def open_again(cache: DiskCache) -> Iterator[Chunker]:
    with contextlib.closing(cache.chunker(blob_of(DATA), chunk_list(DATA, CHUNK))) as chunker:
        yield chunker


# Which file may be lent


def test_what_is_proved_in_this_boot_is_lent(cache: DiskCache) -> None:
    with lent(cache) as backing:
        assert reads(backing.fd) == DATA
        assert backing.right


def test_p1_what_an_earlier_boot_has_proved_is_not_lent_before_it_is_proved_again(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    reboot(monkeypatch)
    assert cache.backing(blob_of(DATA)) is None
    with open_again(cache) as chunker:
        for index in range(63):
            assert chunker.prove(index)
        assert cache.backing(blob_of(DATA)) is None, "all but one chunk is not all"
        assert chunker.prove(63)
    with lent(cache) as backing:
        assert reads(backing.fd) == DATA


def test_p1_what_is_not_sealed_is_not_lent(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, CHUNK) as chunker:
        fill(chunker, DATA)
        assert DiskCache.open(tmp_path).backing(blob_of(DATA)) is None


@pytest.mark.logs("it will be repaired")
def test_p1_what_has_rotten_is_not_lent(cache: DiskCache) -> None:
    corrupt(cache.path(blob_of(DATA).digest), 5 * CHUNK)
    list(verify(cache))
    assert cache.backing(blob_of(DATA)) is None


def test_p1_what_was_proved_at_the_first_look_alone_is_not_lent(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rotten chunk may be found between the look without the lock and the lock, so it is looked at again."""
    reboot(monkeypatch)
    monkeypatch.setattr(DiskCache, "proved", lambda *_: True)
    assert cache.backing(blob_of(DATA)) is None


def test_what_has_no_map_is_not_lent(cache: DiskCache, tmp_path: Path) -> None:
    shutil.rmtree(place_of(tmp_path, DATA).folder)
    assert cache.backing(blob_of(DATA)) is None


def test_nothing_stays_open_or_locked_when_it_was_given_back(cache: DiskCache, tmp_path: Path) -> None:
    with lent(cache) as backing:
        backing.handed_over()
        backing.close()
        backing.close()
    assert not [fd for fd in os.listdir("/proc/self/fd") if str(tmp_path / "blobs") in _target(fd)]
    with place_of(tmp_path, DATA).map.open("r+b") as file:
        assert not any(is_locked(file.fileno(), lock) for lock in Lock)


def _target(fd: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/self/fd/{fd}")
    return ""


# Eviction


def test_p12_nothing_of_it_goes_while_it_is_lent_whoever_wants_room(cache: DiskCache) -> None:
    other = DiskCache.open(cache.root, limits=Limits(size=10 * CHUNK, keep_free=0))
    with lent(cache) as backing:
        backing.handed_over()  # the lock alone is enough
        for one in (cache, other):
            assert evict(one, held(one), 10 * CHUNK) == 0
            assert evict(one, held(one), 1 << 40) == 0
        with open_again(cache) as chunker:
            assert evict_chunks(chunker, range(64), 1 << 40) == 0, "the same process"
        with pytest.raises(CacheFull), other.quota.room(CHUNK):
            pass
        assert in_use(other, blob_of(DATA).digest)
        assert backing.right
    assert evict(cache, held(cache), 10 * CHUNK) == 10 * CHUNK


def test_p12_nothing_of_it_goes_while_a_kernel_reads_it_for_a_daemon_that_was_killed(cache: DiskCache) -> None:
    with orphaned(cache) as fd:
        assert evict(cache, held(cache), 10 * CHUNK) == 0, "a hole would be zeros to the reader"
        assert evict(cache, held(cache), 1 << 40) == 0, "it would free nothing"
        with open_again(cache) as chunker:
            assert evict_chunks(chunker, range(64), 1 << 40) == 0
        assert in_use(cache, blob_of(DATA).digest)
        assert reads(fd) == DATA
    assert not in_use(cache, blob_of(DATA).digest)
    assert evict(cache, held(cache), 10 * CHUNK) == 10 * CHUNK
    assert evict(cache, held(cache), 1 << 40) > 0


def test_p9_what_nobody_reads_any_more_goes_though_it_was_lent_once(cache: DiskCache) -> None:
    with lent(cache):
        pass
    with open_again(cache) as chunker:
        assert is_native(chunker.map.fd)
        assert evict_chunks(chunker, range(10), 1 << 40) == 10 * CHUNK
        assert not is_native(chunker.map.fd), "what is written there from now on was lent to nobody"


# Repair


def rotten(chunker: Chunker, index: int = 5) -> None:
    """As whoever proves a chunk finds it."""
    corrupt(chunker.place.sealed.path, index * CHUNK)
    assert not chunker.matches(index)
    unseal(chunker)
    chunker.mark(index, ABSENT)


@pytest.mark.logs("it will be repaired|served from memory")
def test_p12_a_file_is_not_repaired_under_who_has_borrowed_it(cache: DiskCache, tmp_path: Path) -> None:
    """It is repaired when it has come back; until then who asks us is answered from memory."""
    with lent(cache) as backing:
        with open_again(cache) as chunker:
            rotten(chunker)
            assert chunker.sealed
            fill(chunker, DATA, 5)
            assert chunker.pread(0, len(DATA)) == DATA, "from memory"
            before = reads(backing.fd)
            assert before != DATA
            assert not backing.right
        assert reads(backing.fd) == before
        assert place_of(tmp_path, DATA).sealed.read_bytes() == before
    with open_again(cache) as chunker:
        assert not chunker.prove(5)
        unseal(chunker)
        fill(chunker, DATA, 5)
        assert seal(chunker)
    assert place_of(tmp_path, DATA).sealed.read_bytes() == DATA


@pytest.mark.logs("it will be repaired")
def test_p12_a_file_that_a_dead_daemon_has_lent_is_repaired_in_a_copy(cache: DiskCache, tmp_path: Path) -> None:
    with orphaned(cache) as fd, open_again(cache) as chunker:
        rotten(chunker)
        before = reads(fd)
        assert not chunker.sealed
        fill(chunker, DATA, 5)
        assert seal(chunker)
        assert reads(fd) == before, "the reader keeps what he has, whatever it is"
        assert chunker.pread(0, len(DATA)) == DATA
        assert evict_chunks(chunker, range(32), 1 << 40) == 32 * CHUNK, "the copy is lent to nobody"
        assert reads(fd) == before
    assert place_of(tmp_path, DATA).data.stat().st_nlink == 1


@pytest.mark.logs("it will be repaired|served from memory")
def test_p12_one_of_ours_that_would_not_notice_a_copy_keeps_a_lent_file_as_it_is(cache: DiskCache) -> None:
    with orphaned(cache) as fd, holding_sealed(cache), open_again(cache) as chunker:
        rotten(chunker)
        assert chunker.sealed
        before = reads(fd)
        fill(chunker, DATA, 5)
        assert chunker.pread(0, len(DATA)) == DATA
        assert reads(fd) == before


@contextlib.contextmanager
def holding_sealed(cache: DiskCache) -> Iterator[None]:
    """Another process has the blob open; a second cache of this one is as foreign to the locks."""
    with open_again(DiskCache.open(cache.root)):
        yield


@pytest.mark.logs("it will be repaired")
def test_p9_a_file_that_was_never_lent_is_repaired_in_place_for_all_who_have_it(cache: DiskCache) -> None:
    with open_again(DiskCache.open(cache.root)) as second, open_again(cache) as chunker:
        inode = os.fstat(chunker.fd).st_ino
        rotten(chunker)
        fill(chunker, DATA, 5)
        assert seal(chunker)
        assert os.fstat(chunker.fd).st_ino == inode
        assert second.pread(0, len(DATA)) == DATA


@pytest.mark.logs("it will be repaired")
def test_p2_a_program_that_follows_a_link_into_the_cache_keeps_what_it_has_open(cache: DiskCache) -> None:
    """`--sealed symlink`: it holds none of our locks either."""
    with cache.path(blob_of(DATA).digest).open("rb", buffering=0) as program, open_again(cache) as chunker:
        rotten(chunker)
        before = reads(program.fileno())
        fill(chunker, DATA, 5)
        assert seal(chunker)
        assert reads(program.fileno()) == before
        assert chunker.pread(0, len(DATA)) == DATA


def test_p5_a_new_boot_has_lent_nothing(cache: DiskCache, monkeypatch: pytest.MonkeyPatch) -> None:
    with lent(cache):
        pass
    with open_again(cache) as chunker:
        assert is_native(chunker.map.fd)
    reboot(monkeypatch)
    with open_again(cache) as chunker:
        assert not is_native(chunker.map.fd)


def test_p9_a_file_is_lent_to_several_mounts_at_once(cache: DiskCache, tmp_path: Path) -> None:
    with lent(cache) as one, lent(DiskCache.open(tmp_path)) as two:
        assert reads(one.fd) == reads(two.fd) == DATA
        one.close()
        assert evict(cache, held(cache), 1 << 40) == 0
