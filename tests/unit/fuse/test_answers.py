"""An answer is a view into memory that the next one is made in, so nobody else may run before it is sent."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import trio

from fusefs.cache.blob.stored import StoredBlob
from fusefs.fuse.operations import FuseOperations
from fusefs.values.counters import Counters
from fusefs.values.snapshot import File, Slice
from fusefs.vfs.filesystem import FileSystem
from fusefs.vfs.tree import ROOT_INODE, Tree
from tests.world import running, some_bytes

if TYPE_CHECKING:
    from pathlib import Path

DATA = some_bytes(64_000)


class Answers(trio.abc.Instrument):
    """Watches tasks that have an answer in their hands and have not sent it.

    Attributes:
        views: how many answers were views.
        stopped: how often such a task let others run.
    """

    def __init__(self) -> None:
        self.views = 0
        self.stopped = 0
        self._holding: set[trio.lowlevel.Task] = set()

    def has(self, answer: object) -> None:
        if isinstance(answer, memoryview):
            self.views += 1
            self._holding.add(trio.lowlevel.current_task())

    def sent(self) -> None:
        self._holding.discard(trio.lowlevel.current_task())

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.stopped += task in self._holding


@pytest.mark.parametrize("sealed", [False, True])
async def test_p2_there_is_no_await_from_an_answer_to_its_reply(tmp_path: Path, sealed: bool) -> None:
    """With one, a reader would get the bytes of another one, and every promise would be green."""
    answers = Answers()
    true_pread = StoredBlob.pread_nowait

    @functools.wraps(true_pread)
    def pread_nowait(self: StoredBlob, off: int, size: int, covering: range | None = None) -> Any:
        answer = true_pread(self, off, size, covering)
        answers.has(answer)
        return answer

    async with running(tmp_path, DATA) as world:
        tree = Tree([File("blob", Slice.whole(world.blob), 0)])
        file_system = FileSystem(tree, lambda _: world.file, Counters(), look=world.fetcher.look)
        handlers = FuseOperations(file_system)
        handle = file_system.open(file_system.metadata.lookup(ROOT_INODE, b"blob").inode, 0)
        if sealed:
            await world.read(0, len(DATA))
            await world.sealed()

        async def reader(first: int) -> None:
            for off in range(first, len(DATA) - 700, 1_400):
                data = await handlers.read(handle, off, 700)
                assert bytes(data) == DATA[off : off + 700]
                answers.sent()

        trio.lowlevel.add_instrument(answers)
        try:
            with mock.patch.object(StoredBlob, "pread_nowait", pread_nowait):
                async with trio.open_nursery() as nursery:
                    for first in (0, 700):
                        nursery.start_soon(reader, first)
        finally:
            trio.lowlevel.remove_instrument(answers)
    assert answers.views > 20
    assert answers.stopped == 0
