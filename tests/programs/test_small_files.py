"""A program that walks a model reads dozens of small files, one after the other, from a server that answers slowly."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from fusefs.prefetch.siblings import MOST_FILES
from tests.faulty_registry import FaultyRegistry
from tests.modes import without
from tests.patience import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.programs.world import World

pytestmark = pytest.mark.reads

MODEL = "library/tokenizer:latest"
WITHOUT = without("siblings")


def tree(count: int) -> dict[str, bytes]:
    """Small files in three folders."""
    return {f"part-{i % 3}/{i:03}.json": json.dumps({"file": i}).encode() for i in range(count)}


def walk(top: Path) -> dict[str, bytes]:
    """Every file, as `os.walk` finds them and a program reads them."""
    found = {}
    for folder, folders, names in os.walk(top):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, top)] = file.read()
    return found


def asked_for(registry: FaultyRegistry) -> list[str]:
    """Digests of the blobs of which bytes were asked for, in order."""
    return [request.path.rpartition("/")[2] for request in registry.requests if "/blobs/" in request.path]


def test_the_next_files_are_asked_for_before_the_first_one_is_answered(world: World) -> None:
    files = tree(24)
    with FaultyRegistry() as registry:
        model = registry.add_model(MODEL, files, config=None)
        in_order = [str(model.blobs[path].digest) for path in sorted(files)]

        def the_next_is_asked_for() -> None:
            eventually("the next file is asked for", lambda: in_order[1] in asked_for(registry))

        registry.fault("act", in_order[0], act=the_next_is_asked_for)
        with world.mount(str(model.name)) as mounted:
            assert walk(mounted.path) == {**files, "manifest.json": model.manifest}
            mounted.wait_sealed()
        assert sorted(asked_for(registry)) == sorted(in_order), "each is asked for once"


@pytest.mark.slow
@pytest.mark.parametrize(("env", "most"), [({}, 1 + MOST_FILES), (WITHOUT, 1)])
def test_one_small_file_that_is_read_brings_a_window_and_nothing_without_the_policy(
    env: dict[str, str], most: int, world: World
) -> None:
    files = tree(200)
    with FaultyRegistry() as registry:
        model = registry.add_model(MODEL, files, config=None)
        with world.mount(str(model.name), env=env) as mounted:
            first = sorted(files)[0]
            assert (mounted.path / first).read_bytes() == files[first]
            eventually("a window came", lambda: len(asked_for(registry)) == most)
            eventually("nothing is on its way", lambda: not mounted.status()["in_flight"])
            assert len(asked_for(registry)) == most
