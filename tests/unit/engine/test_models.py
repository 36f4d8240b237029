"""Many names at once: who is asked, how many at a time, and what is said when it fails."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.disk import DiskCache
from fusefs.cache.documents.writer import Keeper
from fusefs.engine.models import AT_ONCE, recalled_lines, resolve_all
from fusefs.engine.pool import SourcePool
from fusefs.errors import FusefsError, InvalidName, ModelNotFound, SourceError
from fusefs.values.counters import Counters
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from fusefs.values.settings import Settings
from tests.fake_source import FakeSource

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.sources.base import Source

NAMES = [Name.parse(f"http://far.invalid/library/model{number}:latest") for number in range(3 * AT_ONCE)]


def manifest_of(name: Name) -> bytes:
    return b'{"layers": [{"digest": "%s", "size": 7}]}' % str(Digest.of(name.model.encode())).encode()


class Far(FakeSource):
    """A registry that answers when AT_ONCE ask together, and counts how many ever did."""

    def __init__(self) -> None:
        super().__init__("far.invalid")
        self.together = threading.Barrier(AT_ONCE, timeout=20)
        self.now = self.most = 0
        self.asked_for: list[Name] = []
        self.counting = threading.Lock()

    def manifest(self, name: Name) -> bytes:
        with self.counting:
            self.asked_for.append(name)
            self.now += 1
            self.most = max(self.most, self.now)
        self.together.wait()
        with self.counting:
            self.now -= 1
        return super().manifest(name)


class Pool(SourcePool):
    """A pool of one source that is far, behind stores that are near."""

    def __init__(self, far: FakeSource, *stores: FakeSource) -> None:
        super().__init__((), Settings(), Counters())
        self.far, self.near = far, stores

    def of(self, name: Name) -> list[Source]:
        del name
        return [*self.near, self.far]

    def stores_of(self, name: Name) -> list[Source]:
        del name
        return list(self.near)


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache.open(tmp_path / "cache")


def having(source: FakeSource, names: list[Name]) -> FakeSource:
    for name in names:
        source.add_manifest(name, manifest_of(name))
    return source


async def test_names_are_asked_for_together_a_bounded_number_at_once_and_come_in_order(cache: DiskCache) -> None:
    far = Far()
    models = await resolve_all(NAMES, Pool(having(far, NAMES)), cache, Keeper(cache))
    assert [model.reference for model in models] == NAMES
    assert [model.document for model in models] == [manifest_of(name) for name in NAMES]
    assert far.most == AT_ONCE
    assert sorted(far.asked_for, key=str) == sorted(NAMES, key=str), "each once"


async def test_what_a_local_store_has_asks_no_registry(cache: DiskCache) -> None:
    near, far = having(FakeSource(), NAMES[AT_ONCE:]), Far()
    models = await resolve_all(NAMES, Pool(having(far, NAMES), near), cache, Keeper(cache))
    assert [model.reference for model in models] == NAMES
    assert sorted(far.asked_for, key=str) == sorted(NAMES[:AT_ONCE], key=str)


class Empty(FakeSource):
    """A registry that has nothing, and remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_for: list[Name] = []

    def manifest(self, name: Name) -> bytes:
        self.asked_for.append(name)
        return super().manifest(name)


async def test_a_name_that_nobody_has_is_one_plain_error_and_the_rest_is_left_alone(cache: DiskCache) -> None:
    far = Empty()
    with pytest.raises(ModelNotFound, match=r"no model http://far.invalid/library/model\d+:latest"):
        await resolve_all(NAMES, Pool(far), cache, Keeper(cache))
    assert len(far.asked_for) <= AT_ONCE


async def test_few_manifests_are_in_the_cache_at_once_and_many_when_they_are_written(cache: DiskCache) -> None:
    source = having(FakeSource(), NAMES)
    keeper = Keeper(cache)
    await resolve_all(NAMES[:AT_ONCE], Pool(source), cache, keeper)
    assert len(list(cache.links)) == AT_ONCE
    models = await resolve_all(NAMES, Pool(source), cache, keeper)
    assert len(list(cache.links)) == AT_ONCE
    assert len(keeper) == len(NAMES)
    keeper.close()
    assert len(list(cache.links)) == len(NAMES)
    again = await resolve_all(NAMES, Pool(source), cache, Keeper(cache))
    assert [model.mtime_ns for model in again] == [model.mtime_ns for model in models], "P3"


@pytest.mark.logs("using the manifest of .* that was cached before")
async def test_p7_when_patience_is_at_its_end_all_that_the_cache_knows_is_used(cache: DiskCache) -> None:
    keeper = Keeper(cache)
    await resolve_all(NAMES, Pool(having(FakeSource(), NAMES)), cache, keeper)
    keeper.close()
    far = Far()
    models = await resolve_all(NAMES, Pool(far), cache, Keeper(cache), patience=0)
    assert [model.document for model in models] == [manifest_of(name) for name in NAMES]
    assert not far.asked_for


class Broken(FakeSource):
    """A store on a disk that fails."""

    tries = 0

    def manifest(self, name: Name) -> bytes:
        self.tries += 1
        raise SourceError("Input/output error", source="store")


async def test_a_store_in_trouble_is_passed_over_for_the_registry(cache: DiskCache) -> None:
    near = Broken()
    models = await resolve_all(NAMES, Pool(having(Far(), NAMES), near), cache, Keeper(cache))
    assert [model.reference for model in models] == NAMES
    assert near.tries == 1 + len(NAMES), "its trouble is not waited for one name after the other"


async def test_an_error_is_one_of_ours_not_a_group_of_them(cache: DiskCache) -> None:
    with pytest.raises(FusefsError) as caught:
        await resolve_all(NAMES, Pool(Broken()), cache, Keeper(cache))
    assert str(caught.value) == "store: Input/output error"


class Exact(FakeSource):
    """A registry to which names that differ in case are two, as OCI's specification has it."""

    def __init__(self, manifests: dict[str, bytes]) -> None:
        super().__init__("far.invalid")
        self.by_tag = manifests

    def manifest(self, name: Name) -> bytes:
        return self.by_tag[name.tag]


async def test_p2_two_models_whose_names_differ_in_case_alone_are_refused_by_their_names(cache: DiskCache) -> None:
    """The cache has one place for both; without a network the one would be mounted as the other."""
    names = [Name.parse(f"http://far.invalid/library/m:{tag}") for tag in ("v1", "V1")]
    far = Exact({name.tag: manifest_of(replace(name, model=name.tag)) for name in names})
    with pytest.raises(InvalidName, match=r"m:[vV]1 and .*m:[vV]1 differ in case alone and are two models"):
        await resolve_all(names, Pool(far), cache, Keeper(cache))
    by_digest = [name.pinned(Digest.of(far.by_tag[name.tag])) for name in names]
    models = await resolve_all(by_digest, Pool(far), cache, Keeper(cache))
    assert [model.digest for model in models] == [name.digest for name in by_digest]
    far.by_tag["V1"] = far.by_tag["v1"]
    assert len(await resolve_all(names, Pool(far), cache, Keeper(cache))) == 2, "one model by two names"


def test_one_reason_is_one_line_for_however_many_names() -> None:
    recalled = dict.fromkeys(NAMES, "registry.example: refused") | {Name.parse("h/n/m"): "h: silent"}
    lines = recalled_lines(recalled)
    first = f"registry.example: refused; using the manifest of {NAMES[0]} that was cached before"
    assert lines == [
        f"{first}, and {len(NAMES) - 1} more",
        "h: silent; using the manifest of h/n/m:latest that was cached before",
    ]
