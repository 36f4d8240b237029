"""The header of a blob is fetched to its end and no further, once, and whatever it says a read is right."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from fusefs.fetch import headerreader as header_room
from fusefs.formats.header import MAX_HEADER
from fusefs.values.chunks import Chunk
from fusefs.values.settings import KIB, MIB
from tests.fake_source import FakeSource, chunk_list, fail
from tests.headers import ARRAY, F32, STRING, UINT32, entry, gguf, key, safetensors, strings, tensor
from tests.marks import one_soon
from tests.world import World, quiet, running, some_bytes, until

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from fusefs.formats.extents import Extents

CHUNK = 64 * KIB
EACH = 1_500_000
NOISE = some_bytes(12 * MIB)

SETTINGS = {"chunk_size": CHUNK, "memory": 64 * MIB, "span_size": CHUNK, "timeout": 30.0}


def safetensors_file(count: int = 7) -> bytes:
    """Tensors of 1.5 MB each."""
    header = safetensors({f"layer.{i}": entry(i * EACH, (i + 1) * EACH) for i in range(count)})
    return header + NOISE[: count * EACH]


def gguf_file(vocabulary: int) -> bytes:
    """A header with that many tokens, and seven tensors of 1.5 MB."""
    tokens = strings([b"token%07d" % number for number in range(vocabulary)])
    tensors = [tensor([EACH // 4], F32, number * EACH // 32 * 32) for number in range(7)]
    header = gguf([key(b"tokens", ARRAY, tokens)], tensors)
    return header + bytes(-len(header) % 32) + NOISE[: 7 * EACH]


def mounted(root: Path, data: bytes, source: FakeSource | None = None) -> AbstractAsyncContextManager[World]:
    return running(root, data, source=source, **SETTINGS)  # type: ignore[arg-type]  # settings by name


def tensors_known(world: World) -> bool:
    prefetch = world.fetch.prefetch
    return prefetch is not None and prefetch.policies.knows_tensors


@pytest.mark.parametrize("vocabulary", [0, 5_000, 40_000])
async def test_a_header_is_fetched_to_its_end_while_only_its_first_bytes_were_read(
    tmp_path: Path, vocabulary: int
) -> None:
    data = gguf_file(vocabulary)
    header = len(data) - 7 * EACH
    async with mounted(tmp_path, data) as world:
        await world.read(0, 4096)
        await world.read(4096, 4096)
        await quiet(world)
        assert tensors_known(world)
        assert header <= world.source.bytes_asked <= 2 * header + CHUNK, "a header's length is found by doubling"
        asked = list(world.source.asked)
        for off in range(0, header, 32 * KIB):
            await world.read(off, min(32 * KIB, header - off))
        await quiet(world)
        assert world.source.asked == asked, "once: it was there before it was read"


async def test_who_reads_a_tensor_first_has_the_first_chunk_fetched_too(tmp_path: Path) -> None:
    data = safetensors_file()
    async with mounted(tmp_path, data) as world:
        await world.read(4 * MIB, 128 * KIB)
        await quiet(world)
        assert Chunk(0, CHUNK - 1) in world.source.asked
        assert tensors_known(world)
        assert world.source.bytes_asked == 3 * CHUNK


async def test_a_first_chunk_that_is_large_is_not_fetched_for_its_header_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(header_room, "_CHEAP", CHUNK - 1)
    async with mounted(tmp_path, safetensors_file()) as world:
        await world.read(4 * MIB, 128 * KIB)
        await quiet(world)
        assert world.source.bytes_asked == 2 * CHUNK
        await world.read(0, 10)
        await world.read(10, 10)
        await quiet(world)
        assert tensors_known(world), "when somebody has read it, it is looked at"
        assert world.source.bytes_asked == 3 * CHUNK


async def test_a_lone_page_is_worth_no_header(tmp_path: Path) -> None:
    async with mounted(tmp_path, safetensors_file()) as world:
        await world.read(7 * MIB, 4096)
        await quiet(world)
        assert world.source.bytes_asked == CHUNK


async def test_a_header_that_is_present_is_read_after_a_remount_without_traffic(tmp_path: Path) -> None:
    data = safetensors_file()
    async with mounted(tmp_path, data) as world:
        await world.read(0, 4096)
    source = FakeSource()
    async with mounted(tmp_path, data, source) as world:
        await world.read(0, 4096)
        await world.read(4096, 4096)
        await quiet(world)
        assert tensors_known(world)
        assert not source.asked


async def test_a_file_that_is_no_model_costs_what_is_read(tmp_path: Path) -> None:
    async with mounted(tmp_path, NOISE) as world:
        for off in range(0, 512 * KIB, 128 * KIB):
            await world.read(off, 128 * KIB)
        await quiet(world)
        assert not tensors_known(world)
        assert world.source.bytes_asked == 512 * KIB


@pytest.mark.logs("no bytes .* today")
async def test_a_header_that_cannot_be_had_is_tried_a_few_times_and_nobody_waits_for_it(tmp_path: Path) -> None:
    data = safetensors_file()

    def no_beginning(chunk: Chunk, right: bytes) -> bytes:
        return fail(chunk, right) if chunk.start == 0 else right

    async with mounted(tmp_path, data) as world:
        world.source.always = no_beginning
        for number in range(8):
            await world.read(4 * MIB + number * 128 * KIB, 128 * KIB)
            await quiet(world)
        assert world.source.asked.count(Chunk(0, CHUNK - 1)) == 3
        assert not tensors_known(world)


async def test_a_header_that_is_on_its_way_does_not_keep_the_mount_from_ending(tmp_path: Path) -> None:
    data = gguf_file(40_000)
    with trio.fail_after(20):
        async with mounted(tmp_path, data) as world:
            held: list[Chunk] = []

            def hold(chunk: Chunk, right: bytes) -> bytes:
                # Once: a request that is made as the mount ends must not close the gate that was opened for its end.
                if chunk.start and not held:
                    held.append(chunk)
                    world.source.gate.clear()
                return right

            world.source.always = hold
            await world.read(0, 4096)
            await until(lambda: not world.source.gate.is_set())
            assert world.fetch.flights


async def test_headers_are_read_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large one takes 100 ms of a core, and a thousand files may be opened at once."""
    at_work: list[int] = []
    most: list[int] = []
    look = header_room._look

    def counted(*args: object) -> Extents | int:
        at_work.append(1)
        most.append(len(at_work))
        try:
            return look(*args)  # type: ignore[arg-type]  # handed through
        finally:
            at_work.pop()

    monkeypatch.setattr(header_room, "_look", counted)
    async with mounted(tmp_path, safetensors_file()) as world:
        worlds = [world]
        for number in range(5):
            data = safetensors_file(5) + bytes([number])
            blob = world.source.add(data, chunk_list(data, CHUNK))
            worlds.append(World(tmp_path, world.fetcher, world.cache, world.source, data, blob))
        async with trio.open_nursery() as nursery:
            for one in worlds:
                nursery.start_soon(_read_twice, one)
        await until(lambda: all(tensors_known(one) for one in worlds))
        assert max(most) == 1
        assert len(most) == len(worlds)


async def _read_twice(world: World) -> None:
    await world.read(0, 4096)
    await world.read(4096, 4096)


def _lies() -> dict[str, bytes]:
    far = {f"layer.{i}": entry(i * EACH, (i + 1) * EACH) for i in range(5)}
    return {
        "a length behind the end": struct.pack("<Q", 2**40) + b"{",
        "a length without end": struct.pack("<Q", 2**64 - 1) + b"{",
        "no JSON": struct.pack("<Q", 500) + b"[" * 500,
        "deep JSON": safetensors(b'{"a":' + b"[" * 50_000),
        "tensors behind the end": safetensors({"t": entry(0, 2**50)}),
        "tensors that overlap": safetensors({**far, "t": entry(10, 3 * EACH)}),
        "one tensor of everything": safetensors({"t": entry(0, 11 * MIB)}),
        "a tensor a byte": safetensors({f"{i}": entry(i, i + 1) for i in range(3000)}),
        "other places than there are": safetensors({k: entry(i + 1, i + 2) for i, k in enumerate(far)}),
        "GGUF of nothing": b"GGUF" + bytes(100),
        "GGUF of everything": b"GGUF" + b"\xff" * 100,
        "GGUF without end": gguf([key(b"t", ARRAY, struct.pack("<IQ", STRING, 2**20) + b"\1" * 70_000)]),
        "GGUF with 2^63 keys": b"GGUF" + struct.pack("<IQQ", 3, 1, 2**63),
        "GGUF tensors at the end": gguf([], [tensor([2**40], F32, 11 * MIB)] * 50),
        "GGUF alignment of 2^31": gguf(
            [key(b"general.alignment", UINT32, struct.pack("<I", 2**31))], [tensor([9], F32, 0)]
        ),
    }


LIES = _lies()


@pytest.mark.parametrize("lie", one_soon(list(LIES)))
async def test_p2_a_read_is_right_whatever_the_header_says(tmp_path: Path, lie: str) -> None:
    data = LIES[lie] + NOISE[len(LIES[lie]) :]
    async with mounted(tmp_path, data) as world:
        for off, size in [
            (0, 4096),
            (4096, 4096),
            (0, 256 * KIB),
            (256 * KIB, 256 * KIB),
            (9 * MIB, 256 * KIB),
            (5 * MIB, 256 * KIB),
            (5 * MIB + 256 * KIB, 256 * KIB),
            (len(data) - 9000, 9000),
            (3 * MIB + 5, 4096),
        ]:
            await world.read(off, size)
            await quiet(world)
        assert world.source.bytes_asked <= len(data), "nothing twice"
        assert not world.fetcher.last_error
        await world.read(0, len(data))
        await world.sealed()
        assert world.source.bytes_asked == len(data)


def hostile_headers() -> dict[str, bytes]:
    """Headers that ask for all of a file, for more than there is, or for the same again and again."""
    huge = 2**63 - 1
    one = {f"t{i}": entry(0, EACH) for i in range(500)}
    return {
        "gguf, counts": b"GGUF\3\0\0\0" + struct.pack("<QQ", huge, huge),
        "gguf, an array without end": gguf([key(b"k", ARRAY, struct.pack("<IQ", STRING, huge))]),
        "gguf, strings of no length": gguf([key(b"k", ARRAY, struct.pack("<IQ", STRING, 4 * MIB))]),
        "gguf, arrays in arrays": gguf([key(b"k", ARRAY, struct.pack("<IQ", ARRAY, huge) * 64)]),
        "gguf, tensors behind the end": gguf([], [tensor([huge >> 8], F32, number << 40) for number in range(7)]),
        "gguf, one tensor often": gguf([], [tensor([EACH // 4], F32, 0) for _ in range(500)]),
        "safetensors, a length": (1 << 62).to_bytes(8, "little"),
        "safetensors, the longest": (31 << 20).to_bytes(8, "little") + b"{",
        "safetensors, one extent often": safetensors(one),
        "safetensors, extents backwards": safetensors({"a": entry(EACH, 0), "b": entry(-5, 2**64)}),
        "safetensors, extents in a circle": safetensors({"a": entry(0, 100), "b": entry(50, 200), "c": entry(150, 50)}),
    }


@pytest.mark.parametrize("name", one_soon(list(hostile_headers())))
async def test_p10_a_hostile_header_costs_its_limit_at_most_and_no_read_its_bytes(tmp_path: Path, name: str) -> None:
    """It says where tensors are, as a hint: what one page of the file causes ends, far from all of the file."""
    data = hostile_headers()[name].ljust(40 * MIB, b"\0")
    settings = {**SETTINGS, "chunk_size": MIB, "span_size": 4 * MIB}
    async with running(tmp_path, data, **settings) as world:  # type: ignore[arg-type]  # settings by name
        await world.read(0, 4096)
        await quiet(world)
        await world.read(20 * MIB, 4096)
        await quiet(world)
        assert world.source.bytes_asked <= MAX_HEADER + 4 * MIB
        assert len(world.source.asked) == len(set(world.source.asked)), "nothing is asked for twice"


async def test_one_tensor_of_a_file_in_an_archive_fetches_that_tensor_and_the_headers(tmp_path: Path) -> None:
    """The formats say where a tensor is from the beginning of its file, which is not that of the archive."""
    data = safetensors_file()
    before = NOISE[: 5 * MIB + 512]
    async with mounted(tmp_path, before + data + NOISE[:MIB]) as world:
        world.fetch.tell_files((range(len(before)), range(len(before), len(before) + len(data))))
        await world.read(len(before) + 4 * MIB, 128 * KIB)
        await quiet(world)
        assert tensors_known(world)
        header = Chunk(len(before) // CHUNK * CHUNK, len(before) // CHUNK * CHUNK + CHUNK - 1)
        assert header in world.source.asked
        await world.read(len(before) + 4 * MIB + 128 * KIB, 128 * KIB)
        await quiet(world)
        first = len(data) - 7 * EACH + 2 * EACH  # the third tensor, where 4 MiB are
        touched = range((len(before) + first) // CHUNK, -(-(len(before) + first + EACH) // CHUNK))
        assert {chunk.start // CHUNK for chunk in world.source.asked} == {header.start // CHUNK, *touched}
