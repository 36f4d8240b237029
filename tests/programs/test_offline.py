"""After everything was read, the cache directory alone is enough: mounted again, as a store, and as Ollama's own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.components import fusefs_serve
from tests.programs.world import World, ollama_manifests, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.reads

OFFLINE = ("--timeout", "2")
"""Seconds the server that has ended is asked for a manifest, before the cached one is used."""


@pytest.fixture(scope="module")
def filled(models: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The base of the names of a server that has ended, and a cache with everything of `tree` and `minilm`."""
    world = World(tmp_path_factory.mktemp("filled"))
    cache = world.root / "cache"
    with fusefs_serve(models, "--hidden") as address:
        base = f"http://{address}/local"
        for name in ("tree", "minilm"):
            with world.mount(f"{base}/{name}:latest", cache=cache) as mounted:
                run("diff", "-r", mounted.path, models / name)
                mounted.wait_sealed()
    return base, cache


@pytest.mark.slow
@pytest.mark.parametrize("name", ["minilm", "tree"])
def test_p7_what_was_read_mounts_and_reads_without_the_network(
    name: str, world: World, filled: tuple[str, Path], models: Path
) -> None:
    base, cache = filled
    with world.mount(f"{base}/{name}:latest", cache=cache, options=OFFLINE, logs="cached") as mounted:
        run("diff", "-r", mounted.path, models / name)
        assert mounted.counter("bytes_fetched") == 0


@pytest.mark.slow
def test_p7_several_models_mount_without_the_network(world: World, filled: tuple[str, Path], models: Path) -> None:
    base, cache = filled
    sources = [f"{base}/{name}:latest" for name in ("tree", "minilm")]
    with world.mount(*sources, cache=cache, options=OFFLINE, logs="cached") as mounted:
        for name in ("tree", "minilm"):
            run("diff", "-r", mounted.path / name / "latest", models / name)


@pytest.mark.slow
def test_a_filled_cache_is_a_store_for_another_cache(world: World, filled: tuple[str, Path], models: Path) -> None:
    base, cache = filled
    before = run("find", cache, "-type", "f", "-printf", "%P %s %T@\n")
    with world.mount(f"{base}/minilm:latest", options=("--store", cache, *OFFLINE)) as mounted:
        assert mounted.cache != cache
        run("diff", "-r", mounted.path, models / "minilm")
        mounted.wait_sealed()
    assert run("find", cache, "-type", "f", "-printf", "%P %s %T@\n") == before, "a store is only read"


@pytest.mark.slow
def test_a_filled_cache_is_an_ollama_models_directory(filled: tuple[str, Path]) -> None:
    _, cache = filled
    documents = ollama_manifests(cache)
    assert sorted(path[1:] for path in documents) == [("local", "minilm", "latest"), ("local", "tree", "latest")]
    blobs = {path.name for path in (cache / "blobs").iterdir()}
    for document in documents.values():
        named = (document["config"], *document["layers"])  # an empty blob needs no file
        assert {layer["digest"].replace(":", "-") for layer in named if layer["size"]} <= blobs


@pytest.mark.slow
def test_p7_a_filled_cache_can_be_served_again(world: World, filled: tuple[str, Path], models: Path) -> None:
    """The cache of one machine is the registry of the next: for a mount, and whole for a pull."""
    _, cache = filled
    with fusefs_serve(cache, "--private") as address:  # a cache is closed to others
        with world.mount(f"http://{address}/local/minilm:latest") as mounted:
            run("diff", "-r", mounted.path, models / "minilm")
        run(
            sys.executable, "-m", "fusefs", "pull", f"http://{address}/local/tree", "--cache-dir", world.root / "second"
        )
