"""A cache of the Hugging Face Hub's library, as that writes it."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from fusefs.artifacts.hublisting import listing_of
from fusefs.artifacts.hubtree import HubFile, HubTree, pointer_of
from fusefs.values.chunks import Blob
from fusefs.values.digest import GIT_SHA1, Digest

if TYPE_CHECKING:
    from pathlib import Path

FIRST, SECOND = "1" * 40, "2" * 40


def write_repository(
    hub: Path, folder: str, files: dict[str, bytes], commit: str = FIRST, reference: str = "main"
) -> Path:
    """Write a snapshot and a reference to it.

    Returns:
        The snapshot.
    """
    repository = hub / folder
    snapshot = repository / "snapshots" / commit
    for path in (repository / "blobs", repository / "refs", snapshot):
        path.mkdir(parents=True, exist_ok=True)
    if reference:
        (repository / "refs" / reference).write_text(commit)
    for name, content in files.items():
        blob = repository / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        link = snapshot / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot


def git_oid(data: bytes) -> str:
    """The name that git has for a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


LARGE = (".bin", ".safetensors")
"""Names of files of which git has pointers, in `write_downloaded`."""


def tree_of(files: dict[str, bytes], commit: str = FIRST) -> HubTree:
    """What a commit with these files is made of."""
    return HubTree.of(commit, [_file(path, data) for path, data in files.items()])


def write_downloaded(
    hub: Path,
    folder: str,
    files: dict[str, bytes],
    commit: str = FIRST,
    *,
    listed: bool = True,
    reference: str = "main",
) -> Path:
    """Write a snapshot as the library of today downloads it: blobs by their ETags, and a listing.

    Returns:
        The folder of the repository.
    """
    repository = hub / folder
    for name in ("blobs", "refs", "trees"):
        (repository / name).mkdir(parents=True, exist_ok=True)
    tree = tree_of(files, commit)
    for file in tree.files:
        blob = repository / "blobs" / file.blob.digest.hex
        if not blob.exists():
            blob.write_bytes(files[file.path])
        link = repository / "snapshots" / commit / file.path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    if listed:
        (repository / "trees" / f"{commit}.json").write_bytes(listing_of(tree.files))
    if reference:
        (repository / "refs" / reference).write_text(commit)
    return repository


def _file(path: str, data: bytes) -> HubFile:
    if not path.endswith(LARGE):
        return HubFile(path, Blob(Digest(GIT_SHA1, git_oid(data)), len(data)), git_oid(data))
    digest = Digest.of(data)
    return HubFile(path, Blob(digest, len(data)), git_oid(pointer_of(digest.hex, len(data))))
