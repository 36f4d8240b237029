"""The Hub: names and addresses of pages, pages of listings, and the documents that are made of them."""

from __future__ import annotations

import json

from fusefs.artifacts.hubtree import HubTree, files_of_page
from fusefs.artifacts.manifest import MAX_LAYERS, Manifest
from fusefs.artifacts.snapshots import snapshot_of
from fusefs.errors import InvalidInput, InvalidManifest
from fusefs.values.chunklimits import MAX_BLOB_SIZE
from fusefs.values.digest import SHA256
from fusefs.values.hubname import HubName
from fusefs.values.hubpage import read_page
from fusefs.values.webtree import name_at
from tests.fuzz.manifests import check_paths
from tests.fuzz.target import NUMBERS, Target

_COMMIT = "ab" * 20
_OID, _SHA256 = (
    "c9176dbf0ba8556845af9072b3dd39d06764e8ba",
    "cd44947308b4b22228767cab8addd523d1de22abd9b23a10808e5fc295202e4f",
)


def hubname(data: bytes) -> None:
    """A name comes back from its text and from its place in the cache, where each part is one component."""
    text = data.decode("utf-8", "surrogateescape")
    for read in (HubName.read, read_page):
        try:
            found = read(text)
        except InvalidInput as exc:
            assert "\n" not in str(exc)
            continue
        if found is None:
            continue
        assert HubName.read(str(found)) == found
        assert name_at(*found.path).path == found.path
        assert name_at(*found.path).key == found.key
        assert not {"", ".", ".."}.intersection(found.path)
        assert all(part.isascii() and part.isprintable() and "/" not in part for part in found.path)
        assert all(len(part) < 256 for part in found.path)
        assert "/" not in "".join(found.folder)


def hubtree(data: bytes) -> None:
    """Files of a page may be those of a mount, and their document says the same again."""
    try:
        tree = HubTree.of(_COMMIT, files_of_page(data))
    except InvalidManifest as exc:
        assert "\n" not in str(exc)
        return
    assert 1 <= len(tree.files) <= MAX_LAYERS
    check_paths([file.path for file in tree.files])
    assert all(0 <= file.blob.size <= MAX_BLOB_SIZE for file in tree.files)
    assert all(not file.xet or file.blob.digest.algorithm == SHA256 for file in tree.files)
    _check_document(tree)


def hubdocument(data: bytes) -> None:
    """A document that somebody else wrote is that of a tree, or none."""
    try:
        tree = HubTree.parse(data)
    except InvalidManifest as exc:
        assert "\n" not in str(exc)
        return
    _check_document(tree)


def _check_document(tree: HubTree) -> None:
    document = tree.document()
    assert HubTree.parse(document) == tree
    name = HubName.read("hf://org/m")
    assert name is not None
    shown = snapshot_of(name, Manifest.parse(document))
    assert [file.path for file in shown.files] == [file.path for file in tree.files]


def _pages() -> list[bytes]:
    large = {"oid": _OID, "path": "a/b.bin", "size": 1048576, "type": "file", "xetHash": "ab" * 32}
    large["lfs"] = {"oid": _SHA256, "pointerSize": 132, "size": 1048576}
    small = {"oid": "ab" * 20, "path": "config.json", "size": 3, "type": "file"}
    folder = {"oid": "ab" * 20, "path": "a", "size": 0, "type": "directory"}
    return [json.dumps(entries).encode() for entries in ([large, small, folder], [small], [large])]


TARGETS = [
    Target(
        "hubname",
        hubname,
        lambda: [
            b"hf://org/Model@v1.0",
            f"hf://datasets/org/d@main:{_COMMIT}@sha256:{_SHA256}".encode(),
            b"hf+http://127.0.0.1:8080/x/Y/models/org/m@refs/pr/1",
            b"https://huggingface.co/org/m/resolve/feature%2Fx/a.bin?download=true",
            b"https://hf.co/gpt2",
        ],
        words=(
            b"hf://",
            b"hf+https://",
            b"models/",
            b"datasets/",
            b"@",
            b"%2F",
            b"%",
            b"refs/pr/",
            b"/tree/",
            b"..",
            b"\xff",
        ),
    ),
    Target(
        "hubtree",
        hubtree,
        _pages,
        words=(
            *NUMBERS,
            b'"lfs":',
            b'"xetHash":',
            b'"oid":',
            b"*" * 64,
            _OID.encode(),
            _SHA256.encode(),
            b"../",
            b"null",
        ),
    ),
    Target(
        "hubdocument",
        hubdocument,
        lambda: [HubTree.of(_COMMIT, files_of_page(page)).document() for page in _pages()],
        words=(*NUMBERS, b"git-sha1:", b"sha256:", b"sha512:", b'"commit":', b'"name":', b"../", b"null"),
    ),
]
