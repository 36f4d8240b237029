"""Resolve: names to manifests, with a network and without."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.disk import DiskCache
from fusefs.cache.documents.writer import Keeper
from fusefs.engine.resolve import resolve as resolve_for
from fusefs.errors import CacheFull, Cancelled, DigestMismatch, InvalidManifest, ModelNotFound, NotFound, TransportError
from fusefs.values.digest import Digest
from tests.chunkers import corrupt
from tests.fake_source import FakeSource
from tests.world import NAME

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.artifacts.manifest import Manifest
    from fusefs.values.names import Name


def manifest_of(text: str) -> bytes:
    return json.dumps({"layers": [{"digest": str(Digest.of(text.encode())), "size": len(text)}]}).encode()


RAW, OTHER = manifest_of("one"), manifest_of("two")


class Unreachable(FakeSource):
    def manifest(self, name: Name) -> bytes:
        raise TransportError("no route to host", source="far")


def resolve(name: Name, sources: list[FakeSource], cache: DiskCache) -> Manifest:
    """Resolve, and keep what was found."""
    keeper = Keeper(cache)
    try:
        return resolve_for(name, sources, cache, keeper)
    finally:
        keeper.write()


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache.open(tmp_path)


def having(raw: bytes = RAW) -> FakeSource:
    source = FakeSource()
    source.add_manifest(NAME, raw)
    return source


def test_the_manifest_is_kept_under_name_and_digest(cache: DiskCache) -> None:
    assert resolve(NAME, [having()], cache).raw == RAW
    assert cache.read(Digest.of(RAW), 1000) == RAW
    assert cache.links.read(NAME) == RAW


@pytest.mark.logs("using the manifest of .* that was cached before")
def test_p7_with_no_network_the_last_known_manifest_is_used(cache: DiskCache) -> None:
    resolve(NAME, [having()], cache)
    assert resolve(NAME, [Unreachable()], cache).raw == RAW


@pytest.mark.logs("using the manifest of .* that was cached before")
def test_p7_a_store_that_lacks_the_model_does_not_hide_that_the_registry_is_down(cache: DiskCache) -> None:
    resolve(NAME, [having()], cache)
    assert resolve(NAME, [FakeSource(), Unreachable()], cache).raw == RAW


def test_a_source_that_says_not_found_is_believed(cache: DiskCache) -> None:
    resolve(NAME, [having()], cache)
    with pytest.raises(ModelNotFound):
        resolve(NAME, [FakeSource()], cache)


def test_with_no_network_an_unknown_name_is_an_error(cache: DiskCache) -> None:
    with pytest.raises(TransportError):
        resolve(NAME, [Unreachable()], cache)


def test_no_source_at_all_is_not_found(cache: DiskCache) -> None:
    with pytest.raises(NotFound):
        resolve(NAME, [], cache)


def test_sources_are_asked_in_order_until_one_has_it(cache: DiskCache) -> None:
    assert resolve(NAME, [FakeSource(), having(OTHER), having(RAW)], cache).raw == OTHER


def test_a_moved_tag_is_followed(cache: DiskCache) -> None:
    resolve(NAME, [having(RAW)], cache)
    assert resolve(NAME, [having(OTHER)], cache).raw == OTHER
    assert cache.links.read(NAME) == OTHER


def test_a_pinned_digest_that_is_in_the_cache_asks_nobody(cache: DiskCache) -> None:
    resolve(NAME, [having()], cache)
    resolve(NAME, [having(OTHER)], cache)
    assert resolve(NAME.pinned(Digest.of(RAW)), [], cache).raw == RAW


def test_a_pinned_digest_does_not_move_the_tag(cache: DiskCache) -> None:
    resolve(NAME, [having(OTHER)], cache)
    resolve(NAME.pinned(Digest.of(RAW)), [having(RAW)], cache)
    assert cache.links.read(NAME) == OTHER


def test_f7_a_source_that_has_another_manifest_than_was_pinned_is_refused(cache: DiskCache) -> None:
    with pytest.raises(DigestMismatch):
        resolve(NAME.pinned(Digest.of(RAW)), [having(OTHER)], cache)
    assert not list(cache.links)


def test_a_pinned_digest_is_never_replaced_by_what_the_tag_had(cache: DiskCache) -> None:
    resolve(NAME, [having(OTHER)], cache)
    with pytest.raises(TransportError):
        resolve(NAME.pinned(Digest.of(RAW)), [Unreachable()], cache)


@pytest.mark.parametrize("pinned", [True, False])
def test_p5_a_manifest_that_has_rotten_in_the_cache_is_fetched_again(cache: DiskCache, pinned: bool) -> None:
    resolve(NAME, [having()], cache)
    corrupt(cache.path(Digest.of(RAW)), 5)
    name = NAME.pinned(Digest.of(RAW)) if pinned else NAME
    assert resolve(name, [having()], cache).raw == RAW
    assert cache.read(Digest.of(RAW), 1000) == RAW, "and it is whole again"


def test_what_is_no_manifest_is_refused_and_not_kept(cache: DiskCache) -> None:
    with pytest.raises(InvalidManifest):
        resolve(NAME, [having(b"<html>")], cache)
    assert not list(cache.links)


def test_a_closed_source_ends_it(cache: DiskCache) -> None:
    closed = having()
    closed.close()
    with pytest.raises(Cancelled):
        resolve(NAME, [closed, having()], cache)


@pytest.mark.logs("could not be kept")
def test_p8_a_cache_that_cannot_keep_it_does_not_matter(cache: DiskCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise CacheFull("no room")

    monkeypatch.setattr(cache, "put", refuse)
    assert resolve(NAME, [having()], cache).raw == RAW
