"""A source that ignores Range answers each request with all of the blob: it is taken in one stream, and only once."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from fusefs.engine.pool import SourcePool
from fusefs.values.chunks import Blob, Chunk, ChunkList
from fusefs.values.counters import Counters
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from fusefs.values.settings import Settings
from tests.faults.wired import wired
from tests.faulty_registry import FaultyRegistry
from tests.loopback_server import LoopbackServer
from tests.world import some_bytes, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

    from tests.faults.wired import Wired
    from tests.faulty_registry import Model

pytestmark = pytest.mark.logs("ignores Range")

CHUNK = 1000
DATA = some_bytes(40 * CHUNK + 7)
PATIENT = {"timeout": 60.0, "stall": 30.0, "single_chunk_limit": CHUNK}


@pytest.fixture(params=["listed", "listless"])
def registry(request: pytest.FixtureRequest) -> Iterator[FaultyRegistry]:
    with FaultyRegistry(ranges=False, chunksums=request.param == "listed") as registry:
        yield registry


@pytest.fixture
def listed() -> Iterator[FaultyRegistry]:
    with FaultyRegistry(ranges=False) as registry:
        yield registry


def model_of(registry: FaultyRegistry, *more: bytes) -> Model:
    files = {"model.gguf": DATA} | {f"{number}.bin": data for number, data in enumerate(more)}
    return registry.add_model("library/m:latest", files, chunk_size=CHUNK)


def blob_of(model: Model) -> Blob:
    return model.blobs["model.gguf"]


async def read_each(world: Wired, offs: range) -> None:
    async with trio.open_nursery() as nursery:
        for off in offs:
            nursery.start_soon(world.read, off, min(CHUNK, len(DATA) - off))


async def test_all_of_a_blob_arrives_although_range_is_ignored(tmp_path: Path, registry: FaultyRegistry) -> None:
    model = model_of(registry)
    async with wired(tmp_path, model.name, blob_of(model), DATA, **PATIENT) as world:
        await world.read()
        await until(lambda: world.file.state == "sealed")
        assert world.counters.snapshot()["chunks_rejected"] == 0


async def test_one_stream_serves_all_readers_however_many_have_asked(tmp_path: Path, registry: FaultyRegistry) -> None:
    """Each of the workers that started has been given all of the blob; one goes on with that, the others let go."""
    model = model_of(registry)
    async with wired(tmp_path, model.name, blob_of(model), DATA, **PATIENT) as world:
        await read_each(world, range(0, len(DATA), CHUNK))
        assert world.counters.snapshot()["bytes_fetched"] == len(DATA), "no chunk was taken twice"
    assert len(registry.asked(blob_of(model).digest)) <= 4, "one for each worker that had started"


async def test_a_host_that_is_known_to_ignore_range_is_asked_once_a_blob(
    tmp_path: Path, listed: FaultyRegistry
) -> None:
    other = some_bytes(len(DATA), seed=2)
    model = model_of(listed, other)
    async with wired(tmp_path, model.name, blob_of(model), DATA, **PATIENT) as world:
        await world.read(0, 1)
        await world.read()
        fetch = world.fetcher.track(model.blobs["0.bin"])
        for origin in world.fetch.origins:
            fetch.add_origin(origin)
        await world.fetcher.complete(fetch)
    assert len(listed.asked(model.blobs["0.bin"].digest)) == 1


@pytest.mark.parametrize("ending", ["reset-amid", "short-body"])
async def test_a_stream_that_is_cut_goes_on_and_takes_no_chunk_twice(
    tmp_path: Path, registry: FaultyRegistry, ending: str
) -> None:
    model = model_of(registry)
    for at in (CHUNK // 2, 12 * CHUNK + 1, 5 * CHUNK, 33 * CHUNK):
        registry.fault(ending, f"/blobs/{blob_of(model).digest}", at=at)  # type: ignore[arg-type]  # two of the kinds
    async with wired(tmp_path, model.name, blob_of(model), DATA, **PATIENT) as world:
        await world.read(len(DATA) - 1, 1)
        await world.read()
        counted = world.counters.snapshot()
    assert counted["bytes_fetched"] == len(DATA)
    assert counted["chunks_verified"] + counted["chunks_unproved"] == 41


async def test_reads_are_answered_as_the_stream_passes(tmp_path: Path, listed: FaultyRegistry) -> None:
    """The server stops half way: the front can be read, the end is waited for, and who comes later joins."""
    model = model_of(listed)
    listed.fault("silence-amid", f"/blobs/{blob_of(model).digest}", at=20 * CHUNK + 5)
    async with (
        wired(tmp_path, model.name, blob_of(model), DATA, connections=1, **PATIENT) as world,
        trio.open_nursery() as nursery,
    ):
        last = trio.Event()

        async def read_last() -> None:
            await world.read(len(DATA) - 1, 1)
            last.set()

        nursery.start_soon(read_last)
        await world.read(0, 20 * CHUNK)
        await read_each(world, range(0, 20 * CHUNK, CHUNK))
        assert not last.is_set()
        nursery.start_soon(world.read, 30 * CHUNK, CHUNK)
        listed.release()
        await last.wait()
    assert len(listed.asked(blob_of(model).digest)) <= 2, "the stream, and its rest after the server had cut it"


async def test_p5_the_next_mount_skips_what_is_here(tmp_path: Path, listed: FaultyRegistry) -> None:
    model = model_of(listed)
    listed.fault("silence-amid", f"/blobs/{blob_of(model).digest}", at=20 * CHUNK + 5)
    async with wired(tmp_path, model.name, blob_of(model), DATA, connections=1, **PATIENT) as world:
        await world.read(0, 20 * CHUNK)
    listed.release()
    async with wired(tmp_path, model.name, blob_of(model), DATA, **PATIENT) as world:
        await world.read(len(DATA) - 1, 1)
        await world.read()
        assert world.counters.snapshot()["chunks_verified"] == 21


@pytest.mark.logs("ignores Range|does not match its digest")
async def test_p1_a_wrong_chunk_in_the_stream_is_asked_for_again(tmp_path: Path, listed: FaultyRegistry) -> None:
    model = model_of(listed)
    listed.fault("flipped-bit", f"/blobs/{blob_of(model).digest}", at=7 * CHUNK + 3)
    async with wired(tmp_path, model.name, blob_of(model), DATA, connections=3, **PATIENT) as world:
        await world.read(0, CHUNK)
        await world.read()
        counted = world.counters.snapshot()
    assert counted["chunks_verified"] == 41
    assert counted["chunks_rejected"] == 1


@contextmanager
def pausing(data: bytes, size: int, pause: float) -> Iterator[tuple[Name, Blob]]:
    """A registry that ignores Range, and pauses before each `size` bytes, which are also the chunks of its list."""
    text = "".join(f"{Digest.of(data[c.start : c.stop])} {c}\n" for c in ChunkList.uniform(len(data), size)).encode()

    def handle(handler: BaseHTTPRequestHandler) -> None:
        body = text if "/chunksums/" in handler.path else data
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        for off in range(0, len(body), size):
            time.sleep(pause)
            handler.wfile.write(body[off : off + size])
            handler.wfile.flush()

    server = LoopbackServer(handle)
    server.start()
    try:
        yield Name.parse(f"http://127.0.0.1:{server.port}/library/m:latest"), Blob(Digest.of(data), len(data))
    finally:
        server.stop()


@pytest.mark.slow
async def test_p6_a_stream_that_takes_longer_than_the_timeout_is_waited_for(tmp_path: Path) -> None:
    size, data = 128 << 10, some_bytes(40 * 128 << 10)
    changes = {"timeout": 3.0, "stall": 2.0, "single_chunk_limit": size, "connections": 1}
    with pausing(data, size, 0.15) as (name, blob):
        async with wired(tmp_path, name, blob, data, **changes) as world:
            await world.read(len(data) - 1, 1)
            assert world.counters.snapshot()["retries"] == 0, "one answer, however long it takes"


async def test_p8_a_full_disk_is_no_error_for_who_reads_along(tmp_path: Path, listed: FaultyRegistry) -> None:
    model = model_of(listed)
    async with wired(tmp_path, model.name, blob_of(model), DATA, cache_size=10 * CHUNK, **PATIENT) as world:
        for off in range(0, len(DATA), CHUNK):
            await world.read(off, min(CHUNK, len(DATA) - off))


def test_status_says_who_ignores_range_until_everything_is_looked_at_anew(listed: FaultyRegistry) -> None:
    model = model_of(listed)
    with closing(SourcePool((), Settings(timeout=20), Counters())) as pool:
        (source,) = pool.of(model.name)
        source.open_range(model.name, blob_of(model), Chunk(0, 9)).close()
        assert [state.ignores_range for state in pool.states()] == [True]
        pool.refresh()
        assert [state.ignores_range for state in pool.states()] == [False]
