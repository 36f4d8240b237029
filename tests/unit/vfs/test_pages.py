"""A sealed file that is read in order: the disk is asked ahead, and the pages behind the reader are let go of."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
import trio

from fusefs.cache import chunker as chunker_module
from fusefs.config import MIB
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
    told: list[tuple[range, range]] = []
    advise = chunker_module.advise

    def note(fd: int, ahead: range, behind: range) -> None:
        told.append((ahead, behind))
        advise(fd, ahead, behind)

    async with running(tmp_path, DATA, chunk_size=MIB, memory=64 * MIB, timeout=30.0) as world:
        await world.read(0, len(DATA))
        await world.sealed()
        monkeypatch.setattr(chunker_module, "advise", note)
        for off in (40 * MIB, 7 * MIB, 21 * MIB):
            await world.read(off, 4096)
        assert not told, "random access is not followed"
        # What was just written is dirty, and no advice lets go of that.
        os.sync()
        for at in range(0, len(DATA), MIB):
            await world.read(at, MIB)
            await trio.lowlevel.checkpoint()  # a read that nothing holds up lets nobody else run
            assert all(behind.stop <= at for _, behind in told)
        await until(lambda: any(ahead.stop == len(DATA) for ahead, _ in told) and not world.fetcher.threads.busy)
        stops = [0, *sorted(ahead.stop for ahead, _ in told)]
        starts = sorted(ahead.start for ahead, _ in told)
        assert all(stop <= start for stop, start in zip(stops, starts, strict=False)), "no byte is asked for twice"
        assert resident(world.cache.path(world.blob.digest)) <= len(DATA) - 8 * MIB, (
            "the tail stays, what lies before it goes"
        )
