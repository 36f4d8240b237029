"""Metadata without a kernel: names, attributes, and what of them is said to be present."""

from __future__ import annotations

import os
import stat

import pytest

from fusefs.errors import NoSuchAttribute, NoSuchEntry, NoSuchNamespace, NotAFolder, ReadOnly
from fusefs.values.counters import Counters
from fusefs.values.digest import Digest
from fusefs.values.snapshot import File
from fusefs.vfs.filesystem import FileSystem
from fusefs.vfs.metadata import Metadata
from fusefs.vfs.tree import ROOT_INODE, Tree
from tests.fakes import FakeBlobFile, file_system_of

DATA = bytes(range(256)) * 10


def _inode(metadata: Metadata, path: str) -> int:
    inode = ROOT_INODE
    for part in path.split("/"):
        inode = metadata.lookup(inode, part.encode()).inode
    return inode


def test_lookup_walks_down_and_up() -> None:
    metadata = file_system_of({"a/b/c": b"x"}).metadata
    folder = _inode(metadata, "a/b")
    assert metadata.lookup(folder, b"..").inode == _inode(metadata, "a")
    assert metadata.lookup(folder, b".").inode == folder
    assert metadata.lookup(ROOT_INODE, b"..").inode == ROOT_INODE
    with pytest.raises(NoSuchEntry):
        metadata.lookup(folder, b"d")
    with pytest.raises(NotAFolder):
        metadata.lookup(_inode(metadata, "a/b/c"), b"d")
    with pytest.raises(NoSuchEntry):
        metadata.lookup(ROOT_INODE, b"\xff")


def test_attributes_of_files_and_folders() -> None:
    metadata = file_system_of({"a/b": FakeBlobFile(DATA, present=513, state="partial"), "c": b"12"}).metadata
    model = metadata.getattr(_inode(metadata, "a/b"))
    assert (model.size, model.blocks, model.mode) == (len(DATA), 2, stat.S_IFREG | 0o644)
    assert metadata.getattr(_inode(metadata, "c")).blocks == 1
    folder = metadata.getattr(ROOT_INODE)
    assert (folder.mode, folder.links, folder.size) == (stat.S_IFDIR | 0o755, 3, 0)


def test_only_what_is_sealed_is_valid_for_ever() -> None:
    for state in ("absent", "partial", "quarantined", "unproved"):
        metadata = file_system_of({"x": FakeBlobFile(DATA, present=len(DATA), state=state)}).metadata
        assert metadata.getattr(_inode(metadata, "x")).valid_for == 1.0
    metadata = file_system_of({"x": FakeBlobFile(DATA)}).metadata
    assert metadata.getattr(_inode(metadata, "x")).valid_for > 86400


def test_readdir_offsets_are_stable_and_can_be_resumed_anywhere() -> None:
    metadata = file_system_of({f"{number:03}": b"" for number in range(50)}).metadata
    everything = list(metadata.readdir(ROOT_INODE, 0))
    assert [name for name, _, _ in everything] == [b".", b"..", *(b"%03d" % number for number in range(50))]
    for position in range(len(everything)):
        assert list(metadata.readdir(ROOT_INODE, position)) == everything[position:]
        assert everything[position][2] == position + 1
    assert list(metadata.readdir(ROOT_INODE, 1000)) == []


def test_statfs_counts_bytes_and_inodes() -> None:
    metadata = file_system_of({"a/x": FakeBlobFile(DATA), "y": b"z" * 10_000}).metadata
    assert (metadata.statfs().blocks, metadata.statfs().files) == (-(-(len(DATA) + 10_000) // 4096), 4)


def test_access() -> None:
    metadata = file_system_of({"a/x": b"x"}).metadata
    assert metadata.access(_inode(metadata, "a/x"), os.R_OK)
    assert not metadata.access(_inode(metadata, "a/x"), os.X_OK)
    assert metadata.access(_inode(metadata, "a"), os.R_OK | os.X_OK)
    with pytest.raises(ReadOnly):
        metadata.access(_inode(metadata, "a"), os.W_OK)


def test_extended_attributes() -> None:
    metadata = file_system_of({"x": FakeBlobFile(DATA, present=3, state="partial"), "inline": b"{}"}).metadata
    values = {
        name: metadata.getxattr(_inode(metadata, "x"), name) for name in metadata.listxattr(_inode(metadata, "x"))
    }
    assert values == {
        "user.fusefs.digest": str(Digest.of(DATA)).encode(),
        "user.fusefs.state": b"partial",
        "user.fusefs.present": b"3",
        "user.fusefs.proof": b"bound",
    }
    assert metadata.getxattr(_inode(metadata, "inline"), "user.fusefs.state") == b"sealed"
    assert metadata.getxattr(_inode(metadata, "inline"), "user.fusefs.digest") == str(Digest.of(b"{}")).encode()
    assert metadata.listxattr(ROOT_INODE) == ()
    for inode, name in ((_inode(metadata, "x"), "user.none"), (ROOT_INODE, "user.fusefs.state")):
        with pytest.raises(NoSuchAttribute):
            metadata.getxattr(inode, name)
    for name in ("security.selinux", "system.posix_acl_access", "trusted.x"):
        with pytest.raises(NoSuchNamespace):
            metadata.getxattr(_inode(metadata, "x"), name)


def test_a_tree_without_blobs_needs_none() -> None:
    def open_blob(blob: object) -> FakeBlobFile:
        raise AssertionError(blob)

    metadata = FileSystem(Tree([File("x", b"1")]), open_blob, Counters()).metadata
    assert metadata.getattr(_inode(metadata, "x")).size == 1
