"""BlobFile: whole ranges or an error, fill, presence; and a reader cancelled at every step of the read path."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from fusefs.errors import SourceError
from fusefs.values import metrics
from fusefs.vfs.answer import Answered
from fusefs.vfs.blobfile import BlobFile
from tests.chunkers import opened, reboot
from tests.fake_source import FakeSource, fail
from tests.world import running, some_bytes, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


DATA = some_bytes(9_500)


@pytest.mark.parametrize(
    ("off", "size"),
    [(0, 1), (0, 9_500), (999, 2), (1000, 1000), (9_499, 1), (9_499, 100), (0, 1 << 40), (9_000, 500), (4_321, 1_234)],
)
async def test_p2_a_read_is_whole_and_clipped_to_the_end(tmp_path: Path, off: int, size: int) -> None:
    async with running(tmp_path, DATA) as world:
        for _ in range(2):
            assert bytes(await world.file.read(off, size)) == DATA[off : off + size]


@pytest.mark.parametrize("off", [9_500, 9_501, 1 << 50])
async def test_at_and_behind_the_end_there_is_nothing(tmp_path: Path, off: int) -> None:
    async with running(tmp_path, DATA) as world:
        assert await world.file.read(off, 10) == b""
        assert not world.source.asked


async def test_p2_a_read_of_which_a_part_fails_is_an_error_and_not_short(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        await world.read(0, 1000)
        world.source.always = fail
        with pytest.raises(SourceError):
            await world.file.read(500, 1000)


async def test_p7_a_warm_read_needs_neither_network_nor_thread(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        await world.read(0, 4_000)
        chunker = world.fetch.chunker
        assert chunker is not None
        if chunker.pread_nowait(0, 10) is None:
            pytest.fail("this file system cannot say what is in memory")
        await world.read(0, 4_000)  # when the first bytes are here, they are looked at, once
        await until(lambda: not world.fetcher.threads.busy)
        await trio.testing.wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics()
        await world.read(1_000, 2_000)
        assert trio.lowlevel.current_statistics().tasks_living == before.tasks_living
        assert world.source.bytes_asked == 4_000


@pytest.mark.parametrize("change", ["nothing", "evicted", "found lying"])
async def test_p2_a_thread_looks_again_when_it_has_the_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """What was evicted, or came of a lie, between its first look and its answer is not sent by it."""
    async with running(tmp_path, DATA) as world:
        await world.read(0, len(DATA))
        chunker = world.fetch.chunker
        assert chunker is not None
        used = chunker.usage.used

        def meanwhile(covering: range) -> None:
            used(covering)
            if change == "evicted":
                chunker.usage.evictions += 1
            elif change == "found lying":
                world.fetch.lies += 1

        monkeypatch.setattr(chunker.usage, "used", meanwhile)
        sent: list[bytes] = []
        buffer = memoryview(bytearray(1_000))
        outcome = world.file.answer(500, 1_000, 0, buffer, lambda data: sent.append(bytes(data)))
        if change == "nothing":
            assert (outcome, sent) == (Answered.SENT, [DATA[500:1_500]])
        else:
            assert (outcome, sent) == (Answered.ELSEWHERE, [])


async def test_fill_fetches_the_rest_after_the_first_open_once(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        file = BlobFile(world.fetcher, world.fetch, fill=True)
        file.open()
        file.open()
        await world.sealed()
        file.release()
        file.open()
        assert world.source.bytes_asked == len(DATA)
        await world.read(0, len(DATA))


async def test_without_fill_an_open_fetches_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        world.file.open()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not world.source.asked
        assert world.file.state == "absent"


@pytest.mark.logs("no bytes .* today")
async def test_a_fill_that_failed_is_tried_again_by_the_next_open(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        world.source.always = fail
        file = BlobFile(world.fetcher, world.fetch, fill=True)
        file.open()
        await until(lambda: not file._filling and not world.fetch.flights)
        assert "no bytes" in world.fetcher.last_error
        world.source.always = None
        file.open()
        await world.sealed()


async def test_presence_says_which_part_is_there(tmp_path: Path) -> None:
    async with running(tmp_path, DATA[:8_000]) as world:
        assert world.file.presence(4, 0, 8_000) == [0, 0, 0, 0]
        await world.read(2_000, 3_000)
        assert world.file.presence(4, 0, 8_000) == [0, 1, 0.5, 0]
        assert world.file.presence(1, 0, 8_000) == [3 / 8]
        assert sum(world.file.presence(7, 0, 8_000)) / 7 == pytest.approx(3 / 8)
    async with running(tmp_path, DATA[:8_000]) as world:
        await world.fetcher.look([world.blob])
        assert world.file.presence(4, 0, 8_000) == [0, 1, 0.5, 0], "known without opening anything"
        assert world.file.present == 3_000
        await world.read(0, 8_000)
        await world.sealed()
        assert world.file.presence(3, 0, 8_000) == [1, 1, 1]


class CancelAtStep(trio.abc.Instrument):
    """Cancels `scope` when the task that runs in it is scheduled for the `step`th time."""

    def __init__(self, step: int, scope: trio.CancelScope) -> None:
        self._left = step
        self._scope = scope
        self._task = trio.lowlevel.current_task()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self._left -= 1
            if self._left == 0:
                self._scope.cancel()


async def cancelled_at(step: int, read: Callable[[], Awaitable[None]]) -> bool:
    """Read, cancelled at scheduling step `step`; False when the read was done before."""
    with trio.CancelScope() as scope:
        instrument = CancelAtStep(step, scope)
        trio.lowlevel.add_instrument(instrument)
        try:
            await read()
        finally:
            trio.lowlevel.remove_instrument(instrument)
    return scope.cancelled_caught


def open_files(root: Path) -> list[str]:
    """Files below `root`; the directory itself is held for as long as the cache lives."""
    links = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(f"/proc/self/fd/{number}"))
    return [link for link in links if link.startswith(f"{root}/")]


@pytest.mark.parametrize("state", ["absent", "unlisted", "claimed", "sealed-claimed"])
async def test_a_reader_that_is_cancelled_at_any_step_leaves_everything_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    listed = state != "unlisted"
    for step in range(1, 100):
        root = tmp_path / str(step)
        if "claimed" in state:
            async with running(root, DATA) as world:
                await world.read(0, len(DATA) if "sealed" in state else 5_000)
                if "sealed" in state:
                    await world.sealed()
                await until(lambda: not world.fetcher.threads.busy)
            reboot(monkeypatch, step)
        source = FakeSource()
        async with running(root, DATA, source=source, listed=listed) as world:
            cancelled = await cancelled_at(step, lambda: world.read(500, 6_000))  # awaited here
            await until(lambda: not world.fetch.flights)
            await world.read(500, 6_000)
            await until(lambda: not world.fetch.flights)
            expected = {"absent": 7_000, "unlisted": len(DATA), "claimed": 2_000, "sealed-claimed": 0}[state]
            verified = world.counters[metrics.CHUNKS_VERIFIED] + world.counters[metrics.CHUNKS_UNPROVED]
            assert verified <= -(-expected // 1000), f"cancelled at step {step}: something was fetched twice"
            # A worker whose reader is gone stops within its range.
            assert expected <= source.bytes_asked <= 2 * expected
            chunker = world.fetch.chunker
            assert chunker is not None
            with opened(root, DATA, chunks=chunker.chunks) as other:
                assert all(other.try_lock(i) for i in range(len(other.chunks))), "a lock was left behind"
            await until(lambda: not world.fetcher.threads.busy and not world.fetcher.in_flight)
            assert not world.fetcher._dispatcher._buffers._lent
        assert not open_files(root), f"cancelled at step {step}: files were left open"
        if not cancelled:
            assert step > 3, "the read path has more steps than that"
            return
    pytest.fail("the read never came to its end")
