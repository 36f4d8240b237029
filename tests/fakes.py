"""Fakes that obey the Protocols of fusefs, for tests of one floor without the floors below."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from fusefs.cache.blob.presence import overlaps
from fusefs.values.chunks import Blob
from fusefs.values.counters import Counters
from fusefs.values.digest import Digest
from fusefs.values.snapshot import File, Slice
from fusefs.vfs.answer import Answered
from fusefs.vfs.attributes import CHANGING
from fusefs.vfs.filesystem import FileSystem
from fusefs.vfs.mountedblob import MountedBlob
from fusefs.vfs.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusefs.vfs.answer import Send


class FakeBlobFile:
    """A MountedBlob over bytes in memory, which waits and fails as the test says.

    Attributes:
        failures: raised by the reads to come, one each.
        failing: raised by every read, as long as it is set.
        gate: reads wait for it, as long as it is set.
        waiting: reads that wait now.
        reads: every (off, size) asked for.
        opened: openers now.
        proof: who stands behind its list.
        lies: lists by which it was served that were wrong.
        in_order: its last load read long pieces.
    """

    def __init__(self, data: bytes, *, present: int | None = None, state: str = "sealed") -> None:
        self.data = data
        self.blob = Blob(Digest.of(data), len(data))
        self.present = len(data) if present is None else present
        self.state = state
        self.failures: list[Exception] = []
        self.failing: Exception | None = None
        self.gate: trio.Event | None = None
        self.waiting = 0
        self.reads: list[tuple[int, int]] = []
        self.opened = 0
        self.proof = "bound"
        self.lies = 0
        self.in_order = False
        self._changed = trio.Event()

    async def is_read_in_order(self) -> bool:
        await trio.lowlevel.checkpoint()
        return self.in_order

    async def read(self, off: int, size: int) -> bytes | memoryview:
        await trio.lowlevel.checkpoint()
        self.reads.append((off, size))
        if self.gate is not None:
            self._wait(1)
            try:
                await self.gate.wait()
            finally:
                self._wait(-1)
        if self.failures:
            raise self.failures.pop(0)
        if self.failing is not None:
            raise self.failing
        return memoryview(self.data)[off : off + size]

    def answer(self, _off: int, _size: int, _lies: int, _buffer: memoryview, _send: Send) -> Answered:
        return Answered.ELSEWHERE

    async def arrive(self, off: int, size: int) -> None:
        raise AssertionError(f"nobody said that bytes {off}-{off + size - 1} are absent")

    def open(self) -> None:
        self.opened += 1
        self._tell()

    async def backing(self) -> None:
        await trio.lowlevel.checkpoint()

    def release(self) -> None:
        self.opened -= 1
        self._tell()

    def presence(self, cells: int, off: int, size: int) -> list[float]:
        return overlaps([(0, self.present)], cells, off, size)

    async def wait_waiting(self, count: int) -> None:
        """Until at least `count` reads wait at the gate."""
        while self.waiting < count:
            await self._changed.wait()

    async def wait_closed(self) -> None:
        """Until nobody has it open: the kernel releases after close() has returned."""
        while self.opened:
            await self._changed.wait()

    def _wait(self, by: int) -> None:
        self.waiting += by
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def _conforms(fake: FakeBlobFile) -> MountedBlob:
    return fake


def file_system_of(
    contents: Mapping[str, bytes | FakeBlobFile],
    *,
    mtime_ns: int = 1_700_000_000_123_456_789,
    changing: float = CHANGING,
) -> FileSystem:
    """A file system that shows `contents` by path: bytes inline, fakes as blobs."""
    fakes = {fake.blob.digest: fake for fake in contents.values() if isinstance(fake, FakeBlobFile)}
    files = [
        File(path, content if isinstance(content, bytes) else Slice.whole(content.blob), mtime_ns)
        for path, content in contents.items()
    ]
    return FileSystem(Tree(files), lambda blob: fakes[blob.digest], Counters(), changing=changing)
