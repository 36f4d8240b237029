"""Inodes, order and cost of the tree."""

from __future__ import annotations

import random
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from fusefs.errors import IsAFolder, NoSuchEntry, NotAFolder
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest
from fusefs.values.snapshot import File, Slice
from fusefs.vfs import tree as tree_module
from fusefs.vfs.tree import ROOT_INODE, FileNode, FolderNode, Tree, hash_of
from tests.counting import calls

if TYPE_CHECKING:
    from collections.abc import Iterable


def _tree(*paths: str) -> Tree:
    return Tree(File(path, path.encode()) for path in paths)


def _numbers(tree: Tree) -> dict[str, int]:
    return {node.path: node.inode for node in tree.files}


def test_p3_inode_numbers_come_from_the_path_alone() -> None:
    """Whatever else is mounted beside, and in whatever order it came: the numbers are pinned here for ever."""
    assert _numbers(_tree("a/b", "c")) == _numbers(_tree("c", "a/b"))
    assert _numbers(_tree("a/b", "c", "d"))["c"] == _numbers(_tree("c"))["c"]
    assert hash_of("model.gguf") == 438367237969210
    assert _tree("x").root.inode == ROOT_INODE


def test_colliding_paths_get_numbers_of_their_own_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_module, "hash_of", lambda path: 0)
    one, two = _tree("a", "b", "c"), _tree("c", "b", "a")
    assert _numbers(one) == _numbers(two)
    assert sorted(_numbers(one).values()) == [2, 3, 4]


def test_a_number_wraps_at_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_module, "hash_of", lambda path: (1 << 52) - 1)
    assert sorted(_numbers(_tree("a", "b")).values()) == [2, (1 << 52) - 1]


def test_folders_know_their_children_in_order_and_their_links() -> None:
    tree = _tree("b", "a/x", "a/y/z", "c/q")
    assert [node.name for node in tree.root.order] == [b"a", b"b", b"c"]
    assert tree.root.folders == 2
    a = tree.root.children[b"a"]
    assert isinstance(a, FolderNode)
    assert (a.folders, a.parent, a.path) == (1, ROOT_INODE, "a")
    z = next(node for node in tree.files if node.path == "a/y/z")
    assert tree.node(z.parent).path == "a/y"
    assert len(tree) == 1 + 3 + 4


def test_a_folder_is_as_new_as_the_newest_file_below_it() -> None:
    tree = Tree([File("a/x", b"", 5), File("a/b/y", b"", 9), File("c", b"", 7)])
    assert tree.root.mtime_ns == 9
    assert tree.root.children[b"a"].mtime_ns == 9
    assert tree.root.children[b"c"].mtime_ns == 7


def test_nodes_are_found_by_number_and_kind() -> None:
    tree = _tree("a/x")
    file, folder = tree.files[0], tree.root.children[b"a"]
    assert tree.file(file.inode) is file
    assert tree.folder(folder.inode) is folder
    for call, error in ((tree.file, IsAFolder), (tree.folder, NotAFolder)):
        with pytest.raises(error):
            call(folder.inode if error is IsAFolder else file.inode)
    with pytest.raises(NoSuchEntry):
        tree.node(77)


@pytest.mark.parametrize("paths", [("a", "a"), ("a", "a/b"), ("a/b", "a/b")])
def test_paths_in_conflict_never_replace_each_other(paths: Iterable[str]) -> None:
    with pytest.raises(NotAFolder):
        _tree(*paths)


def test_each_distinct_blob_counts_once_in_the_size() -> None:
    blob = Slice.whole(Blob(Digest.of(b"x"), 1000))
    assert Tree([File("a", blob), File("b", blob), File("c", b"12345")]).size == 1005


def _blobs(count: int) -> list[File]:
    rng = random.Random(3)
    digests = [Digest.from_raw(rng.randbytes(32)) for _ in range(count)]
    return [File(f"blobs/{digest.file_name}", Slice.whole(Blob(digest, 1000))) for digest in digests]


def test_many_blobs_are_built_in_few_calls_each_and_twice_as_many_in_twice_the_calls() -> None:
    few, many = _blobs(2_000), _blobs(4_000)
    took = calls(lambda: Tree(few))
    assert took < 40 * len(few)
    assert calls(lambda: Tree(many)) < 2.1 * took


@pytest.mark.slow
def test_twenty_thousand_blobs_are_small() -> None:
    files = _blobs(20_000)
    tracemalloc.start()
    try:
        tree = Tree(files)
        assert tracemalloc.get_traced_memory()[0] < 600 * len(tree)
    finally:
        tracemalloc.stop()
    assert len(tree) == 20_002


def test_an_empty_tree_is_a_root() -> None:
    tree = _tree()
    assert (len(tree), tree.size, tuple(tree.root.order)) == (1, 0, ())
    assert not any(isinstance(node, FileNode) for node in tree.root.order)


def test_a_link_to_another_file_has_its_target_and_no_content_of_its_own() -> None:
    blob = Slice.whole(Blob(Digest.of(b"x"), 1000))
    tree = Tree([File("snapshots/a", blob, 5), File("blobs/x", b"", 5, "../snapshots/a")])
    link, file = tree.files
    assert (link.path, link.target, link.shown_elsewhere) == ("blobs/x", b"../snapshots/a", True)
    assert (file.target, file.shown_elsewhere) == (b"", False)
    assert tree.size == 1000
