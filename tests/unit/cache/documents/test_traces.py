from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.disk import DiskCache
from fusefs.cache.documents.traces import MAX_BYTES, Traces
from fusefs.cache.place import Place
from fusefs.errors import CacheError, InvalidTrace
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest
from fusefs.values.trace import MAX_PACKED_SIZE, Trace, pack
from tests.chunkers import Bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DATA = b"x" * 1000
BLOB = Blob(Digest.of(DATA), len(DATA))
START = Trace(((900, 1000), (0, 64)))
OTHER = Trace(((0, 10),))


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache.open(tmp_path / "cache")


def record(cache: DiskCache) -> Path:
    return Place(cache.root, BLOB.digest).start


def test_a_start_is_kept_for_the_next_mount_and_outlives_the_data(cache: DiskCache) -> None:
    cache.put(BLOB.digest, Bytes(DATA), BLOB.size)
    assert cache.trace(BLOB) is None
    cache.put_trace(BLOB, START)
    cache.path(BLOB.digest).unlink()
    again = DiskCache.open(cache.root)
    assert again.trace(BLOB) == START
    assert list(again.digests()) == []


def test_the_last_start_counts_and_nothing_else_is_left(cache: DiskCache) -> None:
    cache.put_trace(BLOB, START)
    cache.put_trace(BLOB, OTHER)
    assert cache.trace(BLOB) == OTHER
    assert os.listdir(cache.root / "starts") == [BLOB.digest.file_name]
    assert os.listdir(cache.root / "partial") == []


def test_each_blob_has_its_own(cache: DiskCache) -> None:
    cache.put_trace(BLOB, START)
    assert cache.trace(Blob(Digest.of(b"y"), BLOB.size)) is None
    assert cache.trace(Blob(BLOB.digest, BLOB.size + 1)) is None


def test_a_start_that_is_none_of_the_blob_is_not_kept(cache: DiskCache) -> None:
    cache.put_trace(BLOB, START)
    with pytest.raises(InvalidTrace):
        cache.put_trace(BLOB, Trace(((0, 1001),)))
    assert cache.trace(BLOB) == START


@pytest.mark.parametrize("damage", [b"", b"x" * 100, pack(BLOB, START)[:-1], bytes(MAX_PACKED_SIZE + 1)])
def test_a_damaged_record_is_as_good_as_none_and_can_be_replaced(cache: DiskCache, damage: bytes) -> None:
    cache.put_trace(BLOB, START)
    record(cache).write_bytes(damage)
    assert cache.trace(BLOB) is None
    cache.put_trace(BLOB, START)
    assert cache.trace(BLOB) == START


def symlink(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def fifo(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def folder(path: Path, outside: Path) -> None:
    (path / "below").mkdir(parents=True)


def hard_to_read(path: Path, outside: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("strange", [symlink, fifo, folder, hard_to_read])
def test_p10_what_is_no_plain_file_is_neither_read_nor_written_through(
    cache: DiskCache, tmp_path: Path, strange: Callable[[Path, Path], None]
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(pack(BLOB, START))
    record(cache).parent.mkdir()
    strange(record(cache), outside)
    assert cache.trace(BLOB) is None
    cache.put_trace(BLOB, OTHER)
    assert outside.read_bytes() == pack(BLOB, START)
    assert cache.trace(BLOB) == (None if strange is folder else OTHER)


def test_p10_a_symbolic_link_for_the_folder_leads_nowhere(cache: DiskCache, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / BLOB.digest.file_name).write_bytes(pack(BLOB, START))
    (cache.root / "starts").symlink_to(outside)
    assert cache.trace(BLOB) is None
    cache.put_trace(BLOB, OTHER)
    assert (outside / BLOB.digest.file_name).read_bytes() == pack(BLOB, START)
    assert os.listdir(outside) == [BLOB.digest.file_name]


def test_a_file_for_the_folder_means_that_nothing_is_kept(cache: DiskCache) -> None:
    (cache.root / "starts").write_bytes(b"")
    cache.put_trace(BLOB, START)
    assert cache.trace(BLOB) is None


def test_a_start_of_another_store_is_used_where_there_is_none_here(tmp_path: Path) -> None:
    others = [tmp_path / "ollama", tmp_path / "first", tmp_path / "second"]
    others[0].mkdir()
    DiskCache.open(others[1])
    DiskCache.open(others[2]).put_trace(BLOB, START)
    cache = DiskCache.open(tmp_path / "cache", stores=others)
    assert cache.trace(BLOB) == START
    cache.put_trace(BLOB, OTHER)
    assert cache.trace(BLOB) == OTHER
    assert DiskCache.open(others[2]).trace(BLOB) == START


def test_whoever_looks_sees_a_whole_record(cache: DiskCache) -> None:
    """Two mounts of one cache record the same blob, while a third begins to load it."""
    cache.put_trace(BLOB, START)
    written = threading.Event()

    def write(start: Trace) -> None:
        mine = Traces(cache.root)
        for _ in range(100):
            mine.write(BLOB, start)

    def look() -> set[Trace | None]:
        seen = {cache.trace(BLOB)}
        while not written.is_set():
            seen.add(cache.trace(BLOB))
        return seen

    with ThreadPoolExecutor(3) as pool:
        looking = pool.submit(look)
        try:
            list(pool.map(write, (START, OTHER)))
        finally:
            written.set()
        assert looking.result() <= {START, OTHER}
    assert os.listdir(cache.root / "partial") == []


def test_the_oldest_go_when_all_together_take_too_much(cache: DiskCache) -> None:
    cache.put_trace(BLOB, START)
    starts = cache.root / "starts"
    for number in range(3):
        path = starts / Digest.of(b"%d" % number).file_name
        with path.open("wb") as file:
            file.truncate(MAX_BYTES // 3)
        os.utime(path, (1000 + number, 1000 + number))
    cache.put_trace(BLOB, OTHER)
    kept = {path.name for path in starts.iterdir()}
    assert kept == {BLOB.digest.file_name, *(Digest.of(b"%d" % number).file_name for number in (1, 2))}
    assert cache.trace(BLOB) == OTHER


def test_an_error_of_the_disk_is_no_error_of_a_start(cache: DiskCache) -> None:
    """Without the folder in which files are written, the disk says ENOENT to each of them."""
    (cache.root / "partial").rmdir()
    with pytest.raises(CacheError):
        cache.put(BLOB.digest, Bytes(DATA), BLOB.size)
    cache.put_trace(BLOB, START)
    assert cache.trace(BLOB) is None
