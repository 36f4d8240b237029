"""DirectFile: what goes past the page cache is on disk, and what cannot go there is refused, not lost."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.blob import direct
from fusefs.cache.blob.direct import ALIGNMENT, DirectFile
from fusefs.cache.blob.readback import ReadBack
from fusefs.cache.memory.buffer import Buffer
from fusefs.values.chunks import ChunkList
from tests.chunkers import Bytes, opened, place_of
from tests.world import some_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusefs.cache.blob.chunker import Chunker

DATA = some_bytes(8 * ALIGNMENT + 100)


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the tests run on is trusted; a file system that cannot do it refuses."""
    monkeypatch.setattr(direct, "_file_system", lambda device: "ext4")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "data", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, len(DATA))
    yield fd
    os.close(fd)


def path_of(fd: int) -> Path:
    return Path(os.readlink(f"/proc/self/fd/{fd}"))


def aligned(data: bytes) -> memoryview:
    memory = mmap.mmap(-1, len(data))
    memory[:] = data
    return memoryview(memory)


def test_whole_blocks_reach_the_file_between_what_the_page_cache_wrote(file: int) -> None:
    writer = DirectFile(file, path_of(file))
    os.pwrite(file, DATA[:ALIGNMENT], 0)
    assert writer.write(aligned(DATA[ALIGNMENT : 4 * ALIGNMENT]), ALIGNMENT)
    os.pwrite(file, DATA[4 * ALIGNMENT :], 4 * ALIGNMENT)
    assert os.pread(file, len(DATA), 0) == DATA
    writer.close()
    writer.close()


def test_p2_a_hole_that_was_looked_at_before_is_no_hole_afterwards(file: int) -> None:
    assert os.pread(file, len(DATA), 0) == bytes(len(DATA)), "now the page cache has zeros"
    writer = DirectFile(file, path_of(file))
    assert writer.write(aligned(DATA[: 2 * ALIGNMENT]), 0)
    assert os.pread(file, 2 * ALIGNMENT, 0) == DATA[: 2 * ALIGNMENT]
    writer.close()


@pytest.mark.parametrize(("off", "size"), [(100, ALIGNMENT), (0, 100), (ALIGNMENT, ALIGNMENT + 1)])
def test_what_is_not_whole_blocks_is_left_to_the_page_cache(file: int, off: int, size: int) -> None:
    writer = DirectFile(file, path_of(file))
    assert not writer.write(aligned(bytes(size)), off)
    writer.close()


def test_memory_that_is_not_aligned_is_left_to_the_page_cache(file: int) -> None:
    writer = DirectFile(file, path_of(file))
    done = writer.write(aligned(bytes(2 * ALIGNMENT))[1 : ALIGNMENT + 1], 0)
    assert not done or os.pread(file, ALIGNMENT, 0) == bytes(ALIGNMENT)
    writer.close()


def test_a_file_system_that_is_not_known_is_not_trusted(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "_file_system", lambda device: "nfs")
    writer = DirectFile(file, path_of(file))
    assert not writer.write(aligned(bytes(ALIGNMENT)), 0)
    writer.close()


def test_an_error_of_the_disk_is_told(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = DirectFile(file, path_of(file))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space"):
            writer.write(aligned(bytes(ALIGNMENT)), 0)
    assert writer.write(aligned(bytes(ALIGNMENT)), 0), "its turn was given back"
    writer.close()


def test_the_type_of_a_file_system_is_found_by_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert direct._file_system(os.stat("/proc").st_dev) == "proc"
    assert direct._file_system(os.makedev(0xFFF, 0xFFFFF)) == ""


def test_what_was_written_either_way_is_read_past_the_page_cache(file: int) -> None:
    direct_file = DirectFile(file, path_of(file))
    os.pwrite(file, DATA[:ALIGNMENT], 0)
    assert direct_file.write(aligned(DATA[ALIGNMENT : 3 * ALIGNMENT]), ALIGNMENT)
    into = aligned(bytes(3 * ALIGNMENT))
    assert direct_file.read(into, 0)
    assert into == DATA[: 3 * ALIGNMENT]
    assert not direct_file.read(into[:100], 0)
    assert not direct_file.read(aligned(bytes(ALIGNMENT)), 8 * ALIGNMENT), "the file ends amid it"
    direct_file.close()


def test_p2_what_cannot_be_read_past_the_page_cache_is_read_the_usual_way(file: int) -> None:
    asked: list[tuple[int, int]] = []

    def pread(off: int, size: int) -> bytearray:
        asked.append((off, size))
        return bytearray(DATA[off : off + size])

    os.pwrite(file, DATA, 0)
    direct_file = DirectFile(file, path_of(file))
    back = ReadBack(direct_file, pread)
    got = b"".join(bytes(back.read(off, min(ALIGNMENT, len(DATA) - off))) for off in range(0, len(DATA), ALIGNMENT))
    assert got == DATA
    assert asked == [(8 * ALIGNMENT, 100)]
    back.end()
    assert bytes(back.read(0, ALIGNMENT)) == DATA[:ALIGNMENT]
    assert bytes(ReadBack(None, pread).read(0, 10)) == DATA[:10]
    direct_file.close()


def _fill(chunker: Chunker, index: int, buffer: Buffer) -> None:
    chunker.fill(index, Bytes(DATA[chunker.chunks[index].start :]), buffer)


def test_p1_what_went_past_the_page_cache_is_what_the_file_has(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, ALIGNMENT) as chunker:
        buffer = Buffer.of(ALIGNMENT)
        for index in (3, 0, 1, 2, 8, 5, 4, 7, 6):
            _fill(chunker, index, buffer)
        assert chunker.complete
        assert chunker.pread(0, len(DATA)) == DATA
        assert place_of(tmp_path, DATA).data.read_bytes() == DATA


def test_readers_are_answered_from_memory_and_the_hash_needs_no_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, DATA, ALIGNMENT) as chunker:
        chunker.watched = True
        buffer = Buffer.of(ALIGNMENT)
        for index in (1, 0, 2):
            _fill(chunker, index, buffer)
        with monkeypatch.context() as patch:
            patch.delattr(os, "preadv")
            assert chunker.pread_nowait(100, 2000) == DATA[100:2100]
            assert chunker.pread_nowait(ALIGNMENT - 10, 20) == DATA[ALIGNMENT - 10 : ALIGNMENT + 10], "over a border"
            assert not chunker.prefix.advance(10)
            assert chunker.prefix.index == 3


def test_p1_what_has_no_digest_of_its_own_is_never_answered_from_memory(tmp_path: Path) -> None:
    chunks = ChunkList.uniform(len(DATA), ALIGNMENT)
    with opened(tmp_path, DATA, chunks=chunks) as chunker:
        chunker.watched = True
        buffer = Buffer.of(ALIGNMENT)
        before = buffer.pages
        chunker.fill(0, Bytes(b"?" * ALIGNMENT), buffer)
        assert buffer.pages is before
        assert not chunker.memory.recent, "the whole blob may turn out to be another"
