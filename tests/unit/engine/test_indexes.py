"""Names that stand for an index: the manifest for this machine, both documents kept, circles refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fusefs.artifacts.manifest import OCI_INDEX, OCI_MANIFEST
from fusefs.cache.disk import DiskCache
from fusefs.cache.documents.writer import Keeper
from fusefs.engine.resolve import resolve as resolve_for
from fusefs.errors import DigestMismatch, InvalidManifest, ModelNotFound
from fusefs.system.machine import architecture
from fusefs.values.digest import Digest
from tests.fake_source import FakeSource
from tests.world import NAME

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.artifacts.manifest import Manifest
    from fusefs.values.names import Name

MINE = json.dumps({"layers": [{"digest": str(Digest.of(b"mine")), "size": 4}]}).encode()
OTHER = json.dumps({"layers": [{"digest": str(Digest.of(b"other")), "size": 5}]}).encode()


def entry(raw: bytes, architecture: str, media_type: str = OCI_MANIFEST) -> dict[str, object]:
    platform = {"os": "linux", "architecture": architecture}
    return {"mediaType": media_type, "digest": str(Digest.of(raw)), "size": len(raw), "platform": platform}


def index(*entries: dict[str, object]) -> bytes:
    return json.dumps({"mediaType": OCI_INDEX, "manifests": entries}).encode()


INDEX = index(entry(OTHER, "vax"), entry(MINE, architecture()))


class Documents(FakeSource):
    """The first of some documents under its name, all of them by digest."""

    def __init__(self, *documents: bytes) -> None:
        super().__init__()
        self.tagged = documents[0]
        self.by_digest = {Digest.of(one): one for one in documents}
        self.asked_for: list[Digest | None] = []

    def manifest(self, name: Name) -> bytes:
        self.asked_for.append(name.digest)
        if name.digest is None:
            return self.tagged
        if name.digest not in self.by_digest:
            raise ModelNotFound("no such document", source=self.label)
        return self.by_digest[name.digest]


def resolve(source: FakeSource, cache: DiskCache, name: Name = NAME) -> Manifest:
    keeper = Keeper(cache)
    try:
        return resolve_for(name, [source], cache, keeper)
    finally:
        keeper.write()


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache.open(tmp_path)


def test_the_manifest_for_this_machine_is_asked_for_by_its_digest(cache: DiskCache) -> None:
    source = Documents(INDEX, OTHER, MINE)
    assert resolve(source, cache).raw == MINE
    assert source.asked_for == [None, Digest.of(MINE)]
    assert resolve(source, cache).raw == MINE
    assert source.asked_for == [None, Digest.of(MINE), None], "what is in the cache is not asked for"


def test_p7_both_documents_are_kept_so_that_tag_and_digests_work_without_a_network(cache: DiskCache) -> None:
    resolve(Documents(INDEX, OTHER, MINE), cache)
    assert cache.links.read(NAME) == MINE, "what pins, `ls` and `rm` look at"
    nobody = Documents(b"")
    nobody.by_digest.clear()
    for document in (INDEX, MINE):
        assert resolve(nobody, cache, NAME.pinned(Digest.of(document))).raw == MINE
    assert not nobody.asked_for


def test_the_digest_of_an_index_may_be_pinned(cache: DiskCache) -> None:
    assert resolve(Documents(INDEX, OTHER, MINE), cache, NAME.pinned(Digest.of(INDEX))).raw == MINE


def test_p10_other_documents_than_those_that_were_asked_for_are_refused(cache: DiskCache) -> None:
    source = Documents(INDEX, OTHER, MINE)
    source.by_digest[Digest.of(MINE)] = OTHER
    with pytest.raises(DigestMismatch):
        resolve(source, cache)


def test_p10_an_index_that_leads_to_an_index_ends_there(cache: DiskCache) -> None:
    honest = index(entry(INDEX, architecture(), OCI_INDEX))
    with pytest.raises(InvalidManifest, match="fake: this is an index of an index"):
        resolve(Documents(honest, INDEX, MINE), cache)
    sly = index(entry(INDEX, architecture()))
    source = Documents(sly, INDEX, MINE)
    with pytest.raises(InvalidManifest, match=r"fake: this is an index of several manifests, or one in another"):
        resolve(source, cache)
    assert set(source.asked_for) == {None, Digest.of(INDEX)}, "no further"
