"""kill -9 at a random moment, again and again, on one cache directory: every byte right, nothing fetched twice."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.place import Place
from tests.components import FUSEFS
from tests.faults.paced import PacedRegistry
from tests.faults.processes import MIB, Reader, kill, killable, marked
from tests.patience import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.programs.world import World


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [5, 50])
def test_p5_kill_of_the_daemon_amid_cold_reads_loses_and_repeats_nothing(
    world: World, large: bytes, rounds: int, record_property: Callable[[str, object], None]
) -> None:
    """A chunk that was marked before a kill is never asked for again, and no reader ever sees a wrong byte."""
    dice = random.Random(rounds)
    cache = world.root / "cache"
    sent_in_vain = 0
    with PacedRegistry(large) as registry, killable(world, registry, cache) as mount:
        for number in range(rounds):
            before = marked(cache, registry)
            quota = dice.randrange(3 * MIB)
            registry.begin(quota)
            pid = mount.mount()
            # Every other reader begins in the middle, so that present and absent chunks alternate.
            reader = Reader(mount.path / "model.gguf", large, dice.randrange(60) if number % 2 else 0)
            reader.start()
            registry.wait_asked()
            registry.wait_sent(min(quota, dice.randrange(3 * MIB)) - (1 << 16))
            kill(pid)
            reader.join(30)
            assert reader.wrong == []
            assert reader.failed in (errno.ENOTCONN, errno.ECONNABORTED), os.strerror(reader.failed)
            mount.umount()
            asked = registry.asked_chunks()
            sent = registry.sent
            registry.forget_clients()
            assert before <= marked(cache, registry), "a kill loses no mark"
            assert not before.intersection(asked), "what was present is not asked for again"
            assert len(asked) == len(set(asked)), "nothing failed, so nothing is asked for twice"
            sent_in_vain += sent
            sent_in_vain -= sum(registry.chunks[i].size for i in marked(cache, registry) - before)
            assert sent_in_vain >= 0, "nothing is marked that was not sent"
        before = marked(cache, registry)
        assert before, "the kills came too early for the test to mean anything"
        registry.begin()
        mount.mount()
        reader = Reader(mount.path / "model.gguf", large)
        reader.run()
        assert (reader.failed, reader.wrong) == (0, [])
        assert sorted(registry.asked_chunks()) == sorted(set(range(len(registry.chunks))) - before)
        sealed = Place(cache, registry.blob.digest).sealed
        eventually("sealed", sealed.exists)
        mount.umount()
        assert sealed.read_bytes() == large
    _record(record_property, rounds, 2 * len(large))


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [5, 50])
def test_p5_kill_of_a_pull_loses_and_repeats_nothing(
    world: World, large: bytes, rounds: int, record_property: Callable[[str, object], None]
) -> None:
    dice = random.Random(rounds)
    cache = world.root / "cache"
    with PacedRegistry(large) as registry:
        command = [*FUSEFS, "pull", registry.name, "--cache-dir", str(cache)]
        for _ in range(rounds):
            before = marked(cache, registry)
            quota = dice.randrange(1 << 16, 3 * MIB)
            registry.begin(quota)
            with subprocess.Popen(command, env=world.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as pull:
                registry.wait_asked()
                registry.wait_sent(dice.randrange(quota) - (1 << 16))
                pull.kill()
            asked = registry.asked_chunks()
            registry.forget_clients()
            assert before <= marked(cache, registry)
            assert not before.intersection(asked), "what was present is not asked for again"
            assert len(asked) == len(set(asked))
        before = marked(cache, registry)
        registry.begin()
        world.fusefs("pull", registry.name, "--cache-dir", cache)
        assert sorted(registry.asked_chunks()) == sorted(set(range(len(registry.chunks))) - before)
        assert Place(cache, registry.blob.digest).sealed.read_bytes() == large
    _record(record_property, rounds, len(large))


def _record(record_property: Callable[[str, object], None], rounds: int, compared: int) -> None:
    """For the report, when all of it held."""
    record_property("faults.rounds", rounds)
    record_property("faults.injected", rounds)
    record_property("faults.bytes_compared", compared)
    record_property("faults.bytes_wrong", 0)
    record_property("faults.bytes_refetched", 0)


@pytest.mark.slow
def test_p11_after_a_kill_readers_get_an_error_and_umount_cleans_up(world: World, large: bytes) -> None:
    """ENOTCONN for who reads, SIGBUS for who has it mapped, never an empty folder; then a new mount works."""
    touch = """
import mmap, sys
with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
    mapped[0]
    print("mapped", flush=True)
    sys.stdin.read()
    mapped[64 << 20]
"""
    with PacedRegistry(large) as registry, killable(world, registry, world.root / "cache") as mount:
        pid = mount.mount()
        model = mount.path / "model.gguf"
        command = [sys.executable, "-c", touch, str(model)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as mapper:
            assert mapper.stdout is not None
            assert mapper.stdout.readline() == b"mapped\n"
            registry.begin(0)
            reader = Reader(model, large, 30)
            reader.start()
            registry.wait_asked()
            kill(pid)
            mapper.communicate(timeout=30)
            reader.join(30)
        assert mapper.returncode == -signal.SIGBUS
        assert reader.failed in (errno.ENOTCONN, errno.ECONNABORTED)
        for look in (os.listdir, os.statvfs):  # what the kernel has cached, such as stat of the root, it may still say
            with pytest.raises(OSError) as caught:
                pytest.fail(f"{look.__name__} gave {look(mount.path)}")
            assert caught.value.errno == errno.ENOTCONN
        mount.umount()
        registry.begin()
        mount.mount()
        reader = Reader(model, large)
        reader.run()
        assert (reader.failed, reader.wrong) == (0, [])
        mount.umount()
