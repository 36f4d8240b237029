"""Listings of the Hub's library: read as strictly as what comes from the network, and written as the library does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from huggingface_hub._tree_cache import TreeCacheEntry, read_tree_cache, write_tree_cache

from fusefs.artifacts.hublisting import file_by_etag, hub_folder, listing_of, parse_listing
from fusefs.artifacts.hubtree import HubFile, HubTree, pointer_of
from fusefs.errors import InvalidManifest
from fusefs.values.chunks import Blob
from fusefs.values.digest import GIT_SHA1, SHA256, Digest
from tests.serve.hub import git_oid

if TYPE_CHECKING:
    from pathlib import Path

COMMIT = "c" * 40


def small(path: str, oid: str, size: int = 2) -> HubFile:
    return HubFile(path, Blob(Digest(GIT_SHA1, oid), size), oid)


def large(path: str, sha256: str, size: int, xet: str = "") -> HubFile:
    return HubFile(path, Blob(Digest(SHA256, sha256), size), git_oid(pointer_of(sha256, size)), xet)


FILES = (
    small("config.json", "1" * 40),
    large("onnx/modèle.onnx", "a" * 64, 7, "b" * 64),
    large("weights.bin", "d" * 64, 9),
)


def as_library(file: HubFile) -> TreeCacheEntry:
    is_large = file.blob.digest.is_sha256
    sha256, size = (file.blob.digest.hex, file.blob.size) if is_large else (None, None)
    return TreeCacheEntry(file.blob.size, file.oid, sha256, size, file.xet or None)


def test_a_listing_is_what_the_library_writes_byte_for_byte_and_it_reads_ours(tmp_path: Path) -> None:
    known = {file.path: as_library(file) for file in FILES}
    write_tree_cache(str(tmp_path / "theirs"), COMMIT, known)
    assert listing_of(reversed(FILES)) == (tmp_path / "theirs/trees" / f"{COMMIT}.json").read_bytes()
    (tmp_path / "ours/trees").mkdir(parents=True)
    (tmp_path / "ours/trees" / f"{COMMIT}.json").write_bytes(listing_of(FILES))
    assert read_tree_cache(str(tmp_path / "ours"), COMMIT) == known
    assert parse_listing(COMMIT, listing_of(FILES)) == HubTree(COMMIT, FILES)


def listing(path: str = "a", **file: Any) -> bytes:
    entry = {"size": 2, "blob_id": "1" * 40} | file
    return json.dumps({"format_version": 1, "files": {path: entry}}).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"format_version": 1, "files": {}}',
        listing().replace(b'"format_version": 1', b'"format_version": 2'),
        listing(size=-1),
        listing(size=1 << 60),
        listing(size=True),
        listing(blob_id="../../etc/passwd"),
        listing(blob_id="1" * 39),
        listing(lfs_sha256="*" * 64),
        listing(lfs_sha256="A" * 64),
        listing(lfs_sha256="a" * 64, xet_hash="*" * 64, blob_id=git_oid(pointer_of("a" * 64, 2))),
        listing(lfs_sha256="a" * 64),  # of another pointer
        listing(lfs_sha256="a" * 64, lfs_size=3, blob_id=git_oid(pointer_of("a" * 64, 2))),
        listing("../a"),
        listing("/a"),
        listing("a//b"),
        listing("a\nb"),
        json.dumps(
            {"format_version": 1, "files": {n: {"size": 1, "blob_id": "1" * 40} for n in ("a", "a/b")}}
        ).encode(),
    ],
)
def test_p10_what_is_no_listing_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidManifest):
        parse_listing(COMMIT, raw)


def test_a_field_of_a_later_version_is_passed_over() -> None:
    assert parse_listing(COMMIT, listing(new_field=[1])).files == (small("a", "1" * 40),)


def test_a_name_in_blobs_says_what_git_has() -> None:
    assert file_by_etag("weights.bin", 9, "d" * 64) == FILES[2]
    assert file_by_etag("config.json", 2, "1" * 40) == FILES[0]
    assert file_by_etag("config.json", 2, "1" * 40 + ".incomplete") is None


def test_the_folder_of_a_repository_is_the_librarys() -> None:
    assert hub_folder("models", "org/name") == "models--org--name"
    assert hub_folder("datasets", "squad") == "datasets--squad"
