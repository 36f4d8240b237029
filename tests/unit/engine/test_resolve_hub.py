"""Trees of the Hub: which documents a name takes, and whom a name of a commit asks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fusefs.artifacts.hubtree import HubFile, HubTree
from fusefs.cache.disk import DiskCache
from fusefs.cache.documents.writer import Keeper
from fusefs.engine.resolve import resolve
from fusefs.errors import InvalidManifest, TransportError
from fusefs.values.chunks import Blob
from fusefs.values.digest import GIT_SHA1, Digest
from fusefs.values.hubname import HubName
from tests.fake_source import FakeSource
from tests.world import NAME

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.values.names import Name

COMMIT, OTHER = "ab" * 20, "cd" * 20
FILE = HubFile("config.json", Blob(Digest(GIT_SHA1, "12" * 20), 3), "12" * 20)
DOCUMENT = HubTree(COMMIT, (FILE,)).document()


class Counting(FakeSource):
    """Of one document; counts who asks."""

    def __init__(self, document: bytes | None) -> None:
        super().__init__()
        self.document = document
        self.resolved = 0

    def manifest(self, name: Name) -> bytes:
        """The document."""
        self.resolved += 1
        if self.document is None:
            raise TransportError("no route to host", source="far")
        return self.document


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache.open(tmp_path)


def named(text: str) -> HubName:
    name = HubName.read(text)
    assert name is not None
    return name


def ask(name: Name, source: FakeSource, cache: DiskCache) -> bytes:
    keeper = Keeper(cache)
    try:
        return resolve(name, [source], cache, keeper).raw
    finally:
        keeper.write()


def test_p10_a_registry_cannot_give_a_tree_whose_files_git_names(cache: DiskCache) -> None:
    """Its manifests prove files by sha256; two files with one git hash have been made."""
    for name in (NAME, NAME.pinned(Digest.of(DOCUMENT))):
        with pytest.raises(InvalidManifest, match="a tree of the Hugging Face Hub"):
            ask(name, Counting(DOCUMENT), cache)
    assert list(cache.links) == []


def test_p10_a_hub_cannot_give_a_manifest_of_a_registry(cache: DiskCache) -> None:
    document = json.dumps({"layers": [{"digest": str(Digest.of(b"x")), "size": 1}]}).encode()
    with pytest.raises(InvalidManifest, match="a manifest of a registry"):
        ask(named("hf://org/m"), Counting(document), cache)


def test_p10_a_name_of_a_commit_takes_the_tree_of_no_other(cache: DiskCache) -> None:
    for text in (f"hf://org/m@{OTHER}", f"hf://org/m@main:{OTHER}"):
        with pytest.raises(InvalidManifest, match="the tree of another commit"):
            ask(named(text), Counting(DOCUMENT), cache)


def test_p7_a_commit_is_asked_for_once(cache: DiskCache) -> None:
    name, source = named(f"hf://org/m@{COMMIT}"), Counting(DOCUMENT)
    assert ask(name, source, cache) == ask(name, source, cache) == DOCUMENT
    assert source.resolved == 1
    assert ask(name, Counting(None), cache) == DOCUMENT


def test_a_branch_is_asked_for_each_time(cache: DiskCache) -> None:
    name, source = named("hf://org/m"), Counting(DOCUMENT)
    assert ask(name, source, cache) == ask(name, source, cache) == DOCUMENT
    assert source.resolved == 2


def test_p5_a_tree_that_has_rotten_in_the_cache_is_asked_for_again(cache: DiskCache) -> None:
    name, source = named(f"hf://org/m@{COMMIT}"), Counting(DOCUMENT)
    ask(name, source, cache)
    for path in (cache.links.path(name), cache.path(Digest.of(DOCUMENT))):
        path.chmod(0o600)
        path.write_bytes(DOCUMENT.replace(b"config", b"c0nfig"))
    assert ask(name, source, cache) == DOCUMENT
    assert source.resolved == 2
