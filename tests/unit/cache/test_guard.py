"""P10: who may get at the cache directory, and that nothing in it leads out."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fusefs.cache.blob.mapfile import PRESENT
from fusefs.cache.blob.sealing import seal
from fusefs.cache.disk import DiskCache
from fusefs.cache.guard import FOLDERS
from fusefs.errors import CacheError, NotCached
from fusefs.system.files import reader_of
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from tests.chunkers import fill, opened, place_of
from tests.world import some_bytes

DATA = some_bytes(1000)
NAME = Name.parse_qualified("h.example/n/m:t")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the cache lies."""
    return tmp_path / "cache"


@pytest.mark.parametrize("umask", [0o022, 0o000, 0o077])
def test_p10_what_the_cache_makes_is_for_nobody_else(root: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with opened(root, DATA) as chunker:
            fill(chunker, DATA)
            assert seal(chunker)
        DiskCache.open(root).links.write(NAME, b"{}")
    finally:
        os.umask(before)
    for path in (root, *root.rglob("*")):
        assert not mode(path) & 0o077, path


def test_p10_an_older_cache_is_closed_when_it_is_opened(root: Path) -> None:
    DiskCache.open(root)
    for path in (root, root / "blobs", root / "partial"):
        path.chmod(0o755)
    DiskCache.open(root)
    assert {mode(path) for path in (root, root / "blobs", root / "partial")} == {0o700}


def test_a_directory_with_other_things_in_it_is_left_as_it_is(root: Path) -> None:
    root.mkdir(mode=0o755)
    root.chmod(0o755)
    (root / "lost+found").mkdir()
    DiskCache.open(root)
    assert mode(root) == 0o755
    assert mode(root / "blobs") == 0o700


@pytest.mark.parametrize("bits", [0o777, 0o770, 0o1777, 0o702])
def test_p10_a_cache_that_others_may_write_to_is_refused(root: Path, bits: int) -> None:
    DiskCache.open(root)
    root.chmod(bits)
    with pytest.raises(CacheError, match=f"chmod -R go-w {root}"):
        DiskCache.open(root)
    assert mode(root) == bits


def test_an_empty_directory_that_others_may_write_to_is_closed(root: Path) -> None:
    root.mkdir()
    root.chmod(0o777)
    DiskCache.open(root)
    assert mode(root) == 0o700


@pytest.mark.parametrize("name", FOLDERS)
def test_p10_a_folder_of_the_cache_that_others_may_write_to_is_refused(root: Path, name: str) -> None:
    DiskCache.open(root)
    root.chmod(0o755)
    (root / name).mkdir(exist_ok=True)
    (root / name).chmod(0o777)
    with pytest.raises(CacheError, match=f"{root / name}"):
        DiskCache.open(root)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to give things away")
@pytest.mark.parametrize("name", ["", *FOLDERS])
def test_p10_what_belongs_to_somebody_else_is_refused_even_for_root(root: Path, name: str) -> None:
    DiskCache.open(root)
    (root / name).mkdir(exist_ok=True)
    os.chown(root / name, 64321, 64321)
    with pytest.raises(CacheError, match="belongs to user 64321"):
        DiskCache.open(root)


@pytest.mark.parametrize("name", FOLDERS)
def test_p10_a_link_in_place_of_a_folder_is_refused(root: Path, tmp_path: Path, name: str) -> None:
    DiskCache.open(root)
    if (root / name).exists():
        (root / name).rmdir()
    (root / name).symlink_to(tmp_path)
    with pytest.raises(CacheError, match="links are not followed"):
        DiskCache.open(root)


def test_a_cache_may_be_reached_by_a_link(root: Path, tmp_path: Path) -> None:
    DiskCache.open(root)
    (tmp_path / "link").symlink_to(root)
    DiskCache.open(tmp_path / "link")


def test_p10_a_link_in_place_of_a_blob_s_folder_is_replaced(root: Path, tmp_path: Path) -> None:
    DiskCache.open(root)
    outside = tmp_path / "outside"
    outside.mkdir()
    place = place_of(root, DATA)
    place.folder.symlink_to(outside)
    with opened(root, DATA) as chunker:
        fill(chunker, DATA)
        assert chunker.map[0] == PRESENT
    assert list(outside.iterdir()) == []
    assert not place.folder.is_symlink()


def test_p10_the_map_behind_a_link_says_nothing(root: Path, tmp_path: Path) -> None:
    with opened(root, DATA) as chunker:
        fill(chunker, DATA)
        blob = chunker.blob
    place = place_of(root, DATA)
    place.folder.rename(tmp_path / "outside")
    place.folder.symlink_to(tmp_path / "outside")
    cache = DiskCache.open(root)
    assert cache.states(blob) == b""
    assert cache.pinned_list(blob) is None


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_p10_links_among_the_manifests_are_not_followed(root: Path, tmp_path: Path, depth: int) -> None:
    cache = DiskCache.open(root)
    cache.links.write(NAME, b"{}")
    folder = root.joinpath("manifests", *NAME.path[:depth])
    outside = tmp_path / "outside"
    folder.rename(outside)
    folder.symlink_to(outside)
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    with pytest.raises(NotCached):
        cache.links.read(NAME)
    assert cache.links.mtime(NAME) is None
    assert list(cache.links) == []
    assert not cache.links.remove(NAME)
    cache.links.write(NAME, b"[]")
    assert cache.links.read(NAME) == b"[]"
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == before


def test_p10_a_manifest_that_is_a_link_is_none(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    cache = DiskCache.open(root)
    digest = Digest.of(b"secret")
    cache.path(digest).symlink_to(tmp_path / "secret")
    with pytest.raises(NotCached):
        cache.read(digest, 100)


def test_in_a_shared_cache_others_reach_what_they_were_told_of_and_no_more(root: Path) -> None:
    cache = DiskCache.open(root, shared=True)
    with opened(root, DATA) as chunker:
        fill(chunker, DATA)
        assert seal(chunker)
        blob = chunker.blob
    other = Digest.of(b"other")
    cache.put(other, reader_of(b"other"), 5)
    assert cache.hold(blob.digest)
    cache.release()
    assert {name: mode(root / name) for name in ("", "blobs", "partial", "manifests")} == {
        "": 0o711,
        "blobs": 0o711,
        "partial": 0o700,
        "manifests": 0o700,
    }
    assert (mode(cache.path(blob.digest)), mode(cache.path(other))) == (0o444, 0o400)
    # Another mount of the same cache does not lock those out who follow links of this one.
    DiskCache.open(root)
    assert mode(root) == 0o711
