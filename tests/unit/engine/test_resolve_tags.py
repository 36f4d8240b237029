"""Who says what a tag means: the registry in the name, or a store that the person named; never a mirror."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusefs.cache.disk import DiskCache
from fusefs.cache.documents.writer import Keeper
from fusefs.engine.resolve import resolve
from fusefs.errors import SourceError, TransportError
from fusefs.sources.retry import Retrying
from fusefs.values.counters import Counters
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from fusefs.values.voucher import Proof
from tests.fake_source import FakeSource

if TYPE_CHECKING:
    from pathlib import Path

NAME = Name.parse("http://registry.invalid/library/m:latest")


def manifest(seed: str) -> bytes:
    layer = f'{{"mediaType":"x/y","digest":"{Digest.of(seed.encode())}","size":1}}'
    return f'{{"schemaVersion":2,"layers":[{layer}]}}'.encode()


class Down(FakeSource):
    """A registry that cannot be reached."""

    def manifest(self, name: Name) -> bytes:
        """As Source.manifest."""
        raise TransportError(f"no route for {name.short}", source=self.label, temporary=False)


def sources(mirror: FakeSource, registry: FakeSource) -> list[Retrying]:
    return [
        Retrying(source, timeout=0.5, counters=Counters(), several=True, proof=proof)
        for source, proof in ((mirror, Proof.NONE), (registry, Proof.REGISTRY))
    ]


def test_p1_a_mirror_does_not_say_what_a_tag_means(tmp_path: Path) -> None:
    cache = DiskCache.open(tmp_path)
    mirror, registry = FakeSource("mirror"), FakeSource("registry")
    mirror.add_manifest(NAME, manifest("theirs"))
    registry.add_manifest(NAME, manifest("right"))
    found = resolve(NAME, sources(mirror, registry), cache, Keeper(cache))
    assert found.raw == manifest("right")


def test_p1_a_mirrors_word_is_the_persons_to_take_when_the_registry_is_down(tmp_path: Path) -> None:
    cache = DiskCache.open(tmp_path)
    mirror = FakeSource("mirror")
    mirror.add_manifest(NAME, manifest("theirs"))
    offered = Digest.of(manifest("theirs"))
    with pytest.raises(SourceError, match=f"@{offered}"):
        resolve(NAME, sources(mirror, Down("registry")), cache, Keeper(cache))
    pinned = Name.parse(f"{NAME}@{offered}")
    mirror.add_manifest(pinned, manifest("theirs"))
    assert resolve(pinned, sources(mirror, Down("registry")), cache, Keeper(cache)).digest == offered
