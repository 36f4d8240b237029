"""A registry's word counts for its own models: not for another's, not over another scheme, not by way of another host.

Real servers, the real HTTP client, fetcher and cache.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from fusefs.artifacts.manifest import Manifest
from fusefs.artifacts.snapshots import snapshot_of
from fusefs.cache.disk import DiskCache
from fusefs.engine.forecast import Forecast
from fusefs.fetch.fetcher import Fetcher
from fusefs.sources.bound import BoundSource
from fusefs.sources.order import open_sources
from fusefs.values.counters import Counters
from fusefs.values.voucher import Proof, Voucher, registry_of
from tests.faults.test_mirrors import model_of
from tests.faults.test_servers import CHUNK, DATA, list_of
from tests.faults.wired import SETTINGS, wired
from tests.faulty_registry import FaultyRegistry
from tests.world import some_bytes, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusefs.values.chunks import Blob

LIE = some_bytes(len(DATA), seed=99)
LISTS = "/chunksums/"


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as made:
        yield made


@pytest.fixture
def evil() -> Iterator[FaultyRegistry]:
    """Another registry, whose model names the same blob: with other bytes, and a list that fits them."""
    with FaultyRegistry() as made:
        yield made


def lie(registry: FaultyRegistry, blob: Blob) -> None:
    registry._blobs[blob.digest] = LIE
    registry.set_chunksums(blob.digest, list_of(LIE))


async def test_p1_what_another_registry_told_the_cache_does_not_decide(
    tmp_path: Path, registry: FaultyRegistry, evil: FaultyRegistry
) -> None:
    model, others = model_of(registry), model_of(evil)
    blob = model.blobs["model.gguf"]
    lie(evil, blob)
    async with wired(tmp_path, others.name, blob, DATA) as world:
        assert bytes(await world.file.read(0, 10)) == LIE[:10], "what its own tag means is its own word"
    async with wired(tmp_path, model.name, blob, DATA) as world:
        await world.read(0, 10)
        await world.read()


@pytest.mark.logs("does not match its digest|is blocked for|list lied|quarantine")
@pytest.mark.parametrize("first", ["registry", "evil"])
@pytest.mark.parametrize("lists", [None, "registry"])
async def test_p1_in_one_mount_neither_registry_decides_over_a_blob_that_both_have(
    tmp_path: Path, registry: FaultyRegistry, evil: FaultyRegistry, first: str, lists: str | None
) -> None:
    model, others = model_of(registry), model_of(evil)
    blob = model.blobs["model.gguf"]
    lie(evil, blob)
    one, two = (model, others) if first == "registry" else (others, model)
    settings = replace(SETTINGS)
    sources = open_sources(two.name, stores=(), settings=settings, counters=Counters())
    async with wired(tmp_path, one.name, blob, DATA, lists=lists) as world:
        world.fetch.add_origin(BoundSource(sources[0], two.name))
        await world.read(0, 10)
        await world.read()
    for source in sources:
        source.close()


async def test_p9_an_equal_list_of_the_other_registry_has_nothing_fetched_twice(
    tmp_path: Path, registry: FaultyRegistry, evil: FaultyRegistry
) -> None:
    model, others = model_of(registry), model_of(evil)
    blob = model.blobs["model.gguf"]
    async with wired(tmp_path, others.name, blob, DATA) as world:
        await world.read(0, 3 * CHUNK)
        had = len(DATA) - evil.sent(blob.digest).count(0)
    async with wired(tmp_path, model.name, blob, DATA) as world:
        await world.read(0, 10)
        assert DiskCache.open(tmp_path).voucher(blob) == Voucher(Proof.REGISTRY, registry_of(model.name))
        await world.read()
        await until(lambda: world.file.state == "sealed")
    assert len(DATA) - registry.sent(blob.digest).count(0) <= len(DATA) - had + CHUNK
    assert DiskCache.open(tmp_path).voucher(blob).proof == Proof.BOUND


@pytest.mark.logs("is another host's, and not used")
async def test_p1_a_host_that_sends_us_back_has_chosen_the_list(
    tmp_path: Path, registry: FaultyRegistry, evil: FaultyRegistry
) -> None:
    """What it sends us back to may be anybody's: a blob that he has pushed there, say."""
    model = model_of(registry)
    blob = model.blobs["model.gguf"]
    pushed = registry.add_blob(list_of(LIE))
    registry.fault("redirect", LISTS, times=None, to=f"{evil.url}/away")
    evil.fault("redirect", "/away", times=None, to=f"{registry.url}/v2/library/m/blobs/{pushed.digest}")
    async with wired(tmp_path, model.name, blob, DATA) as world:
        await world.read(0, 10)


def test_p10_what_came_in_the_clear_is_not_the_word_of_the_host_over_tls(registry: FaultyRegistry) -> None:
    clear = model_of(registry).name
    safe = replace(clear, scheme="https")
    counters = Counters()
    words = [open_sources(name, stores=(), settings=SETTINGS, counters=counters)[-1] for name in (clear, safe)]
    vouchers = {word.voucher for word in words}  # type: ignore[attr-defined]  # of Retrying, which Source hides
    assert len(vouchers) == 2


@pytest.mark.logs("is read whole before")
async def test_the_one_line_names_the_way_out_that_there_is(
    tmp_path: Path, registry: FaultyRegistry, evil: FaultyRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """`--lists registry` would not help where models of two registries have the blob."""
    model, others = model_of(registry), model_of(evil)
    fetcher = Fetcher(DiskCache.open(tmp_path), SETTINGS, Counters())
    for made in (model, others):
        for source in open_sources(made.name, stores=(), settings=SETTINGS, counters=fetcher.counters):
            fetcher.track(model.blobs["model.gguf"]).add_origin(BoundSource(source, made.name))
    snapshot = snapshot_of(model.name, Manifest.parse(model.manifest), 0)
    forecast = Forecast(fetcher, [snapshot], SETTINGS, {model.blobs["model.gguf"].digest: "model.gguf"})
    await forecast.look(trio.Event())
    assert f"model.gguf ({len(DATA) / 1024:.1f} KiB) is read whole before its first byte is served" in caplog.text
    assert "mount those apart" in caplog.text
    assert "--lists" not in caplog.text
    fetcher.close()
