"""A sealed file that is read in order: the disk is asked ahead, and the pages behind the reader are let go of."""

from __future__ import annotations

import os
import random
import subprocess
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import trio

from fusefs.values.settings import MIB
from fusefs.vfs.answer import Answered
from tests.marks import one_soon
from tests.world import running, some_bytes, until

if TYPE_CHECKING:
    from pathlib import Path

DATA = some_bytes(48 * MIB)


def resident(path: Path) -> int:
    """Bytes of a file in the page cache."""
    told = subprocess.run(["fincore", "-b", "-n", "-o", "RES", path], capture_output=True, text=True, check=True)
    return int(told.stdout)


async def test_advice_runs_ahead_of_a_sequential_reader_and_never_overtakes_its_tail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[int, list[range]] = {os.POSIX_FADV_WILLNEED: [], os.POSIX_FADV_DONTNEED: []}
    advise = os.posix_fadvise

    def note(fd: int, off: int, size: int, advice: int) -> None:
        told[advice].append(range(off, off + size))
        advise(fd, off, size, advice)

    async with running(tmp_path, DATA, chunk_size=MIB, memory=64 * MIB, timeout=30.0) as world:
        await world.read(0, len(DATA))
        await world.sealed()
        monkeypatch.setattr(os, "posix_fadvise", note)
        ahead, behind = told[os.POSIX_FADV_WILLNEED], told[os.POSIX_FADV_DONTNEED]
        for off in (40 * MIB, 7 * MIB, 21 * MIB):
            await world.read(off, 4096)
        assert not ahead, "random access is not followed"
        os.sync()  # what was just written is dirty, and no advice lets go of that
        for at in range(0, len(DATA), MIB):
            await world.read(at, MIB)
            await trio.lowlevel.checkpoint()  # a read that nothing holds up lets nobody else run
            assert all(pages.stop <= at + MIB for pages in behind), "what was not read yet"
        await until(lambda: any(pages.stop == len(DATA) for pages in ahead))
        ahead.sort(key=lambda pages: pages.start)
        assert all(one.stop <= two.start for one, two in pairwise(ahead)), "no byte is asked for twice"
        assert behind
        await until(lambda: resident(world.cache.path(world.blob.digest)) <= MIB)


@pytest.mark.parametrize("by", one_soon(["the event loop", "threads"]))
async def test_the_second_copy_goes_though_a_reader_in_order_is_answered_in_another(tmp_path: Path, by: str) -> None:
    """As several threads do for long requests: any of them may be late, by more than a stream allows for."""
    rng = random.Random(5)
    pieces = sorted(range(0, len(DATA), MIB), key=lambda off: off + rng.randrange(4 * MIB))
    async with running(tmp_path, DATA, chunk_size=MIB, memory=64 * MIB, timeout=30.0) as world:
        await world.read(0, len(DATA))
        await world.sealed()
    os.sync()
    async with running(tmp_path, DATA, chunk_size=MIB, memory=64 * MIB, timeout=30.0) as world:
        path = world.cache.path(world.blob.digest)
        await world.read(0, 1)
        buffer = memoryview(bytearray(MIB))
        with path.open("rb") as file:
            while file.read(MIB):
                pass
        assert resident(path) == len(DATA)
        for off in pieces:
            if by == "threads":
                said = world.file.answer(off, MIB, 0, buffer, lambda _: None)
                assert said is Answered.SENT
            else:
                await world.read(off, MIB)
        await until(lambda: resident(path) <= MIB)
