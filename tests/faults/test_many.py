"""P9: many processes on one cache, some of them killed: each chunk is fetched once, and nobody waits for the dead."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.blob.verification import verify
from fusefs.cache.disk import DiskCache
from fusefs.cache.place import Place
from tests.faults.many import Many, kill
from tests.faults.paced import PacedRegistry
from tests.faults.processes import Reader
from tests.world import some_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.programs.world import World

    Record = Callable[[str, object], None]

DATA = some_bytes(8 << 20, seed=9)
CHUNK = 1 << 16


def _left_behind(cache: Path) -> list[Path]:
    """Temporary files that a later opening does not remove, once they are old enough to be nobody's."""
    before = time.time() - 120
    for path in (cache / "partial").glob(".tmp-*"):
        os.utime(path, (before, before))
    DiskCache.open(cache)
    return list((cache / "partial").glob(".tmp-*"))


@pytest.mark.parametrize(
    ("mounts", "pulls", "kills", "rounds"),
    [(3, 1, 2, 1), pytest.param(8, 4, 6, 8, marks=pytest.mark.slow)],
)
def test_p9_many_processes_with_kills_fetch_each_chunk_once(
    world: World, mounts: int, pulls: int, kills: int, rounds: int, record_property: Record
) -> None:
    again = 0
    for number in range(rounds):
        root = world.root / f"round{number}"
        root.mkdir()
        with PacedRegistry(DATA, chunk_size=CHUNK) as registry:
            many = Many(root, registry.name, world.env)
            try:
                again += _round(many, registry, mounts, pulls, kills, random.Random(number))
            finally:
                registry.more()
                many.end()
    record_property("faults.rounds", rounds)
    record_property("faults.injected", rounds * kills)
    record_property("faults.bytes_compared", rounds * (mounts + 1) * len(DATA))
    record_property("faults.bytes_refetched", again)
    record_property("faults.bytes_wrong", 0)


def _round(many: Many, registry: PacedRegistry, mounts: int, pulls: int, kills: int, dice: random.Random) -> int:
    """One cache from empty to sealed; how many bytes were fetched again."""
    place = Place(many.cache, registry.blob.digest)
    allowed: Counter[int] = Counter()
    running = [many.mount() for _ in range(mounts)]
    many.wait_mounted()
    registry.begin(0)
    readers = {process: Reader(path / "model.gguf", DATA, dice.randrange(8)) for process, path in running}
    for reader in readers.values():
        reader.start()
    registry.wait_asked()
    pulling = [many.pull() for _ in range(pulls)]
    paths = dict(running)
    # The first mount stays: while it has the blob open nothing of it may be collected.
    victims = [process for process, _ in running[1:]] + pulling[1:]
    dice.shuffle(victims)
    victims = victims[:kills]
    others = []
    for step, victim in enumerate(victims, 1):
        quota = CHUNK * (step * len(registry.chunks) // (2 * kills))
        registry.more(quota)
        registry.wait_sent(quota - CHUNK * dice.randrange(1, 4))
        others += [many.verify(), many.gc(expected=False)]
        allowed.update(kill(victim, place, len(registry.chunks)))
    registry.more()
    dead = set(victims)
    for process, reader in readers.items():
        reader.join(60)
        assert not reader.is_alive(), "blocked by the dead"
        assert reader.wrong == []
        assert process in dead or reader.failed == 0, os.strerror(reader.failed)
    for process in [*others, *(process for process in pulling if process not in dead)]:
        process.join(60)
        assert process.exitcode == 0
    for process in dead & set(paths):
        many.unmount(paths[process])
    # Whoever comes now finds everything.
    registry_asked = Counter(registry.asked_chunks())
    late = many.pull()
    late.join(60)
    assert late.exitcode == 0
    assert Counter(registry.asked_chunks()) == registry_asked, "all of it was here"
    assert set(registry_asked) == set(range(len(registry.chunks)))
    excess = {i: count - 1 for i, count in registry_asked.items() if count > 1}
    assert all(count <= allowed[i] for i, count in excess.items()), (excess, allowed)
    assert place.sealed.read_bytes() == DATA
    many.end()
    cache = DiskCache.open(many.cache)
    assert all(not found.dropped and not found.broken and not found.busy for found in verify(cache))
    assert _left_behind(many.cache) == []
    unused = many.gc(expected=True)
    unused.join(60)
    assert unused.exitcode == 0
    assert not place.sealed.exists()
    return sum(count * CHUNK for count in excess.values())
