"""The listing of a commit that the Hugging Face Hub's library keeps in its cache: `trees/<commit>.json`.

    {"format_version": 1, "files": {"model.safetensors": {"size": 9, "blob_id": "<git sha1>", "lfs_sha256": "<sha256>",
     "lfs_size": 9, "xet_hash": "<64 hex>"}, "config.json": {"size": 2, "blob_id": "<git sha1>"}}}

It says what the Hub's own listing says, so that a commit has the same document by either (`fusefs.artifacts.hubtree`).
Who reads one may be shown a cache that another user has written: paths and hashes are checked as if they came from the
network.  Source: huggingface_hub 2.4, `_tree_cache.py`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec

from fusefs.artifacts.hubtree import HubFile, HubTree, pointer_of
from fusefs.errors import InvalidManifest
from fusefs.values.chunklimits import MAX_BLOB_SIZE
from fusefs.values.chunks import Blob
from fusefs.values.digest import GIT_SHA1, SHA256, Digest

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_LISTING_SIZE = 64 << 20
"""Bytes of a listing that are read at most: 65,536 files with long names have a third of it."""

COMMIT = re.compile(r"[0-9a-f]{40}")
"""What a commit is called; the name of a branch may look so, too, and means the commit then."""

_VERSION = 1
_OID = re.compile(r"[0-9a-f]{40}")
_HASH = re.compile(r"[0-9a-f]{64}")
_SHOWN = 100


class _File(msgspec.Struct, frozen=True):
    size: int
    blob_id: str
    lfs_sha256: str | None = None
    lfs_size: int | None = None
    xet_hash: str | None = None


class _Listing(msgspec.Struct, frozen=True):
    format_version: int
    files: dict[str, _File]


_decoder = msgspec.json.Decoder(_Listing)


def parse_listing(commit: str, raw: bytes) -> HubTree:
    """Read the listing of a commit.

    Raises:
        InvalidManifest: it is none, of another version, too large, or names what no mount takes.
    """
    try:
        listing = _decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidManifest(f"invalid listing: {str(exc)[:200]}") from exc
    if listing.format_version != _VERSION:
        raise InvalidManifest(f"invalid listing: version {listing.format_version} is not known")
    return HubTree.of(commit, (_listed(path, file) for path, file in listing.files.items()))


def listing_of(files: Iterable[HubFile]) -> bytes:
    """The listing of a commit, byte for byte as the library writes it."""
    entries = {file.path: _written(file) for file in sorted(files, key=lambda file: file.path)}
    return json.dumps({"format_version": _VERSION, "files": entries}, indent=1).encode()


def file_by_etag(path: str, size: int, etag: str) -> HubFile | None:
    """A file by what the library calls its content in `blobs`; None when that is no hash.

    How Xet has it is not said by that.
    """
    if _OID.fullmatch(etag):
        return HubFile(path, Blob(Digest(GIT_SHA1, etag), size), etag)
    if not _HASH.fullmatch(etag):
        return None
    return HubFile(path, Blob(Digest(SHA256, etag), size), _pointer_id(etag, size))


def hub_folder(kind: str, repository: str) -> str:
    """What the library calls the folder of a repository.

    Args:
        kind: `models`, `datasets` or `spaces`.
        repository: `organization/name`, or the name alone of an old one.
    """
    return "--".join((kind, *repository.split("/")))


def _listed(path: str, file: _File) -> HubFile:
    shown = f"invalid listing: {path[:_SHOWN]!a}"
    if not _OID.fullmatch(file.blob_id) or not 0 <= file.size <= MAX_BLOB_SIZE:
        raise InvalidManifest(f"{shown} has no blob_id of 40 digits, or {file.size} bytes")
    if file.lfs_sha256 is None:
        return HubFile(path, Blob(Digest(GIT_SHA1, file.blob_id), file.size), file.blob_id)
    size, xet = file.size if file.lfs_size is None else file.lfs_size, file.xet_hash or ""
    if not _HASH.fullmatch(file.lfs_sha256) or (xet and not _HASH.fullmatch(xet)) or not 0 <= size <= MAX_BLOB_SIZE:
        raise InvalidManifest(f"{shown} has hashes that are none, or {size} bytes")
    if file.blob_id != _pointer_id(file.lfs_sha256, size):
        raise InvalidManifest(f"{shown}: its blob_id is not that of a pointer to its sha256")
    return HubFile(path, Blob(Digest(SHA256, file.lfs_sha256), size), file.blob_id, xet)


def _written(file: HubFile) -> dict[str, Any]:
    size = file.blob.size
    entry: dict[str, Any] = {"size": size, "blob_id": file.oid}
    if file.blob.digest.is_sha256:
        entry |= {"lfs_sha256": file.blob.digest.hex, "lfs_size": size}
    if file.xet:
        entry["xet_hash"] = file.xet
    return entry


def _pointer_id(sha256: str, size: int) -> str:
    pointer = pointer_of(sha256, size)
    hasher = Digest(GIT_SHA1, "0" * 40).hasher(len(pointer))
    hasher.update(pointer)
    return hasher.hexdigest()
