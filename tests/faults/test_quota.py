"""A cache that may not hold all of what is read, as programs on real mounts see it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.faults.paced import PacedRegistry
from tests.faults.processes import MIB, Reader, marked

if TYPE_CHECKING:
    from pathlib import Path

    from tests.programs.world import World

LIMIT = 24 * MIB
SLACK = 9 * MIB
"""A chunk for each worker that has just been allowed to write, and one for what was counted meanwhile."""


def used(cache: Path) -> int:
    """Bytes of blobs on disk."""
    files = [*cache.glob("partial/*/data"), *cache.glob("blobs/*")]
    return sum(file.stat().st_blocks * 512 for file in files)


def drop_pages(path: Path) -> None:
    """Have the next reads come from us again."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.mark.slow
def test_p2_a_model_larger_than_the_quota_is_read_right_by_many_at_once(world: World, large: bytes) -> None:
    with PacedRegistry(large) as registry:
        with world.mount(registry.name, options=("--cache-size", "24MiB", "--keep-free", "1")) as mount:
            for _ in range(2):
                readers = [Reader(mount.path / "model.gguf", large, start) for start in (0, 20, 40, 60)]
                for reader in readers:
                    reader.start()
                for reader in readers:
                    reader.join()
                    assert (reader.failed, reader.wrong) == (0, [])
                assert used(mount.cache) <= LIMIT + SLACK
                drop_pages(mount.path / "model.gguf")
            assert len(marked(mount.cache, registry)) >= 16, "the quota is used"
            assert mount.counter("bytes_evicted") > 60 * MIB
            assert " · evicted " in world.fusefs("status", mount.path).stdout
        again = registry.asked_chunks()
        with world.mount(registry.name, cache=mount.cache) as mount:
            kept = marked(mount.cache, registry)
            reader = Reader(mount.path / "model.gguf", large)
            reader.run()
            assert (reader.failed, reader.wrong) == (0, [])
        later = registry.asked_chunks()[len(again) :]
        assert not kept.intersection(later), "what had stayed was not fetched again"
        assert set(later) == set(range(len(registry.chunks))) - kept


@pytest.mark.slow
def test_p9_what_another_mount_reads_makes_no_room_and_what_nobody_reads_does(world: World, large: bytes) -> None:
    other = bytes(reversed(large))
    cache = world.root / "cache"
    limit = ("--cache-size", "70MiB", "--keep-free", "1")
    with PacedRegistry(large) as one, PacedRegistry(other) as two:
        with world.mount(one.name, cache=cache) as first:
            reader = Reader(first.path / "model.gguf", large)
            reader.run()
            first.wait_sealed()
            with world.mount(two.name, cache=cache, options=limit, logs="served from memory") as second:
                beside = Reader(second.path / "model.gguf", other)
                beside.run()
                assert (beside.failed, beside.wrong) == (0, [])
            assert marked(cache, one) == set(range(len(one.chunks))), "all of it is in use"
            drop_pages(first.path / "model.gguf")
            reader = Reader(first.path / "model.gguf", large)
            reader.run()
            assert (reader.failed, reader.wrong) == (0, [])
        with world.mount(two.name, cache=cache, options=limit) as second:
            beside = Reader(second.path / "model.gguf", other)
            beside.run()
            assert (beside.failed, beside.wrong) == (0, [])
            second.wait_sealed()
        assert len(marked(cache, one)) < 20
        assert used(cache) <= 70 * MIB + SLACK


@pytest.mark.slow
def test_a_pull_that_cannot_fit_says_so_before_it_begins(world: World, large: bytes) -> None:
    with PacedRegistry(large) as registry:
        said = world.fusefs("pull", registry.name, "--cache-size", "24MiB", code=1).stderr
        assert said.startswith("fusefs: error: ")
        assert "do not fit into --cache-size" in said
        assert said.count("\n") == 1
        assert registry.asked_chunks() == []


@pytest.mark.slow
def test_p4_a_pull_makes_room_of_what_is_old_and_not_of_what_it_pulls(world: World, large: bytes) -> None:
    other = bytes(reversed(large))
    cache = world.root / "xdg-cache" / "fusefs"
    with PacedRegistry(large) as one, PacedRegistry(other) as two:
        world.fusefs("pull", one.name)
        world.fusefs("pull", two.name, "--cache-size", "80MiB", "--keep-free", "1")
        assert (cache / "blobs" / two.blob.digest.file_name).read_bytes() == other
        assert not (cache / "blobs" / one.blob.digest.file_name).exists(), "what is not whole has no final name"
        assert 5 <= len(marked(cache, one)) <= 15
