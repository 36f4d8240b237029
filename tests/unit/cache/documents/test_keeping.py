"""Keeper: manifests that nobody waits for, and what a power cut leaves of them."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.disk import DiskCache
from fusefs.cache.documents.writer import Keeper
from fusefs.engine.resolve import last_known, resolve
from fusefs.errors import TransportError
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from tests.fake_source import FakeSource

if TYPE_CHECKING:
    from pathlib import Path

MANY = 50


def name_of(number: int) -> Name:
    return Name.parse(f"host/library/model{number}:latest")


def manifest_of(number: int) -> bytes:
    # Longer than a block of a disk, so that a power cut can leave one block of it and not the next.
    text = f"{number}" * 6000
    return json.dumps({"layers": [{"digest": str(Digest.of(text.encode())), "size": 1, "name": text}]}).encode()


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache.open(tmp_path)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every fsync, rename and listing, in order."""
    made: list[str] = []

    def counted(name: str) -> None:
        real = getattr(os, name)

        def call(*args: object, **kwargs: object) -> object:
            made.append(name)
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, call)

    for name in ("fsync", "replace", "listdir"):
        counted(name)
    return made


def added(cache: DiskCache, numbers: range) -> Keeper:
    keeper = Keeper(cache)
    for number in numbers:
        keeper.add(name_of(number), Digest.of(manifest_of(number)), manifest_of(number))
    return keeper


def test_what_was_written_is_there_by_name_and_by_digest(cache: DiskCache) -> None:
    keeper = added(cache, range(MANY))
    assert len(keeper) == MANY
    keeper.write()
    assert len(keeper) == 0
    for number in range(MANY):
        raw = manifest_of(number)
        assert cache.links.read(name_of(number)) == raw
        assert cache.read(Digest.of(raw), len(raw)) == raw


def test_many_manifests_cost_no_fsync_until_sync_and_one_listing_of_a_folder(
    cache: DiskCache, calls: list[str]
) -> None:
    keeper = added(cache, range(MANY))
    keeper.write()
    assert calls.count("replace") == 2 * MANY
    assert calls.count("fsync") == 0
    assert calls.count("listdir") <= 4 + MANY, "those of the folders that lie above all, and one of each new one"
    keeper.sync()
    assert calls.count("fsync") == 2 * MANY + 1, "each file, and the folder of the blobs"
    keeper.sync()
    assert calls.count("fsync") == 2 * MANY + 1


def test_the_same_again_writes_and_syncs_nothing(cache: DiskCache, calls: list[str]) -> None:
    added(cache, range(MANY)).work()
    calls.clear()
    added(cache, range(MANY)).work()
    assert "replace" not in calls
    assert "fsync" not in calls


def test_a_link_is_replaced_only_by_what_the_disk_has(cache: DiskCache, calls: list[str]) -> None:
    added(cache, range(1)).work()
    calls.clear()
    keeper = Keeper(cache)
    keeper.add(name_of(0), Digest.of(manifest_of(1)), manifest_of(1))
    keeper.write()
    assert [call for call in calls if call != "listdir"] == ["replace", "fsync", "replace"]
    assert cache.links.read(name_of(0)) == manifest_of(1)


def test_names_compare_without_case_while_a_listing_is_remembered(cache: DiskCache) -> None:
    keeper = Keeper(cache)
    for name in (
        "Host/Library/Model:Latest",
        "host/library/model:latest",
        "HOST/library/Other:x",
        "host/Library/OTHER:x",
    ):
        keeper.add(Name.parse(name), Digest.of(manifest_of(1)), manifest_of(1))
    keeper.write()
    assert ["/".join(name.path) for name in cache.links] == ["Host/Library/Model/Latest", "Host/Library/Other/x"]


def test_a_pinned_name_gets_no_link(cache: DiskCache) -> None:
    digest = Digest.of(manifest_of(1))
    keeper = Keeper(cache)
    keeper.add(name_of(1).pinned(digest), digest, manifest_of(1))
    keeper.write()
    assert not list(cache.links)
    assert cache.get(digest).size == len(manifest_of(1))


def test_p3_the_time_is_the_same_before_and_after_it_is_written_and_at_the_next_mount(cache: DiskCache) -> None:
    digest = Digest.of(manifest_of(1))
    keeper = Keeper(cache)
    assert keeper.seen(digest) == 0
    keeper.add(name_of(1), digest, manifest_of(1))
    seen = keeper.seen(digest)
    assert seen > 0
    keeper.write()
    assert keeper.seen(digest) == seen
    assert Keeper(cache).seen(digest) == seen
    os.utime(cache.path(digest), (1000, 1000))
    later = Keeper(cache)
    later.add(name_of(1), digest, manifest_of(1))
    assert later.seen(digest) == 1000


def test_close_writes_what_is_left_and_waits_for_no_disk(cache: DiskCache, calls: list[str]) -> None:
    keeper = added(cache, range(MANY))
    keeper.close()
    keeper.sync()
    assert len(list(cache.links)) == MANY
    assert "fsync" not in calls


@pytest.mark.logs("model0:latest: the manifest could not be kept")
@pytest.mark.logs("model1:latest: the manifest could not be kept")
def test_p8_each_manifest_that_a_full_disk_refuses_is_one_line(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    keeper = added(cache, range(2))
    monkeypatch.setattr(os, "pwrite", refuse)
    keeper.work()
    assert not list(cache.links)


def torn_ways(raw: bytes) -> list[bytes]:
    """What may be left of a file that was renamed and not synced: any blocks of it, zeros for the others."""
    block = 4096
    return [
        b"",
        raw[:block],
        bytes(len(raw)),
        raw[:block] + bytes(len(raw) - block),
        bytes(block) + raw[block:],
        raw[:-block] + bytes(block),
    ]


@pytest.mark.parametrize("way", range(6))
def test_p7_a_torn_manifest_is_noticed_never_used_and_mended(cache: DiskCache, way: int) -> None:
    raw = manifest_of(1)
    name, digest = name_of(1), Digest.of(raw)
    added(cache, range(1, 2)).write()
    torn = torn_ways(raw)[way]
    for path in (cache.path(digest), cache.root.joinpath("manifests", *name.path)):
        path.chmod(0o644)
        path.write_bytes(torn)
    failure = TransportError("no route to host", source="far")
    with pytest.raises(TransportError):
        last_known(name, failure, cache)
    source = FakeSource()
    source.add_manifest(name, raw)
    for asked in (name, name.pinned(digest)):
        keeper = Keeper(cache)
        assert resolve(asked, [source], cache, keeper).raw == raw
        keeper.write()
    assert cache.links.read(name) == raw
    assert cache.read(digest, len(raw)) == raw
