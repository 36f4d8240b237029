"""A cache on a file system that keeps no modes, takes no colon, or has no holes: found out by looking, and used."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.blob.sealing import seal
from fusefs.cache.disk import DiskCache
from fusefs.cache.space.eviction import evict, has_holes, scan
from fusefs.cache.space.inventory import freeable
from fusefs.errors import CacheError
from fusefs.sources.modelstore import LocalStore
from fusefs.system.features import Features, features_of, grants_leases, keeps_modes
from fusefs.values.names import Name
from tests.chunkers import fill, opened
from tests.strange_disks import DISKS, disk
from tests.world import some_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = some_bytes(400_000)
CHUNK = 16 << 10
NAME = Name.parse("http://127.0.0.1:8080/local/Model:v1")
MANIFEST = b'{"schemaVersion": 2}'


@pytest.fixture(params=[pytest.param(kind, marks=() if kind == "exfat-fuse" else pytest.mark.slow) for kind in DISKS])
def strange(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """The root of such a disk."""
    with disk(request.param, tmp_path) as where:
        yield where


def test_an_ordinary_disk_has_everything_and_nothing_is_said(tmp_path: Path) -> None:
    assert features_of(tmp_path) == Features(modes=True, holes=True)
    assert features_of(tmp_path).complaint == ""
    assert grants_leases(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_everybody_may_write_to_is_found_out_to_keep_modes(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    assert keeps_modes(tmp_path)


def test_where_nothing_can_be_made_modes_are_taken_for_granted(tmp_path: Path) -> None:
    assert keeps_modes(tmp_path / "absent")


def test_a_cache_on_a_strange_disk_opens_again_and_says_what_is_missing(strange: Path) -> None:
    root = strange / "above" / "cache"
    for _ in range(3):
        cache = DiskCache.open(root)
        assert not cache.features.modes
        assert "keeps no permissions" in cache.features.complaint
        assert "umask=077" in cache.features.complaint
        assert ("has no holes" in cache.features.complaint) == (not cache.features.holes)
        assert "\n" not in cache.features.complaint


def test_p7_the_manifest_of_a_host_with_a_port_is_kept_and_found_whatever_the_disk_takes(strange: Path) -> None:
    cache = DiskCache.open(strange / "cache")
    cache.links.write(NAME, MANIFEST)
    cache.links.write(NAME, MANIFEST)
    again = DiskCache.open(strange / "cache")
    assert again.links.read(NAME) == MANIFEST
    assert again.links.read(Name.parse("http://127.0.0.1:8080/LOCAL/model:V1")) == MANIFEST
    assert list(again.links) == [Name.from_path("127.0.0.1:8080", "local", "Model", "v1")]
    assert LocalStore(strange / "cache").manifest(NAME) == MANIFEST
    assert again.links.remove(NAME)
    assert list(again.links) == []
    assert os.listdir(strange / "cache/manifests") == []


def test_p4_a_blob_is_sealed_and_read_again_on_a_strange_disk(strange: Path) -> None:
    root = strange / "cache"
    with opened(root, DATA, CHUNK) as chunker:
        fill(chunker, DATA)
        assert seal(chunker)
    with opened(root, DATA, CHUNK) as chunker:
        assert chunker.sealed
        assert bytes(chunker.pread(0, len(DATA))) == DATA


@pytest.mark.parametrize("sealed", [True, False])
def test_p8_without_holes_a_blob_that_nobody_uses_makes_room_as_a_whole(strange: Path, *, sealed: bool) -> None:
    root = strange / "cache"
    with opened(root, DATA, CHUNK) as chunker:
        fill(chunker, DATA)
        assert not sealed or seal(chunker)
    cache = DiskCache.open(root)
    (held,) = scan(cache)
    assert not has_holes(cache, held.digest)
    assert freeable(cache, held, CHUNK) == held.allocated
    assert evict(cache, held, CHUNK) == held.allocated
    assert scan(cache) == []


@pytest.mark.parametrize("sealed", [True, False])
def test_p2_without_holes_a_blob_that_is_open_stays_and_keeps_its_name(strange: Path, *, sealed: bool) -> None:
    root = strange / "cache"
    with opened(root, DATA, CHUNK) as chunker:
        fill(chunker, DATA)
        assert not sealed or seal(chunker)
        other = DiskCache.open(root)
        (held,) = scan(other)
        assert evict(other, held, CHUNK) == 0
        (still,) = scan(other)
        assert (still.sealed, still.allocated) == (sealed, held.allocated)
        assert bytes(chunker.pread(0, len(DATA))) == DATA


@pytest.fixture
def no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system call fails as it does on NFS: no file system that can be mounted here has holes and no leases."""
    call = fcntl.fcntl

    def failing(fd: int, command: int, argument: int | bytes = 0) -> int | bytes:
        if command == fcntl.F_SETLEASE and argument != fcntl.F_UNLCK:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return call(fd, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", failing)


@pytest.mark.usefixtures("no_leases")
@pytest.mark.parametrize("sealed", [True, False])
def test_p2_without_leases_a_sealed_blob_goes_as_a_whole_and_who_has_it_open_keeps_what_he_has(
    tmp_path: Path, *, sealed: bool
) -> None:
    root = tmp_path / "cache"
    with opened(root, DATA, CHUNK) as chunker:
        fill(chunker, DATA)
        assert not sealed or seal(chunker)
    cache = DiskCache.open(root)
    assert not grants_leases(root / "partial")
    (held,) = scan(cache)
    place = cache.place(held.digest)
    with open((place.sealed if sealed else place.data).path, "rb") as reader:
        freed = evict(cache, held, CHUNK)
        assert (freed == held.allocated) if sealed else (CHUNK <= freed < held.allocated)
        assert not sealed or reader.read() == DATA
    assert len(scan(cache)) == (0 if sealed else 1)


def test_p10_a_folder_on_the_way_that_others_may_write_to_is_refused_where_it_could_be_closed(
    strange: Path, tmp_path: Path
) -> None:
    """The disk is excused, and not what lies above it."""
    tmp_path.chmod(0o777)
    with pytest.raises(CacheError, match=f"others may write to {tmp_path}"):
        DiskCache.open(strange / "cache")
