"""Machine: two processes' worth of fetchers on one cache directory, and every way in which things go wrong round them.

Whatever the steps are, a read gives the blob's right bytes or a FusefsError; `finish` asserts that nothing of it is
latched, and that what was right on disk was not fetched again.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, get_args

import trio
import trio.testing

import fusefs.cache.blob.chunker
import fusefs.cache.blob.mapfile
from fusefs.cache.place import Place
from fusefs.errors import FusefsError, NotFound, SourceError
from fusefs.system.files import pwrite_all
from fusefs.values.digest import Digest
from tests.fake_source import FakeSource, chunk_list, fail, flip
from tests.faults.damage import HARMLESS_NOW, Damage, apply, spared
from tests.world import SETTINGS, running, some_bytes, until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

    from fusefs.sources.base import Body
    from fusefs.values.chunks import Blob, Chunk, ChunkList
    from fusefs.values.names import Name
    from tests.world import World

CHUNK = 100
DATA = some_bytes(8 * CHUNK + 37)
_OTHER_DATA = some_bytes(len(DATA), seed=2)
PROCESSES = 2

Trouble = Literal["flip", "other", "short", "reset", "error", "not-found", "list-error", "list-wrong"]
TROUBLES: tuple[Trouble, ...] = get_args(Trouble)


def _other(chunk: Chunk, data: bytes) -> bytes:
    """Right bytes, of another place."""
    return bytes(reversed(data)) if chunk.size > 1 else flip(chunk, data)


def _short(chunk: Chunk, data: bytes) -> bytes:
    del chunk
    return data[: len(data) // 2]


def _missing(chunk: Chunk, data: bytes) -> bytes:
    del data
    raise NotFound(f"no bytes {chunk}", source="fake")


_FAULTS = {"flip": flip, "other": _other, "short": _short, "reset": _short, "error": fail, "not-found": _missing}


class _Resetting:
    """A body that ends with the connection."""

    def __init__(self, body: Body) -> None:
        self.given = body.given
        self._body = body

    def readinto(self, buffer: memoryview) -> int:
        got = self._body.readinto(buffer)
        if not got:
            raise SourceError("reset", source="fake", temporary=True)
        return got

    def close(self) -> None:
        self._body.close()


class FaultySource(FakeSource):
    """A FakeSource whose connections are reset, too, and whose list cannot always be had."""

    def __init__(self) -> None:
        super().__init__()
        self._lists_to_come: list[Trouble] = []

    def plan(self, trouble: Trouble) -> None:
        """The next request of its kind goes wrong."""
        if trouble in ("list-error", "list-wrong"):
            self._lists_to_come.append(trouble)
        else:
            self.faults.append(_FAULTS[trouble])

    def behave(self) -> None:
        """Nothing goes wrong any more."""
        self.faults.clear()
        self._lists_to_come.clear()
        self.gate.set()

    def chunk_list(self, name: Name, blob: Blob) -> ChunkList | None:
        """See FakeSource."""
        trouble = self._lists_to_come.pop(0) if self._lists_to_come else None
        if trouble == "list-error":
            raise SourceError("no list today", source=self.label, temporary=True)
        listed = super().chunk_list(name, blob)
        return chunk_list(_OTHER_DATA, CHUNK) if trouble and listed is not None else listed

    def open_range(self, name: Name, blob: Blob, chunk: Chunk) -> Body:  # type: ignore[override]  # any Body will do
        """See FakeSource."""
        return _Resetting(super().open_range(name, blob, chunk))


@dataclass
class _Process:
    world: World
    source: FaultySource
    stop: trio.Event = field(default_factory=trio.Event)
    ended: trio.Event = field(default_factory=trio.Event)
    readers: list[trio.CancelScope] = field(default_factory=list)


class Machine:
    """Runs one schedule in the directory `root`; each public method is a step."""

    def __init__(self, root: Path, nursery: trio.Nursery, patch: pytest.MonkeyPatch, *, listed: bool) -> None:
        self._root = root
        self._nursery = nursery
        self._listed = listed
        self._processes: list[_Process | None] = [None] * PROCESSES
        self._boot = 1
        self._full = self._was_full = False
        self._listed_wrongly = False
        self._place = Place(root, Digest.of(DATA))
        self._spared: set[int] = set()
        self._asked: list[list[Chunk]] = []
        patch.setattr(fusefs.cache.blob.mapfile, "boot_id", lambda: self._boot.to_bytes(16, "little"))
        patch.setattr(fusefs.cache.blob.chunker, "pwrite_all", self._pwrite)

    async def read(self, number: int, off: int, size: int) -> None:
        """Somebody begins to read, and goes on while the next steps happen."""
        process = await self._running(number)
        scope = trio.CancelScope()
        process.readers.append(scope)
        self._nursery.start_soon(self._read, process, scope, off, size)
        await trio.testing.wait_all_tasks_blocked()

    async def cancel(self, number: int) -> None:
        """The reader who has waited longest gives up."""
        process = self._processes[number]
        if process is not None and process.readers:
            process.readers[0].cancel()
            await trio.testing.wait_all_tasks_blocked()

    async def trouble(self, number: int, trouble: Trouble) -> None:
        """The next request of a process goes wrong."""
        if trouble == "list-wrong":
            # From here on what lies on disk may be judged by that list, too.
            self._listed_wrongly, self._spared = True, set()
        (await self._running(number)).source.plan(trouble)

    async def silence(self, number: int) -> None:
        """The network of a process gives no byte any more, until somebody waits for the readers."""
        (await self._running(number)).source.gate.clear()

    async def disk(self, full: bool) -> None:
        """The disk takes no more, or does again."""
        self._full = full
        self._was_full |= full

    async def settle(self) -> None:
        """The network is back, and everybody gets an answer."""
        for process in self._live():
            process.source.gate.set()
        await until(lambda: not any(process.readers for process in self._live()))

    async def stop(self, number: int) -> None:
        """A process ends, as unmount ends it, whatever is in flight."""
        process = self._processes[number]
        if process is None:
            return
        self._processes[number] = None
        for scope in process.readers:
            scope.cancel()
        await until(lambda: not process.readers)
        process.source.close()
        process.stop.set()
        await process.ended.wait()

    async def damage(self, kinds: Sequence[Damage], where: int, reboot: bool) -> None:
        """All processes end, and files are damaged; with `reboot` the machine has another boot id afterwards."""
        for number in range(PROCESSES):
            await self.stop(number)
        self._check_asked()
        done = {kind for kind in kinds if reboot or kind in HARMLESS_NOW}
        for kind in sorted(done):
            apply(kind, self._place, where)
        self._boot += reboot
        self._spare(done)

    async def finish(self) -> None:
        """No more faults: every read succeeds, nothing is asked for in vain, and the blob is sealed."""
        self._full = False
        for number in range(PROCESSES):
            (await self._running(number)).source.behave()
        await self.settle()
        for process in self._live():
            await until(lambda process=process: not process.world.fetch.flights)  # type: ignore[misc]
        self._check_asked()
        if not self._spared:
            self._spare(set())
        await self._read_all()
        if self._was_full:  # what lives in memory for want of disk space goes to the disk with the next process
            for number in range(PROCESSES):
                await self.stop(number)
            await self._read_all()
        for process in self._live():
            await process.world.sealed()
        assert self._place.sealed.read_bytes() == DATA
        for number in range(PROCESSES):
            await self.stop(number)
        self._check_asked()

    async def _read_all(self) -> None:
        for number in range(PROCESSES):
            await (await self._running(number)).world.read(0, len(DATA))

    async def _read(self, process: _Process, scope: trio.CancelScope, off: int, size: int) -> None:
        with scope, contextlib.suppress(FusefsError):
            await process.world.read(off, size)  # asserts that the bytes are right
        process.readers.remove(scope)

    def _spare(self, done: set[Damage]) -> None:
        # What a wrong list has judged, or nobody but the whole blob's digest can, may be fetched again.
        known = self._listed and not self._listed_wrongly
        self._spared = spared(self._place, DATA, CHUNK, done) if known else set()

    def _check_asked(self) -> None:
        """Nobody has asked for what was right on disk after the last damage."""
        for asked in self._asked:
            for chunk in asked:
                again = {i for i in self._spared if chunk.start <= i * CHUNK < chunk.stop}
                assert not again, f"chunks {again} were right on disk and were asked for again, as {chunk}"
            asked.clear()
        self._asked = [process.source.asked for process in self._live()]

    def _live(self) -> list[_Process]:
        return [process for process in self._processes if process is not None]

    async def _running(self, number: int) -> _Process:
        process = self._processes[number]
        if process is None:
            source = FaultySource()
            self._asked.append(source.asked)
            process = await self._nursery.start(partial(self._run, source))
            assert process is not None
            self._processes[number] = process
        return process

    async def _run(
        self, source: FaultySource, *, task_status: trio.TaskStatus[_Process] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async with running(
            self._root,
            DATA,
            chunks=chunk_list(DATA, CHUNK),
            listed=self._listed,
            source=source,
            settings=SETTINGS,
            unlisted_chunk_size=CHUNK,
            span_size=3 * CHUNK,
        ) as world:
            process = _Process(world, source)
            task_status.started(process)
            await process.stop.wait()
        # A process that ends takes threads with it that nobody waits for; here they are of our own process.
        await until(lambda: not world.fetcher.threads.busy)
        world.fetcher.close()
        process.ended.set()

    def _pwrite(self, fd: int, data: memoryview, off: int) -> None:
        if self._full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        pwrite_all(fd, data, off)
