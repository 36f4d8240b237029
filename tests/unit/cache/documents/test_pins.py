"""Pins: what they keep, and that nothing in their folder makes eviction fail."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.disk import DiskCache
from fusefs.errors import FusefsError
from fusefs.values.digest import Digest
from fusefs.values.names import Name

if TYPE_CHECKING:
    from pathlib import Path

NAME = Name.parse("test.invalid/library/model:latest")
OTHER = Name.parse("other:latest")
ONE, TWO = Digest.of(b"one"), Digest.of(b"two")


def manifest(*digests: Digest) -> bytes:
    return json.dumps({"layers": [{"digest": str(digest), "size": 3} for digest in digests]}).encode()


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache.open(tmp_path)


def test_a_pinned_model_keeps_its_blobs_and_its_manifest(cache: DiskCache) -> None:
    raw = manifest(ONE, TWO)
    cache.pins.add(NAME, raw)
    assert list(cache.pins) == [NAME]
    assert cache.pins.digests() == {ONE, TWO, Digest.of(raw)}


def test_a_pin_follows_the_name_to_another_manifest(cache: DiskCache) -> None:
    cache.pins.add(NAME, manifest(ONE))
    cache.links.write(NAME, manifest(TWO))
    assert cache.pins.digests() == {TWO, Digest.of(manifest(TWO))}
    cache.unlink(NAME)
    assert ONE in cache.pins.digests()


def test_pinning_twice_is_pinning_once_and_unpinning_ends_it(cache: DiskCache) -> None:
    cache.pins.add(NAME, manifest(ONE))
    cache.pins.add(NAME, manifest(ONE))
    cache.pins.add(OTHER, manifest(TWO))
    assert cache.pins.remove(NAME)
    assert not cache.pins.remove(NAME)
    assert list(cache.pins) == [OTHER]
    assert ONE not in cache.pins.digests()


def test_what_another_process_pins_is_seen_at_once(cache: DiskCache, tmp_path: Path) -> None:
    DiskCache(tmp_path).pins.add(NAME, manifest(ONE))
    assert ONE in cache.pins.digests()


def test_a_torn_link_falls_back_on_what_was_pinned(cache: DiskCache) -> None:
    cache.pins.add(NAME, manifest(ONE))
    cache.links.write(NAME, manifest(TWO)[:-5])
    assert ONE in cache.pins.digests()


def test_nothing_in_the_folder_of_pins_makes_it_fail(cache: DiskCache, tmp_path: Path) -> None:
    cache.pins.add(NAME, manifest(ONE))
    folder = tmp_path / "pins/test.invalid/library/model"
    (folder / "torn").write_bytes(manifest(TWO)[:-5])
    (folder / "empty").write_bytes(b"")
    (folder / "bad name!").write_bytes(manifest(TWO))
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "link").symlink_to("/etc/passwd")
    (tmp_path / "pins/stray").write_bytes(b"x")
    assert cache.pins.digests() == {ONE, Digest.of(manifest(ONE))}


@pytest.mark.parametrize("foreign", ["file", "link", "nothing"])
def test_a_foreign_folder_of_pins_pins_nothing(cache: DiskCache, tmp_path: Path, foreign: str) -> None:
    if foreign == "file":
        (tmp_path / "pins").write_bytes(b"x")
    elif foreign == "link":
        (tmp_path / "pins").symlink_to("nowhere")
    assert cache.pins.digests() == frozenset()
    with pytest.raises(FusefsError):
        cache.pins.manifest(NAME)


def test_asking_for_pins_writes_nothing(cache: DiskCache, tmp_path: Path) -> None:
    cache.pins.add(NAME, manifest(ONE))
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert ONE in DiskCache(tmp_path).pins.digests()
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before
