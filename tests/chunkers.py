"""Chunkers for tests: readers that keep count, chunkers filled by hand, and other processes that hold or seal them."""

from __future__ import annotations

import contextlib
import multiprocessing
from pathlib import Path
from typing import TYPE_CHECKING

from fusefs.cache.blob.sealing import seal
from fusefs.cache.disk import DiskCache
from fusefs.cache.memory.buffer import Buffer
from fusefs.cache.place import Place
from fusefs.values.chunks import Blob, Chunk, ChunkList
from fusefs.values.digest import Digest
from tests.fake_source import chunk_list

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    import pytest

    from fusefs.cache.blob.chunker import Chunker


class Bytes:
    """A reader over `data`, in pieces of at most `piece` bytes.

    Attributes:
        taken: bytes that were read.
    """

    def __init__(self, data: bytes, piece: int = 1 << 20) -> None:
        self._data = data
        self._piece = piece
        self.taken = 0

    def __call__(self, buffer: memoryview) -> int:
        piece = self._data[self.taken : self.taken + min(len(buffer), self._piece)]
        buffer[: len(piece)] = piece
        self.taken += len(piece)
        return len(piece)


def blob_of(data: bytes) -> Blob:
    """Its digest and size."""
    return Blob(Digest.of(data), len(data))


def place_of(root: Path, data: bytes) -> Place[Path]:
    """Where its files lie."""
    return Place(root, Digest.of(data))


@contextlib.contextmanager
def opened(
    root: Path, data: bytes, chunk_size: int = 100, *, chunks: ChunkList | None = None, spill: int = 1 << 20
) -> Iterator[Chunker]:
    """A chunker as one process has it."""
    cache = DiskCache.open(root, spill_capacity=spill)
    chunker = cache.chunker(blob_of(data), chunks or chunk_list(data, chunk_size))
    try:
        yield chunker
    finally:
        chunker.close()


def fill(chunker: Chunker, data: bytes, *indices: int, buffer: int = 1 << 16) -> None:
    """Take chunks (all, when none is named) from `data`, as a worker does."""
    for index in indices or range(len(chunker.chunks)):
        chunk = chunker.chunks[index]
        assert chunker.try_lock(index), "nobody else should have it"
        try:
            chunker.fill(index, Bytes(data[chunk.start :]), Buffer(bytearray(buffer)))
        finally:
            chunker.unlock(index)


def put(chunker: Chunker, data: bytes, start: int, end: int) -> None:
    """`Chunker.put` of honest bytes."""
    piece = data[start : end + 1]
    chunker.put(Chunk(start, end), Digest.of(piece), Bytes(piece))


def reboot(monkeypatch: pytest.MonkeyPatch, boot: int = 1) -> None:
    """From here on it is another boot."""
    monkeypatch.setattr("fusefs.cache.blob.mapfile.boot_id", lambda: bytes([boot]) * 16)


def corrupt(path: Path, off: int) -> None:
    """Flip a bit on disk, whatever the mode of the file."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[off] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    path.chmod(mode)


@contextlib.contextmanager
def holding(root: Path, data: bytes, index: int) -> Iterator[multiprocessing.process.BaseProcess]:
    """Another process, which has the lock of chunk `index`; it ends, at the latest, with the block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_hold, args=(theirs, str(root), data, index), daemon=True)
    process.start()
    try:
        assert ours.poll(30), "the other process did not start"
        assert ours.recv() == "held"
        yield process
    finally:
        process.kill()
        process.join(10)
        ours.close()
        theirs.close()


def _hold(pipe: Connection, root: str, data: bytes, index: int) -> None:
    with opened(Path(root), data) as chunker:
        assert chunker.try_lock(index)
        pipe.send("held")
        with contextlib.suppress(EOFError):
            pipe.recv()


def sealed_by_processes(root: Path, data: bytes, count: int) -> list[tuple[bool, bool]]:
    """Let `count` processes fill and seal one blob at once; what each got from `seal`, and whether it was right."""
    context = multiprocessing.get_context("spawn")
    pipes = []
    for _ in range(count):
        ours, theirs = context.Pipe()
        process = context.Process(target=_fill_and_seal, args=(theirs, str(root), data), daemon=True)
        process.start()
        pipes.append((process, ours, theirs))
    for _, ours, _ in pipes:
        assert ours.poll(30), "another process did not start"
        assert ours.recv() == "ready"
    for _, ours, _ in pipes:
        ours.send("go")
    results = []
    for process, ours, theirs in pipes:
        assert ours.poll(30), "another process did not seal"
        results.append(ours.recv())
        process.join(10)
        ours.close()
        theirs.close()
    return results


def _fill_and_seal(pipe: Connection, root: str, data: bytes) -> None:
    with opened(Path(root), data) as chunker:
        pipe.send("ready")
        pipe.recv()
        for index in range(len(chunker.chunks)):
            if chunker.try_lock(index):
                chunk = chunker.chunks[index]
                if not chunker.present(index):
                    chunker.fill(index, Bytes(data[chunk.start :]), Buffer(bytearray(1000)))
                chunker.unlock(index)
        while not chunker.complete:
            pass  # the other one is just writing it
        sealed = seal(chunker)
        pipe.send((sealed, bytes(chunker.pread(0, len(data))) == data))
