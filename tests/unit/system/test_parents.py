"""P10: whoever may write to a folder above the cache could put another cache in its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fusefs.cache.disk import DiskCache
from fusefs.errors import CacheError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
SOMEBODY = 12345


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """A folder above the cache."""
    folder = tmp_path / "share"
    folder.mkdir(mode=0o755)
    return folder


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757])
@pytest.mark.parametrize("below", ["cache", "deep/er/cache"])
def test_p10_a_cache_below_a_folder_that_others_may_write_to_is_refused(share: Path, mode: int, below: str) -> None:
    DiskCache.open(share / below)
    share.chmod(mode)
    with pytest.raises(CacheError, match=rf"others may write to {share}, .*chmod go-w {share}"):
        DiskCache.open(share / below)
    share.chmod(0o755)
    DiskCache.open(share / below)


def test_p10_a_refused_cache_is_not_made(share: Path) -> None:
    share.chmod(0o777)
    with pytest.raises(CacheError):
        DiskCache.open(share / "new" / "cache")
    assert not os.listdir(share)


def test_a_cache_below_a_sticky_folder_is_used(share: Path) -> None:
    share.chmod(0o1777)
    DiskCache.open(share / "cache")


@needs_root
@pytest.mark.parametrize("mode", [0o755, 0o1777])
def test_p10_a_cache_below_a_folder_of_somebody_else_is_refused(share: Path, mode: int) -> None:
    DiskCache.open(share / "cache")
    share.chmod(mode)
    os.chown(share, SOMEBODY, SOMEBODY)
    with pytest.raises(CacheError, match=rf"{share} belongs to user {SOMEBODY}"):
        DiskCache.open(share / "cache")


def test_p10_a_link_to_the_cache_in_a_folder_that_others_may_write_to_is_refused(share: Path, tmp_path: Path) -> None:
    DiskCache.open(tmp_path / "cache")
    (share / "link").symlink_to("../cache")
    DiskCache.open(share / "link")
    share.chmod(0o777)
    with pytest.raises(CacheError, match=f"others may write to {share}, "):
        DiskCache.open(share / "link")


def test_p10_the_folders_above_the_target_of_a_link_are_looked_at_as_well(share: Path, tmp_path: Path) -> None:
    DiskCache.open(share / "cache")
    (tmp_path / "link").symlink_to(share)
    share.chmod(0o777)
    with pytest.raises(CacheError, match=f"others may write to {share}, "):
        DiskCache.open(tmp_path / "link" / "cache")


@needs_root
def test_p10_a_link_of_somebody_else_in_a_sticky_folder_is_refused(share: Path, tmp_path: Path) -> None:
    DiskCache.open(tmp_path / "cache")
    (share / "link").symlink_to(tmp_path / "cache")
    share.chmod(0o1777)
    DiskCache.open(share / "link")
    os.chown(share / "link", SOMEBODY, SOMEBODY, follow_symlinks=False)
    with pytest.raises(CacheError, match=f"link belongs to user {SOMEBODY}"):
        DiskCache.open(share / "link")


def test_a_loop_of_links_is_an_error_of_one_line(share: Path) -> None:
    (share / "a").symlink_to("b")
    (share / "b").symlink_to("a")
    with pytest.raises(CacheError):
        DiskCache.open(share / "a" / "cache")


@pytest.mark.parametrize("umask", [0o000, 0o002])
def test_the_parents_that_the_cache_makes_are_taken_at_the_next_start(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        DiskCache.open(tmp_path / "x" / "y" / "cache")
        DiskCache.open(tmp_path / "x" / "y" / "cache")
    finally:
        os.umask(before)
