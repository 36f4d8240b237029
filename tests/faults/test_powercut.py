"""The power fails while a cache is written to: nothing wrong is served after it, and nothing right is fetched again."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from fusefs.cache.disk import DiskCache
from fusefs.cache.documents.writer import Keeper
from fusefs.cache.place import Place
from fusefs.engine.resolve import resolve
from fusefs.errors import FusefsError, SourceError
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest
from tests.fake_source import FakeSource
from tests.faults.calls import watched
from tests.faults.calls_life import Goods
from tests.faults.calls_scenes import Stage, arrive, boot, evict_some, prepare, recover, return_, rot, sweep_old
from tests.faults.damage import Damage, spared
from tests.faults.powercut import Disk, Loss, Recorder
from tests.world import NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusefs.values.chunks import Chunk
    from fusefs.values.names import Name
    from tests.faults.powercut import Change

GOODS = Goods(chunk=3000)
"""Chunks and pages have no border in common."""


@dataclass(frozen=True)
class Recording:
    """What a scene does to the disk."""

    start: Sequence[tuple[int, str, bytes | None]]
    changes: Sequence[Change]


@cache
def recordings() -> list[Recording]:
    """A model arrives; in the next boot it is proved and mended; a part of it makes room and comes again."""
    made = []
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        root = Path(folder)
        boot(patch, 1)
        DiskCache.open(root / "empty")
        made.append(_record(arrive, root / "empty"))
        prepare(root / "arrived", GOODS)
        shutil.copytree(root / "arrived", root / "rotten")
        rot(root / "rotten", GOODS)
        boot(patch, 2)
        made.append(_record(return_, root / "rotten"))
        made.append(_record(evict_some, root / "arrived"))
    return made


def _record(scene: Callable[[Stage], object], root: Path) -> Recording:
    recorder, stage = Recorder(root), Stage(root, GOODS)
    with watched(recorder):
        trio.run(scene, stage)  # type: ignore[arg-type]  # every scene is an async function
    assert not stage.told
    return Recording(recorder.start, recorder.changes)


def known(root: Path) -> set[int]:
    """Chunks of the listed blob that are right on the disk, and claimed."""
    place, blob = Place(root, Digest.of(GOODS.listed)), Blob(Digest.of(GOODS.listed), len(GOODS.listed))
    done: set[Damage] = set()
    if DiskCache(root).pinned_list(blob) is None:
        done.add("no-list")
    if not place.map.exists():
        done.add("no-map")
    return spared(place, GOODS.listed, GOODS.chunk, done)


def asked_again(requests: Sequence[tuple[Digest, Chunk]]) -> set[int]:
    """Chunks of the listed blob that were asked for."""
    ours = [chunk for digest, chunk in requests if digest == Digest.of(GOODS.listed)]
    return {i for chunk in ours for i in range(chunk.start // GOODS.chunk, chunk.end // GOODS.chunk + 1)}


class _Unreachable(FakeSource):
    def manifest(self, name: Name) -> bytes:
        raise SourceError("no network", source=self.label, temporary=True)


def offline(root: Path) -> None:
    """What the cache knows of the model without a network is right, or nothing."""
    cache = DiskCache.open(root)
    with suppress(FusefsError):
        assert resolve(NAME, [_Unreachable()], cache, Keeper(cache)).raw == GOODS.manifest
    with suppress(FusefsError):
        assert cache.read(Digest.of(GOODS.manifest), 1 << 16) == GOODS.manifest
    start = cache.trace(Blob(Digest.of(GOODS.listed), len(GOODS.listed)))
    assert start is None or all(0 <= first < last <= len(GOODS.listed) for first, last in start.ranges)


def cut(scene: int, at: float, loss: Loss) -> tuple[int, int]:
    """Cut the power after this part of a scene; bytes compared afterwards, and chunks that were right and known."""
    recording = recordings()[scene]
    changes = recording.changes[: round(at * len(recording.changes))]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        boot(patch, 9)
        root = Path(folder) / "cache"
        Disk(recording.start, changes, loss).build(root)
        right = known(root)
        offline(root)
        sweep_old(root)
        stage = recover(root, GOODS)
        again = right & asked_again(stage.requests)
        assert not again, f"right on the disk, and asked for again: {again}"
    return stage.compared, len(right)


LOSSES = st.builds(
    Loss,
    data=st.sampled_from(("lost", "prefix", "pages", "pages", "kept")),
    names=st.sampled_from(("ordered", "ordered", "random")),
    seed=st.integers(0, 1 << 16),
    longer=st.booleans(),
)


@pytest.mark.logs(".")
@given(scene=st.integers(0, 2), at=st.floats(0, 1), loss=LOSSES)
def test_p5_a_power_cut_serves_nothing_wrong_and_loses_nothing_right(scene: int, at: float, loss: Loss) -> None:
    cut(scene, at, loss)


@pytest.mark.slow
@pytest.mark.logs(".")
def test_p5_many_power_cuts(record_property: Callable[[str, object], None]) -> None:
    rounds = compared = kept = 0

    @settings(max_examples=200, deadline=None)
    @given(scene=st.integers(0, 2), at=st.floats(0, 1), loss=LOSSES)
    def go(scene: int, at: float, loss: Loss) -> None:
        nonlocal rounds, compared, kept
        size, right = cut(scene, at, loss)
        rounds, compared, kept = rounds + 1, compared + size, kept + right

    go()
    assert kept > rounds, "the cuts came too early for the test to mean anything"
    record_property("faults.rounds", rounds)
    record_property("faults.injected", rounds)
    record_property("faults.bytes_compared", compared)
    record_property("faults.bytes_refetched", 0)
    record_property("faults.bytes_wrong", 0)
