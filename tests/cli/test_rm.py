"""`fusefs rm`, by the command line: what goes, what stays, and what it says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.space.eviction import scan
from fusefs.values.names import Name
from tests.chunkers import blob_of, fill, opened
from tests.cli.cached import Cached, cached, inside
from tests.fake_source import chunk_list
from tests.world import some_bytes

if TYPE_CHECKING:
    from tests.cli.conftest import Shell

__all__ = ["cached", "inside"]


def test_a_model_goes_with_its_name_and_all_that_only_it_needs(fusefs: Shell, cached: Cached) -> None:
    shared, stranger = cached.blob(1), cached.blob(1)
    going, staying = cached.model("going:1", 1, shared), cached.model("staying:1", 1, shared)
    assert fusefs("rm", "going:1").stdout == "going:1: removed, 200 KiB freed; 1 blob stays for other models\n"
    assert cached.names() == ["staying:1"]
    assert [cached.has(one) for one in (going, staying, shared, stranger)] == [False, True, True, True]
    assert len(scan(cached.cache)) == 4  # the manifest of the one that stays is the fourth


def test_what_two_models_share_goes_with_the_second(fusefs: Shell, cached: Cached) -> None:
    shared = cached.blob(1)
    cached.model("a:1", 1, shared)
    cached.model("b:1", 1, shared)
    report = json.loads(fusefs("rm", "a:1", "b:1", "--json").stdout)
    assert [(one["short"], one["shared"]) for one in report["removed"]] == [("a:1", 1), ("b:1", 0)]
    assert report["freed_total"] == sum(one["bytes"] for one in report["removed"]) > 600_000
    assert report["kept"] == []
    assert scan(cached.cache) == []
    assert list((cached.root / "manifests").iterdir()) == []


def test_a_model_that_is_not_there_is_an_error_and_the_others_go(fusefs: Shell, cached: Cached) -> None:
    own = cached.model("there:1", 1)
    done = fusefs("rm", "absent:1", "there:1", code=1)
    assert done.stderr == "fusefs: error: absent:1: not in the cache; `fusefs ls` shows what is\n"
    assert done.stdout.startswith("there:1: removed, ")
    assert not cached.has(own)


def test_several_that_stay_are_one_line_and_all_in_the_document(fusefs: Shell, cached: Cached) -> None:
    done = fusefs("rm", "x:1", "y:1", "--json", code=1)
    assert done.stderr.startswith("fusefs: error: 2 models were not removed; the first: x:1: not in the cache")
    assert done.stderr.count("\n") == 1
    assert [one["short"] for one in json.loads(done.stdout)["kept"]] == ["x:1", "y:1"]


def test_a_model_of_any_registry_is_listed_pinned_and_removed(fusefs: Shell, cached: Cached) -> None:
    names = ("oci://h/flat:v1", "ghcr.io/a/b/c/d:v1", "127.0.0.1:5000/flat:v1")
    own = [cached.model(name, 1) for name in names]
    shown = fusefs("ls").stdout
    assert all(name in shown for name in names)
    fusefs("pin", *names)
    assert fusefs("ls").stdout.count("pinned") == 3
    fusefs("unpin", *names)
    fusefs("rm", *names)
    assert cached.names() == []
    assert not any(map(cached.has, own))


def test_names_are_found_whatever_their_case(fusefs: Shell, cached: Cached) -> None:
    cached.model("Team/Model:V1", 1)
    fusefs("rm", "team/model:v1")
    assert cached.names() == []


def test_a_pinned_model_stays_and_so_do_the_blobs_that_it_needs(fusefs: Shell, cached: Cached) -> None:
    shared = cached.blob(1)
    own = cached.model("kept:1", 1, shared)
    cached.model("going:1", 1, shared)
    fusefs("pin", "kept:1")
    done = fusefs("rm", "kept:1", "going:1", code=1)
    assert "kept:1: pinned; run: fusefs unpin " in done.stderr
    assert cached.has(own)
    assert cached.has(shared)
    fusefs("unpin", "kept:1")
    fusefs("rm", "kept:1")
    assert scan(cached.cache) == []


def test_another_manifest_than_the_digest_says_stays(fusefs: Shell, cached: Cached) -> None:
    own = cached.model("m:1", 1)
    assert "another manifest under this name" in fusefs("rm", f"m:1@sha256:{'0' * 64}", code=1).stderr
    assert cached.has(own)


@pytest.mark.parametrize("whose", ["its own", "shared with one that stays"])
def test_p9_what_somebody_has_open_stays_whole_with_its_name(fusefs: Shell, cached: Cached, whose: str) -> None:
    data = some_bytes(50_000)
    with opened(cached.root, data, 5000) as chunker:
        fill(chunker, data, 0, 1)
        raw = json.dumps({"layers": [{"digest": str(blob_of(data).digest), "size": len(data)}]}).encode()
        cached.cache.links.write(Name.parse("open:1"), raw)
        if whose != "its own":
            cached.cache.links.write(Name.parse("other:1"), raw)
            assert "nothing freed" in fusefs("rm", "open:1").stdout
        else:
            done = fusefs("rm", "open:1", code=1)
            assert done.stderr == "fusefs: error: open:1: in use by a mount, a pull or another program\n"
            assert cached.names() == ["open:1"]
        assert bytes(chunker.pread(0, 10_000)) == data[:10_000]
        assert not chunker.missing(0, 10_000)


def test_a_model_of_which_a_part_arrived_leaves_nothing_behind(fusefs: Shell, cached: Cached) -> None:
    data, other = some_bytes(50_000), some_bytes(30_000, seed=7)
    with opened(cached.root, data, 5000) as chunker:
        fill(chunker, data, 3)
    cached.cache.chunker(blob_of(other), chunk_list(other, 5000)).close()
    layers = [{"digest": str(blob_of(one).digest), "size": len(one)} for one in (data, other, some_bytes(9, seed=8))]
    cached.cache.links.write(Name.parse("part:1"), json.dumps({"layers": layers}).encode())
    fusefs("rm", "part:1")
    assert list((cached.root / "partial").iterdir()) == []


def test_a_name_whose_manifest_has_rotted_can_be_removed(fusefs: Shell, cached: Cached) -> None:
    cached.cache.links.write(Name.parse("torn:1"), b"{")
    assert fusefs("rm", "torn:1").stdout == "torn:1: removed, nothing freed\n"
    assert cached.names() == []


def test_a_cache_that_does_not_exist_is_an_error_in_one_line(fusefs: Shell) -> None:
    assert "does not exist" in fusefs.fails("rm", "m:1", "--cache-dir", "nowhere")


@pytest.mark.slow
def test_a_mounted_model_stays_and_goes_when_it_is_unmounted(fusefs: Shell, model: str) -> None:
    mnt = fusefs.folder("mnt")
    fusefs("mount", model, mnt)
    assert "in use by a mount" in fusefs("rm", model, code=1).stderr
    assert (mnt / "config.json").read_bytes() == b'{"a": 1}'
    fusefs("umount", mnt)
    assert "removed" in fusefs("rm", model).stdout
    assert "no models" in fusefs("ls").stdout
