"""Who waits for whose fetch, when that fetch fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from fusefs.errors import DigestMismatch, SourceError
from tests.fake_source import flip
from tests.faults.schedule import FaultySource
from tests.world import running, some_bytes, until

if TYPE_CHECKING:
    from pathlib import Path

DATA = some_bytes(5_000)


async def test_p6_who_joins_a_fetch_that_then_fails_of_old_trouble_tries_again(tmp_path: Path) -> None:
    """A prefetch at the end of its patience must not cost a reader who has only just come its own `--timeout`."""
    source = FaultySource()
    async with running(tmp_path, DATA, source=source) as world:
        source.gate.clear()
        source.plan("reset")
        outcomes: list[str] = []

        async def first() -> None:
            with pytest.raises(SourceError):
                await world.read(0, 100)
            outcomes.append("failed")

        async def second() -> None:
            await world.read(50, 100)
            outcomes.append("read")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(first)
            await until(lambda: len(source.asked) == 1)
            nursery.start_soon(second)
            await trio.testing.wait_all_tasks_blocked()
            source.gate.set()
        assert outcomes == ["failed", "read"]
        assert len(source.asked) == 2


@pytest.mark.logs("does not match its digest")
async def test_p1_who_joins_a_fetch_of_wrong_bytes_is_told_so(tmp_path: Path) -> None:
    """Proved corruption fails at once: it has been asked for again already."""
    source = FaultySource()
    async with running(tmp_path, DATA, source=source) as world:
        source.gate.clear()
        source.faults.extend([flip, flip])
        failed = 0

        async def read() -> None:
            nonlocal failed
            with pytest.raises(DigestMismatch):
                await world.read(0, 100)
            failed += 1

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            source.gate.set()
        assert failed == 3
        assert len(source.asked) == 2
        await world.read(0, 100)
