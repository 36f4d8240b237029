"""Listings of the Hub: what they become, and which are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fusefs.artifacts.hubtree import HubTree, files_of_page, pointer_of
from fusefs.artifacts.manifest import Manifest
from fusefs.artifacts.snapshots import snapshot_of
from fusefs.errors import InvalidManifest, Masked
from fusefs.values.digest import Digest
from fusefs.values.hubname import HubName

COMMIT = "0123456789" * 4

RECORDED = json.loads(
    # huggingface.co, 2026-09-25 (wzshiming/xet, client/hf/hftest/testdata/ref-anonymous.json), hashes filled up.
    """[{"oid":"57fd000000000000000000000000000000000000","path":"regression","size":0,"type":"directory"},
    {"lfs":{"oid":"cd44947308b4b22228767cab8addd523d1de22abd9b23a10808e5fc295202e4f","pointerSize":132,"size":1048576},
     "oid":"c9176dbf0ba8556845af9072b3dd39d06764e8ba","path":"regression/ref-lfs.bin","size":1048576,"type":"file",
     "xetHash":"f857c20483a87a6737b06f718d340429fc080f73c00f6d46b2030b58734a61e4"},
    {"oid":"e5698f9a00000000000000000000000000000000","path":"regression/ref-regular.txt","size":186,"type":"file"}]"""
)


def page(*entries: dict[str, Any]) -> bytes:
    return json.dumps(list(entries)).encode()


def regular(path: str, size: int = 3, **more: Any) -> dict[str, Any]:
    return {"oid": "ab" * 20, "path": path, "size": size, "type": "file"} | more


def large(**more: Any) -> dict[str, Any]:
    return {**RECORDED[1], **more}


def test_a_recorded_page_becomes_files_with_the_digests_that_prove_them() -> None:
    lfs, text = files_of_page(json.dumps(RECORDED).encode())
    assert (lfs.path, lfs.blob.size, lfs.oid) == ("regression/ref-lfs.bin", 1048576, RECORDED[1]["oid"])
    assert str(lfs.blob.digest) == f"sha256:{RECORDED[1]['lfs']['oid']}"
    assert lfs.xet == RECORDED[1]["xetHash"]
    assert (text.path, str(text.blob.digest), text.xet) == (
        "regression/ref-regular.txt",
        "git-sha1:e5698f9a00000000000000000000000000000000",
        "",
    )


def test_the_same_commit_gives_the_same_document_whatever_the_order_of_pages() -> None:
    files = files_of_page(json.dumps(RECORDED).encode())
    tree = HubTree.of(COMMIT, files)
    assert tree.document() == HubTree.of(COMMIT, reversed(files)).document()
    assert HubTree.parse(tree.document()) == tree


def test_the_document_is_read_as_a_manifest_whose_files_are_those_of_the_tree() -> None:
    tree = HubTree.of(COMMIT, files_of_page(json.dumps(RECORDED).encode()))
    name = HubName.read("hf://org/m")
    assert name is not None
    shown = snapshot_of(name, Manifest.parse(tree.document()))
    assert [(file.path, file.content.blob) for file in shown.files] == [(f.path, f.blob) for f in tree.files]  # type: ignore[union-attr]
    assert shown.blobs == tuple(file.blob for file in tree.files)


def test_a_registrys_manifest_cannot_name_a_blob_by_gits_hash() -> None:
    document = {"layers": [{"digest": f"git-sha1:{'ab' * 20}", "size": 1, "name": "x"}]}
    with pytest.raises(InvalidManifest):
        Manifest.parse(json.dumps(document).encode())


@pytest.mark.parametrize("entry", [large(lfs=large()["lfs"] | {"oid": "*" * 64}), large(xetHash="*" * 64)])
def test_p10_hashes_that_are_not_shown_are_no_hashes(entry: dict[str, Any]) -> None:
    with pytest.raises(Masked):
        files_of_page(page(entry))


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (large(lfs=large()["lfs"] | {"oid": "cd" * 32}), "is not that of a pointer"),
        (large(oid="ab" * 20), "is not that of a pointer"),
        (large(lfs=large()["lfs"] | {"pointerSize": 133}), "is not that of a pointer"),
        (large(lfs=large()["lfs"] | {"size": 7}), "7 by its pointer"),
        (large(size=1048577), "1048576 by its pointer"),
        (large(lfs=large()["lfs"] | {"oid": "CD" * 32}), "hashes that are none"),
        (large(xetHash="f8"), "hashes that are none"),
        (regular("a", oid="AB" * 20), "no oid of 40 digits"),
        (regular("a", -1), "-1 bytes"),
        (regular("a", 1 << 60), "bytes"),
        (regular("a", oid=None), "invalid manifest"),
    ],
)
def test_p10_an_entry_that_contradicts_itself_is_refused_in_one_line(entry: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidManifest, match=said) as caught:
        files_of_page(page(entry))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([], "no files"),
        ([regular("../x")], "a component is '..'"),
        ([regular("/etc/passwd")], "absolute"),
        ([regular("a\nb")], "control characters"),
        ([regular("a"), regular("a")], "two"),
        ([regular("a"), regular("a/b")], "also a folder"),
        ([large(), large(path="b", lfs=None, size=3), large(path="c", lfs=None, size=4)], "two sizes"),
    ],
)
def test_p10_files_that_cannot_be_a_tree_are_refused_in_one_line(entries: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(InvalidManifest, match=said) as caught:
        HubTree.of(COMMIT, files_of_page(page(*entries)))
    assert "layer" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("raw", [b"", b"{}", b"<html>", b"[1]", b'[{"path":"a"}]', b"[" * 5000, b"\xff"])
def test_what_is_no_page_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidManifest):
        files_of_page(raw)


@pytest.mark.parametrize(
    "change",
    [
        {"commit": "main"},
        {"mediaType": "application/vnd.oci.image.manifest.v1+json"},
        {"layers": []},
        {"layers": [{"name": "a", "size": 1, "digest": f"sha512:{'a' * 128}"}]},
        {"layers": [{"name": "a", "size": 1, "digest": "sha256:12"}]},
        {"layers": [{"name": "../a", "size": 1, "digest": f"git-sha1:{'a' * 40}"}]},
    ],
)
def test_a_document_that_is_none_of_ours_is_refused(change: dict[str, Any]) -> None:
    document = json.loads(HubTree.of(COMMIT, files_of_page(page(regular("a")))).document())
    with pytest.raises(InvalidManifest):
        HubTree.parse(json.dumps(document | change).encode())


def test_a_pointer_is_what_git_lfs_writes() -> None:
    """From a recording: a pointer of 132 bytes, and the name that git has for it."""
    pointer = pointer_of(RECORDED[1]["lfs"]["oid"], 1048576)
    assert len(pointer) == 132
    assert Digest("git-sha1", RECORDED[1]["oid"]).matches(pointer)
