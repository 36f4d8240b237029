"""A sealed file that is read in order: the disk is asked ahead, and the pages behind the reader are let go of."""

from __future__ import annotations

import os
import subprocess
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import trio

from fusefs.values.settings import MIB
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
            assert all(pages.stop <= at for pages in behind)
        await until(lambda: any(pages.stop == len(DATA) for pages in ahead) and not world.fetcher.threads.busy)
        ahead.sort(key=lambda pages: pages.start)
        assert all(one.stop <= two.start for one, two in pairwise(ahead)), "no byte is asked for twice"
        assert behind
        assert resident(world.cache.path(world.blob.digest)) <= len(DATA) - 4 * MIB, "what was read has gone"
