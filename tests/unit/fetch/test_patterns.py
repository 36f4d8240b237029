"""What is asked of a source for each way to read a model: which bytes, in which order, each once."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from fusefs.values.settings import KIB, MIB
from fusefs.values.trace import Trace
from tests.fake_source import FakeSource
from tests.headers import entry, safetensors
from tests.kernel_reads import Kernel
from tests.marks import one_soon
from tests.world import World, quiet, running, some_bytes, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

CHUNK = 128 * KIB
EACH = 2 * MIB + 100
COUNT = 30
STEP = 256 * KIB

_HEADER = safetensors({f"layer.{i:02}": entry(i * EACH, (i + 1) * EACH) for i in range(COUNT)})
MODEL = _HEADER + some_bytes(COUNT * EACH)
NO_MODEL = b"\xff" * 16 + MODEL[16:]
TENSORS = [(len(_HEADER) + i * EACH, len(_HEADER) + (i + 1) * EACH) for i in range(COUNT)]

SCATTERED = [TENSORS[index * 7 % COUNT] for index in range(COUNT // 2)]
"""Half of them, no two neighbours soon after each other."""


@asynccontextmanager
async def mounted(root: Path, data: bytes = MODEL, source: FakeSource | None = None) -> AsyncIterator[World]:
    async with running(
        root, data, source=source, chunk_size=CHUNK, memory=64 * MIB, span_size=8 * CHUNK, timeout=30.0
    ) as world:
        yield world


async def read_spans(world: World, *spans: tuple[int, int]) -> None:
    for start, stop in spans:
        for off in range(start, stop, STEP):
            await world.read(off, min(STEP, stop - off))


async def map_spans(world: World, kernel: Kernel, spans: Iterable[tuple[int, int]]) -> None:
    """Touch the pages of a mapping."""
    for start, stop in spans:
        for off, size in kernel.touch(start, stop):
            await world.read(off, size)
            await quiet(world)  # the reader is slow: whatever is fetched for it has the time to come


def asked(world: World) -> list[int]:
    """The chunks that were asked for, in order; none twice."""
    chunks = [index for span in world.source.asked for index in range(span.start // CHUNK, span.end // CHUNK + 1)]
    assert len(chunks) == len(set(chunks)), "a chunk was asked for twice"
    return chunks


def chunks_of(*spans: tuple[int, int]) -> set[int]:
    return {index for start, stop in spans for index in range(start // CHUNK, (stop - 1) // CHUNK + 1)}


@pytest.mark.parametrize("data", one_soon([MODEL, NO_MODEL]), ids=["model", "unknown"])
async def test_in_order_all_is_asked_for_once_in_large_requests(tmp_path: Path, data: bytes) -> None:
    async with mounted(tmp_path, data) as world:
        await read_spans(world, (0, len(data)))
        await world.sealed()
        assert sorted(asked(world)) == list(range(-(-len(data) // CHUNK)))
        assert len(world.source.asked) < len(asked(world)) / 3, "neighbours are one request"


async def test_in_order_the_requests_run_ahead_of_the_reader(tmp_path: Path) -> None:
    async with mounted(tmp_path) as world:
        await read_spans(world, (0, 8 * MIB))
        await quiet(world)
        assert max(asked(world)) * CHUNK >= 12 * MIB


async def test_backward_the_requests_run_ahead_of_the_reader(tmp_path: Path) -> None:
    async with mounted(tmp_path, NO_MODEL) as world:
        size = len(NO_MODEL)
        for off in range(size - STEP, size - 8 * MIB, -STEP):
            await world.read(off, STEP)
        await quiet(world)
        assert min(set(asked(world)) - {0}) * CHUNK <= size - 12 * MIB
        assert set(asked(world)) >= set(range((size - 12 * MIB) // CHUNK + 1, size // CHUNK))


async def test_random_pages_cost_their_chunks_alone(tmp_path: Path) -> None:
    async with mounted(tmp_path) as world:
        pages = random.Random(5).sample(range(8 * MIB, len(MODEL) - STEP, 4096), 12)
        for off in pages:
            await world.read(off, 4096)
            await quiet(world)
        assert set(asked(world)) - {0} == {off // CHUNK for off in pages}


async def test_header_only_is_the_header(tmp_path: Path) -> None:
    async with mounted(tmp_path) as world:
        await map_spans(world, Kernel(len(MODEL)), [(0, len(_HEADER))])
        assert set(asked(world)) <= set(range(STEP // CHUNK + len(_HEADER) // CHUNK + 1))


async def test_one_tensor_is_asked_for_whole_at_its_first_fault_and_nothing_behind_it(tmp_path: Path) -> None:
    async with mounted(tmp_path) as world:
        kernel = Kernel(len(MODEL))
        await map_spans(world, kernel, [(0, len(_HEADER))])
        start, stop = TENSORS[12]
        await map_spans(world, kernel, [(start, start + 1)])
        assert set(asked(world)) >= chunks_of((start, stop))
        before = asked(world)
        await map_spans(world, kernel, [(start, stop)])
        beyond = set(asked(world)) - set(before)
        assert len(beyond) * CHUNK <= 2 * STEP + CHUNK, "the kernel's own two windows"
        assert max(asked(world)) * CHUNK < stop + 2 * STEP


@pytest.mark.slow
async def test_tensors_in_random_order_are_each_whole_at_once_and_no_chunk_more_than_without_hints(
    tmp_path: Path,
) -> None:
    order = SCATTERED
    async with mounted(tmp_path) as world:
        await map_spans(world, Kernel(len(MODEL)), [(0, len(_HEADER)), *order])
        assert chunks_of(*order) <= set(asked(world))
        kernel = Kernel(len(MODEL))
        requests = [request for span in [(0, len(_HEADER)), *order] for request in kernel.touch(*span)]
        assert set(asked(world)) == chunks_of(*((off, off + size) for off, size in requests))
        began = {span.start // CHUNK for span in world.source.asked}
        assert len(began) <= 6 * len(order), "few requests for each, of a MiB at most, and not one for each fault"


async def test_reading_again_what_is_there_causes_no_traffic(tmp_path: Path) -> None:
    async with mounted(tmp_path) as world:
        order = random.Random(3).sample(TENSORS, 8)
        await read_spans(world, (0, STEP), *order)
        await quiet(world)
        before = asked(world)
        for _ in range(2):
            await read_spans(world, (0, STEP), *order)
            await quiet(world)
        assert asked(world) == before


async def test_a_demand_read_goes_before_all_that_is_fetched_ahead(tmp_path: Path) -> None:
    async with mounted(tmp_path) as world:
        await read_spans(world, (0, 2 * CHUNK))
        await quiet(world)
        world.source.gate.clear()
        before = len(world.source.asked)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.read, TENSORS[12][0] + CHUNK, STEP)
            await until(lambda: len(world.source.asked) >= before + 2)
            await trio.testing.wait_all_tasks_blocked(0.01)
            queued = [flight.index for flight in world.fetch.flights.values() if not flight.started]
            nursery.start_soon(world.read, TENSORS[25][0] + 8 * CHUNK, 4096)
            # The network gives nothing meanwhile: only a worker that was kept free can ask for it.
            await until(lambda: any(span.start >= TENSORS[25][0] for span in world.source.asked))
            assert all(not flight.started for index in queued if (flight := world.fetch.flights.get(index)))
            world.source.gate.set()
        await quiet(world)
        assert set(asked(world)) >= chunks_of(TENSORS[12])


async def test_many_readers_of_one_tensor_cause_one_fetch_of_it(tmp_path: Path) -> None:
    async with mounted(tmp_path) as world:
        await read_spans(world, (0, 2 * CHUNK))
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(read_spans, world, TENSORS[12])
        await quiet(world)
        assert set(asked(world)) - {0, 1} == chunks_of(TENSORS[12])


async def record(root: Path, *spans: tuple[int, int]) -> Trace:
    """Load cold as the kernel does, end the mount, drop the data, and return what was recorded."""
    async with mounted(root) as world:
        world.file.open()
        await map_spans(world, Kernel(len(MODEL)), spans)
        world.file.release()
        cache, blob = world.cache, world.blob
    start = cache.trace(blob)
    assert start is not None
    for path in (*cache.path(blob.digest).parent.iterdir(), *(root / "partial").rglob("*")):
        if path.is_file():
            path.unlink()
    return start


async def test_a_cold_load_is_recorded_and_the_next_one_is_replayed_ahead_of_its_reader(tmp_path: Path) -> None:
    order = SCATTERED
    start = await record(tmp_path, (0, len(_HEADER)), *order)
    recorded = [index for begin, stop in start.ranges for index in range(begin // CHUNK, -(-stop // CHUNK))]
    assert chunks_of(*order) <= set(recorded)
    source = FakeSource()
    async with mounted(tmp_path, source=source) as world:
        kernel = Kernel(len(MODEL))
        first = next(iter(kernel.touch(0, 1)))
        await world.read(*first)
        await quiet(world)
        lead = 8 * MIB // CHUNK
        assert set(asked(world)) == set(recorded[: len(asked(world))]), "what comes next, before it is asked for"
        assert len(asked(world)) >= lead
        await map_spans(world, kernel, [(0, len(_HEADER)), *order])
        assert set(asked(world)) == set(recorded), "not one chunk more"
        positions = [recorded.index(chunk) for chunk in asked(world)]
        late = [at for at, position in enumerate(positions) if position < max(positions[: at + 1]) - 2 * lead]
        assert not late, "in the order in which it was recorded"
    assert world.cache.trace(world.blob) == start, "the same load again changes nothing"


@pytest.mark.slow
async def test_a_record_of_what_is_not_wanted_this_time_costs_its_first_window(tmp_path: Path) -> None:
    await record(tmp_path, *TENSORS[:10])
    source = FakeSource()
    async with mounted(tmp_path, source=source) as world:
        await map_spans(world, Kernel(len(MODEL)), TENSORS[20:24])
        wasted = set(asked(world)) & chunks_of(*TENSORS[:10])
        assert len(wasted) <= 8 * MIB // CHUNK + 2
        assert chunks_of(*TENSORS[20:24]) <= set(asked(world))


@pytest.mark.slow
async def test_a_load_that_did_not_begin_cold_is_neither_recorded_nor_replayed(tmp_path: Path) -> None:
    async with mounted(tmp_path) as world:
        await read_spans(world, *TENSORS[:6])
        world.file.release()
        await quiet(world)
    before = world.cache.trace(world.blob)
    assert before is not None
    async with mounted(tmp_path) as world:
        await map_spans(world, Kernel(len(MODEL)), TENSORS[20:])
        world.file.release()
        await quiet(world)
    assert world.cache.trace(world.blob) == before


@pytest.mark.slow
async def test_a_record_is_kept_while_the_load_goes_on_and_when_the_file_is_closed(tmp_path: Path) -> None:
    async with mounted(tmp_path) as world:
        await read_spans(world, *TENSORS[5:10])
        await quiet(world)
        meanwhile = world.cache.trace(world.blob)
        assert meanwhile is not None, "kill -9 does not lose all of it"
        world.file.release()
        await quiet(world)
        released = world.cache.trace(world.blob)
        assert released is not None
        assert len(released.ranges) >= 1
        assert sum(stop - begin for begin, stop in released.ranges) >= 5 * EACH


@pytest.mark.slow
async def test_a_record_that_is_a_lie_does_no_harm(tmp_path: Path) -> None:
    """Whoever writes into the cache's folder decides what is fetched first, and nothing else."""
    async with mounted(tmp_path) as world:
        ranges = tuple((off, off + CHUNK) for off in range(len(MODEL) // CHUNK * CHUNK - CHUNK, 0, -2 * CHUNK))
        world.cache.put_trace(world.blob, Trace(ranges))
        await read_spans(world, (0, len(MODEL)))
        await world.sealed()
        assert sorted(asked(world)) == list(range(-(-len(MODEL) // CHUNK)))
