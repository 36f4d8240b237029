"""P9: several real processes on one cache directory."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.place import Place
from tests.components import FUSEFS
from tests.faults.paced import PacedRegistry
from tests.faults.processes import MIB, Reader, kill, killable, marked
from tests.patience import eventually

if TYPE_CHECKING:
    from tests.programs.world import World


@pytest.mark.slow
def test_p9_two_mounts_and_a_pull_fetch_each_chunk_once_in_all(world: World, large: bytes) -> None:
    cache = world.root / "cache"
    with PacedRegistry(large) as registry, ExitStack() as stack:
        mounts = [stack.enter_context(world.mount(registry.name, cache=cache)) for _ in range(2)]
        registry.begin(0)
        readers = [
            Reader(mount.path / "model.gguf", large, start) for mount, start in zip(mounts, (0, 30), strict=True)
        ]
        for reader in readers:
            reader.start()
        command = [*FUSEFS, "pull", registry.name, "--cache-dir", str(cache)]
        with subprocess.Popen(command, env=world.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as pull:
            registry.wait_asked(3)  # all of them are at it
            registry.more()
            said, _ = pull.communicate(timeout=60)
            assert pull.returncode == 0, said.decode()
        for reader in readers:
            reader.join(60)
            assert (reader.failed, reader.wrong) == (0, [])
        assert sorted(registry.asked_chunks()) == list(range(len(registry.chunks)))
        assert registry.sent == len(large)
        for mount in mounts:
            mount.wait_sealed("model.gguf")


@pytest.mark.slow
def test_p9_a_process_that_is_killed_amid_a_chunk_blocks_nobody(world: World, large: bytes) -> None:
    cache = world.root / "cache"
    with PacedRegistry(large) as registry, world.mount(registry.name, cache=cache) as survivor:
        with killable(world, registry, cache) as victim:
            pid = victim.mount()
            registry.begin(MIB // 2)
            first = Reader(victim.path / "model.gguf", large, 5)
            first.start()
            registry.wait_asked()
            second = Reader(survivor.path / "model.gguf", large, 5)  # wants what the other one is at
            second.start()
            registry.wait_sent(MIB // 2 - (1 << 16))
            kill(pid)
            first.join(30)
            assert first.failed
            assert first.wrong == []
            registry.more()
            second.join(60)
            assert (second.failed, second.wrong) == (0, [])
            victim.umount()
        asked = registry.asked_chunks()
        assert len(asked) - len(set(asked)) <= 8, "at most what the killed one had in flight is asked for again"


@pytest.mark.slow
def test_p9_verify_beside_a_live_mount_drops_what_is_wrong_and_disturbs_nobody(world: World, large: bytes) -> None:
    cache = world.root / "cache"
    with PacedRegistry(large) as registry, world.mount(registry.name, cache=cache) as mount:
        with open(mount.path / "model.gguf", "rb") as file:
            assert os.pread(file.fileno(), 3 * MIB, 0) == large[: 3 * MIB]
        eventually("no request is under way", lambda: mount.status()["in_flight"] == 0)
        present = marked(cache, registry)
        place = Place(cache, registry.blob.digest)
        with open(place.data, "r+b") as data:
            data.seek(MIB + 5)
            data.write(b"wrong")
        report = world.fusefs("verify", "--cache-dir", cache, "--json", code=1).stdout
        assert str(registry.blob.digest) in report
        assert marked(cache, registry) == present - {1}
        with open(mount.path / "model.gguf", "rb") as file:  # the kernel still has the right bytes in its pages
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        registry.begin()
        reader = Reader(mount.path / "model.gguf", large)
        reader.run()
        assert (reader.failed, reader.wrong) == (0, [])
        assert sorted(registry.asked_chunks()) == sorted(set(range(len(registry.chunks))) - (present - {1}))
        mount.wait_sealed("model.gguf")
        assert place.sealed.read_bytes() == large
        world.fusefs("verify", "--cache-dir", cache)


@pytest.mark.slow
def test_p4_what_verify_has_dropped_is_not_sealed_by_a_mount_that_had_hashed_it(world: World, large: bytes) -> None:
    """The running hash has seen the right bytes; the disk has other ones by now."""
    cache = world.root / "cache"
    with PacedRegistry(large) as registry, world.mount(registry.name, cache=cache) as mount:
        model = mount.path / "model.gguf"
        with open(model, "rb") as file:
            assert os.pread(file.fileno(), 3 * MIB, 0) == large[: 3 * MIB]
            place = Place(cache, registry.blob.digest)
            with open(place.data, "r+b") as data:
                data.seek(MIB + 5)
                data.write(b"wrong")
            world.fusefs("verify", "--cache-dir", cache, code=1)
            assert os.pread(file.fileno(), len(large), 0) == large, "chunk 1 comes out of the kernel's pages"
            eventually("all else is present", lambda: len(marked(cache, registry)) >= len(registry.chunks) - 1)
            eventually("no request is under way", lambda: mount.status()["in_flight"] == 0)
            assert not place.sealed.exists() or place.sealed.read_bytes() == large
