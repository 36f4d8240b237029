"""Forecast: what is said of files that will be read whole, and what that costs in requests."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from fusefs.artifacts.manifest import Manifest
from fusefs.engine.engine import Engine
from fusefs.engine.forecast import Forecast
from fusefs.engine.models import labels_of
from fusefs.engine.options import PullOptions
from fusefs.fetch.fetcher import Fetcher
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from fusefs.values.settings import Settings
from tests.faulty_registry import MODEL_TYPE, FaultyRegistry
from tests.world import some_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fusefs.fetch.blobfetch import BlobFetch

SETTINGS = Settings(timeout=10, stall=5, single_chunk_limit=1000, unlisted_chunk_size=500)
FILES = {f"{number}.gguf": some_bytes(5000 + number, seed=number) for number in range(5)} | {"small": b"small"}


@asynccontextmanager
async def forecast(root: Path, name: Name, settings: Settings = SETTINGS) -> AsyncIterator[tuple[Engine, Forecast]]:
    """The forecast of one model, looked at."""
    async with Engine.running(PullOptions((name,), root / "cache", (), settings)) as engine:
        models = await engine.resolve((name,))
        engine.offer(models)
        made = Forecast(engine.fetcher, models, settings, labels_of(models))
        await made.look(trio.Event())
        yield engine, made


@pytest.mark.logs("read whole before")
async def test_without_lists_one_line_says_which_how_large_and_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with FaultyRegistry(chunksums=False) as registry:
        model = registry.add_model("library/m:latest", FILES)
        async with forecast(tmp_path, model.name) as (engine, made):
            (line,) = made.lines()
            assert line == (
                f"{model.name}: 4.gguf (4.9 KiB), 3.gguf (4.9 KiB), 2.gguf (4.9 KiB) and 2 more, 24.4 KiB in all, are "
                f"read whole before their first byte is served; it has no chunk list: `fusefs publish {model.name}` "
                "puts one beside the model"
            )
            assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [line]
            await engine.fetcher.complete(engine.fetcher.track(model.blobs["4.gguf"]))
            assert "4.gguf" not in made.lines()[0], "what is here is not fetched any more"


async def test_with_lists_nothing_is_said_and_no_list_is_asked_for_twice(tmp_path: Path) -> None:
    with FaultyRegistry() as registry:
        model = registry.add_model("library/m:latest", FILES, chunk_size=700)
        async with forecast(tmp_path, model.name) as (engine, made):
            assert made.lines() == []
            for blob in model.blobs.values():
                await engine.fetcher.open(engine.fetcher.track(blob))
        assert sum("/chunksums/" in path for path in registry.paths()) == len(FILES) - 1


@pytest.mark.parametrize("unproved", ["allow", "refuse"])
async def test_another_rule_foretells_nothing_and_asks_nobody(tmp_path: Path, unproved: str) -> None:
    with FaultyRegistry(chunksums=False) as registry:
        model = registry.add_model("library/m:latest", FILES)
        settings = replace(SETTINGS, unproved="allow" if unproved == "allow" else "refuse")
        async with forecast(tmp_path, model.name, settings) as (_, made):
            assert made.lines() == []
        assert len(registry.paths()) == 1


@pytest.mark.logs("read whole before")
async def test_of_a_name_with_a_digest_the_line_names_its_way_out(tmp_path: Path) -> None:
    with FaultyRegistry() as registry:
        model = registry.add_model("library/m:latest", FILES, chunk_size=700)
        name = model.name.pinned(Manifest.parse(model.manifest).digest)
        async with forecast(tmp_path, name) as (_, made):
            assert "--lists registry" in made.lines()[0]
            assert f"fusefs lock {name}" in made.lines()[0]
        assert not any("/chunksums/" in path for path in registry.paths())


@pytest.mark.logs("read whole before")
async def test_a_list_that_another_registry_has_left_in_the_cache_is_no_reason_to_say_nothing(tmp_path: Path) -> None:
    with FaultyRegistry() as first, FaultyRegistry(chunksums=False) as second:
        other = first.add_model("library/m:latest", {"a.gguf": FILES["0.gguf"]}, chunk_size=700)
        async with forecast(tmp_path, other.name) as (engine, made):
            assert made.lines() == []
            fetch = engine.fetcher.track(other.blobs["a.gguf"])
            await engine.fetcher.ensure(fetch, await engine.fetcher.open(fetch), [0], trio.CancelScope())
        model = second.add_model("library/m:latest", {"a.gguf": FILES["0.gguf"]})
        async with forecast(tmp_path, model.name) as (_, made):
            assert "a.gguf (4.9 KiB) is read whole" in made.lines()[0]


@pytest.mark.parametrize(("size", "most"), [(1 << 30, 4), (1 << 40, 1)])
async def test_p10_of_long_lists_one_is_asked_for_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, most: int
) -> None:
    """Each may take 96 MiB of the 256 for all, and readers need some of those, too."""
    seen: list[int] = []
    active = 0

    async def foresee(self: Fetcher, fetch: BlobFetch) -> None:
        nonlocal active
        active += 1
        await trio.testing.wait_all_tasks_blocked()
        seen.append(active)
        active -= 1

    monkeypatch.setattr(Fetcher, "foresee", foresee)
    layers = [
        {"mediaType": MODEL_TYPE, "digest": str(Digest.of(b"%d" % i)), "size": size, "name": f"{i}.bin"}
        for i in range(6)
    ]
    with FaultyRegistry() as registry:
        registry.add_manifest("library/m:latest", json.dumps({"schemaVersion": 2, "layers": layers}).encode())
        async with forecast(tmp_path, Name.parse(f"{registry.url}/library/m:latest")):
            pass
    assert len(seen) == len(layers)
    assert max(seen) == most
