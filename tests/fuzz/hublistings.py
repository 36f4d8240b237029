"""Listings that the Hub's library keeps in its cache, which another user may have written."""

from __future__ import annotations

import json

from fusefs.artifacts.hublisting import file_by_etag, listing_of, parse_listing
from fusefs.artifacts.hubtree import HubTree, pointer_of
from fusefs.artifacts.manifest import MAX_LAYERS, Manifest
from fusefs.errors import InvalidManifest
from fusefs.values.chunklimits import MAX_BLOB_SIZE
from tests.fuzz.manifests import check_paths
from tests.fuzz.target import NUMBERS, Target
from tests.serve.hub import FIRST, git_oid

_OID, _HASH = "1" * 40, "ab" * 32


def listing(data: bytes) -> None:
    """Files that a mount takes, with one document, by our own listing, too; or an error in one line."""
    try:
        tree = parse_listing(FIRST, data)
    except InvalidManifest as exc:
        assert "\n" not in str(exc)
        return
    assert 1 <= len(tree.files) <= MAX_LAYERS
    check_paths([file.path for file in tree.files])
    for file in tree.files:
        assert 0 <= file.blob.size <= MAX_BLOB_SIZE
        by_etag = file_by_etag(file.path, file.blob.size, file.blob.digest.hex)
        assert by_etag is not None
        assert (by_etag.blob, by_etag.oid) == (file.blob, file.oid)
    assert parse_listing(FIRST, listing_of(tree.files)) == tree
    assert HubTree.parse(tree.document()) == tree
    assert len(Manifest.parse(tree.document()).layers) == len(tree.files)


def _seeds() -> list[bytes]:
    small = {"size": 2, "blob_id": _OID}
    large = {"size": 9, "blob_id": git_oid(pointer_of(_HASH, 9)), "lfs_sha256": _HASH, "lfs_size": 9, "xet_hash": _HASH}
    files: tuple[dict[str, object], ...] = ({"a/b": small, "c.bin": large}, {"a": small}, {})
    return [json.dumps({"format_version": 1, "files": one}).encode() for one in files]


TARGETS = [
    Target(
        "hub-listing",
        listing,
        _seeds,
        words=(*NUMBERS, b'"lfs_sha256": ', b'"xet_hash": null', b"../", b"/", b"*" * 64, b"\\u0000", _OID.encode()),
    )
]
