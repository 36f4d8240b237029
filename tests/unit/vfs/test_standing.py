"""What it costs to say how a blob stands: `ls -lR` of a large store asks for each of 20,000."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.disk import DiskCache
from fusefs.fetch.fetcher import Fetcher
from fusefs.values.counters import Counters
from fusefs.values.settings import Settings
from fusefs.vfs.blobfile import BlobFile
from fusefs.vfs.filesystem import FileSystem
from fusefs.vfs.tree import ROOT_INODE
from tests.chunkers import Bytes
from tests.fakes import FakeBlobFile, file_system_of

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.fetch.sight import Sight

DATA = b"some bytes of a blob"


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache.open(tmp_path)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that the operating system was asked for."""
    made: list[str] = []

    def counted(call: str) -> None:
        real = getattr(os, call)

        def counting(path: object, *args: object, **kwargs: object) -> object:
            made.append(f"{call} {path}")
            return real(path, *args, **kwargs)

        monkeypatch.setattr(os, call, counting)

    for call in ("lstat", "stat", "open", "listdir", "scandir"):
        counted(call)
    return made


def shown(cache: DiskCache) -> tuple[FileSystem, Sight]:
    """A mount of one blob, over `cache`, and what is seen of the blob."""
    tree = file_system_of({"blob": FakeBlobFile(DATA)}).tree
    fetcher = Fetcher(cache, Settings(), Counters())
    content = tree.files[0].content
    assert not isinstance(content, bytes)
    fs = FileSystem(tree, lambda blob: BlobFile(fetcher, fetcher.track(blob)), Counters())
    return fs, fetcher.track(content.blob).sight


def test_stat_of_an_absent_blob_is_two_looks_at_the_cache(cache: DiskCache, looks: list[str]) -> None:
    """Is it sealed, is a part of it there; what answers does not look at all."""
    fs, sight = shown(cache)
    for _ in range(3):
        looks.clear()
        sight.look()
        assert fs.metadata.lookup(ROOT_INODE, b"blob").blocks == 0
        assert [look.split()[0] for look in looks] == ["stat", "open"]


def test_a_blob_that_another_process_has_sealed_is_seen_at_the_next_stat(cache: DiskCache) -> None:
    fs, sight = shown(cache)
    before = fs.metadata.lookup(ROOT_INODE, b"blob")
    content = fs.tree.files[0].content
    assert not isinstance(content, bytes)
    cache.put(content.blob.digest, Bytes(DATA), len(DATA))
    sight.look()
    after = fs.metadata.lookup(ROOT_INODE, b"blob")
    assert (before.blocks, after.blocks) == (0, 1)
    assert (before.size, before.inode, before.mtime_ns) == (after.size, after.inode, after.mtime_ns), "P3"
    assert before.valid_for < 10 < after.valid_for
