"""README.md, §1: flaws of Ollama's chunked cache, each reproduced there once, in the cache and in fetching.

F6, F7 and what F8 and F11 say of HTTP are in `test_registry_client.py`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from fusefs.cache.blob.sealing import seal
from fusefs.cache.disk import DiskCache
from fusefs.cache.memory.buffer import Buffer
from fusefs.errors import (
    BlobQuarantined,
    DigestMismatch,
    InvalidChunkList,
    SourceError,
    TransportError,
    UnexpectedEnd,
    WrongResponse,
)
from fusefs.values.chunks import Chunk, ChunkList
from fusefs.values.digest import Digest
from tests.chunkers import Bytes, blob_of, fill, opened, place_of
from tests.fake_source import FakeSource, chunk_list, fail
from tests.world import running, some_bytes, until

if TYPE_CHECKING:
    from pathlib import Path

DATA = some_bytes(5_500)
LAST = 5
"""Index of the last chunk, of 500 bytes; the five before have 1000."""


async def test_f1_the_chunk_that_ends_the_blob_does_not_complete_it(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        await world.read(5_000, 500)
        assert world.file.state == "partial"
        assert not world.cache.path(world.blob.digest).exists()
    async with running(tmp_path, DATA) as world:
        assert world.file.state == "partial"
        await world.read(0, len(DATA))


def test_f1_a_file_of_the_right_size_at_the_final_name_is_no_evidence(tmp_path: Path) -> None:
    DiskCache.open(tmp_path)
    place_of(tmp_path, DATA).sealed.write_bytes(bytes(len(DATA)))
    with opened(tmp_path, DATA, 1000) as chunker:
        assert chunker.missing(0, len(DATA)) == list(range(6))
        assert not any(chunker.prove(i) for i in range(6))


async def test_f1b_after_one_error_the_retry_fetches_exactly_what_is_absent(tmp_path: Path) -> None:
    async with running(tmp_path, DATA, span_size=1) as world:
        world.source.faults.extend([None, None, fail])
        with pytest.raises(SourceError):
            await world.file.read(0, len(DATA))
        await until(lambda: not world.fetch.flights)
        await world.read(0, len(DATA))
        await world.sealed()
        assert set(world.source.asked) == set(chunk_list(DATA, 1000))
        assert len(world.source.asked) == 7, "one of the six twice"
        assert world.cache.path(world.blob.digest).read_bytes() == DATA


async def test_f2_data_that_was_deleted_leaves_no_record_of_chunks(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        await world.read(0, 4_000)
    place_of(tmp_path, DATA).data.unlink()
    async with running(tmp_path, DATA) as world:
        await world.read(0, 4_000)
        assert world.source.bytes_asked == 4_000, "all of it again"


async def test_f2_a_sealed_blob_that_was_deleted_leaves_no_record_of_chunks(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        await world.read(0, len(DATA))
        await world.sealed()
    place_of(tmp_path, DATA).sealed.unlink()
    async with running(tmp_path, DATA) as world:
        await world.read(0, len(DATA))
        await world.sealed()


def test_f3_not_a_byte_reaches_the_file_before_its_hash_is_known(tmp_path: Path) -> None:
    data = some_bytes(200_000)
    with opened(tmp_path, data, 100_000) as chunker:
        path = place_of(tmp_path, data).data
        source = Bytes(data[:99_999] + b"x", piece=1_000)

        def reader(buffer: memoryview) -> int:
            assert not any(path.read_bytes()), "written before it was verified"
            return source(buffer)

        with pytest.raises(DigestMismatch):
            chunker.put(Chunk(0, 99_999), Digest.of(data[:100_000]), reader)
        source = Bytes(data[:99_999] + b"x", piece=1_000)
        with pytest.raises(DigestMismatch):
            chunker.fill(0, reader, Buffer(bytearray(100_000)))
        assert not any(path.read_bytes())


@pytest.mark.logs("quarantine|the list lied")
def test_f4_a_list_of_other_content_is_never_sealed(tmp_path: Path) -> None:
    lie = some_bytes(len(DATA), seed=2)
    with opened(tmp_path, DATA, chunks=chunk_list(lie, 1000)) as chunker:
        fill(chunker, lie)
        with pytest.raises(BlobQuarantined):
            seal(chunker)
    assert not place_of(tmp_path, DATA).sealed.exists()


@pytest.mark.parametrize("ranges", [("0-1", "0-1"), ("0-1", "6-7"), ("0-1", "1-2"), ("1-2", "3-3"), ("0-3", "0-3")])
def test_f5_coverage_is_no_byte_sum(ranges: tuple[str, ...]) -> None:
    text = "".join(f"{Digest.of(b'x')} {span}\n" for span in ranges)
    with pytest.raises(InvalidChunkList):
        ChunkList.parse(4, text.encode())


async def test_f8_a_body_that_is_shorter_or_longer_is_no_chunk(tmp_path: Path) -> None:
    """Sources check the frame; what slips through there does not get past the hash either."""
    async with running(tmp_path, DATA) as world:
        world.source.faults.append(lambda chunk, data: data[:-1])
        with pytest.raises(UnexpectedEnd):
            await world.file.read(0, 1000)
        world.source.faults.append(lambda chunk, data: data + b"more")
        await world.read(0, 1000)
        await world.read(1000, 1000)
        assert world.file.present == 2000


def test_f9_a_put_that_fails_changes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, 1000) as chunker:
        fill(chunker, DATA)
        assert seal(chunker)
    cache = DiskCache.open(tmp_path)
    before = os.stat(place_of(tmp_path, DATA).sealed)
    digest = blob_of(DATA).digest
    with pytest.raises(UnexpectedEnd):
        cache.put(digest, Bytes(b"short"), len(DATA) + 1)
    with pytest.raises(DigestMismatch):
        cache.put(digest, Bytes(b"w" * 99), 99)
    after = os.stat(place_of(tmp_path, DATA).sealed)
    assert (before.st_ino, before.st_mtime_ns, before.st_size) == (after.st_ino, after.st_mtime_ns, after.st_size)
    assert place_of(tmp_path, DATA).sealed.read_bytes() == DATA


def test_f10_a_chunker_over_a_file_of_full_size_records_nothing_that_it_did_not_prove(tmp_path: Path) -> None:
    DiskCache.open(tmp_path)
    place = place_of(tmp_path, DATA)
    place.folder.mkdir()
    place.data.write_bytes(bytes(len(DATA)))
    with opened(tmp_path, DATA, 1000) as chunker:
        assert not any(chunker.present(i) for i in range(6))
        fill(chunker, DATA, 0)
        assert place.data.read_bytes() == DATA[:1000] + bytes(4_500), "what is recorded was written"
        assert chunker.missing(0, len(DATA)) == [1, 2, 3, 4, 5]
        assert not chunker.prove(1)


class BrokenList(FakeSource):
    """Its chunk list comes through to the third who wants it; what is no list at all is asked for twice by each."""

    def __init__(self, error: SourceError | InvalidChunkList) -> None:
        super().__init__()
        self.errors = [error, error] * (2 if isinstance(error, InvalidChunkList) else 1)

    def chunk_list(self, name: object, blob: object) -> ChunkList | None:
        if self.errors:
            raise self.errors.pop()
        return super().chunk_list(name, blob)  # type: ignore[arg-type]  # passed through


@pytest.mark.logs("chunk list of")
@pytest.mark.parametrize(
    "error",
    [
        TransportError("cut", source="x"),
        WrongResponse("503", source="x"),
        InvalidChunkList("chunks end at 4000, the blob has 5500 bytes"),
    ],
    ids=["cut", "wrong", "incomplete"],
)
async def test_f11_a_list_that_could_not_be_read_is_asked_for_again_and_never_done_without(
    tmp_path: Path, error: SourceError | InvalidChunkList
) -> None:
    source = BrokenList(error)
    async with running(tmp_path, DATA, source=source) as world:
        for _ in range(2):
            with pytest.raises(type(error)):
                await world.file.read(0, 10)
            assert not source.asked, "not a byte is fetched on a weaker check"
        await world.read(0, 10)
        assert source.asked == [Chunk(0, 999)]
    assert DiskCache.open(tmp_path).pinned_list(blob_of(DATA)) == chunk_list(DATA, 1000), "pinned before it is used"


def test_f12_a_write_that_fails_gives_no_final_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = DiskCache.open(tmp_path)
    real = os.pwrite
    calls = 0

    def fails_late(fd: int, data: memoryview, off: int) -> int:
        nonlocal calls
        calls += 1
        return real(fd, data[:100], off) if calls < 5 else 0

    monkeypatch.setattr(os, "pwrite", fails_late)
    with pytest.raises(Exception, match="No space left"):
        cache.put(blob_of(DATA).digest, Bytes(DATA), len(DATA))
    assert not list((tmp_path / "blobs").iterdir())


async def test_f13_nothing_bears_the_final_name_while_it_is_being_proved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []
    rename = os.rename

    def watched(old: str, new: str, **kwargs: Any) -> None:
        if tmp_path / new == place_of(tmp_path, DATA).sealed:
            seen.append((tmp_path / old).read_bytes())
            assert not (tmp_path / new).exists()
        rename(old, new, **kwargs)

    monkeypatch.setattr(os, "rename", watched)
    async with running(tmp_path, DATA) as world:
        await world.read(0, len(DATA))
        await world.sealed()
    assert seen == [DATA], "whole and right before it gets its name"
