"""Lists of digests beside files: SHA256SUMS and Metalink 4, and the names of what lies beside them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fusefs.artifacts.autoindex import parse_autoindex
from fusefs.artifacts.foldermanifest import folder_manifest
from fusefs.artifacts.locklist import parse_locked
from fusefs.artifacts.manifest import MAX_LAYERS, Manifest
from fusefs.artifacts.metalink import parse_metalink
from fusefs.artifacts.snapshots import snapshot_of
from fusefs.artifacts.sums import parse_sums
from fusefs.errors import InvalidInput, InvalidManifest
from fusefs.values.chunklimits import MAX_BLOB_SIZE
from fusefs.values.chunks import Blob
from fusefs.values.names import Name
from fusefs.values.webtree import WebTree, name_at
from tests.fuzz.manifests import check_paths
from tests.fuzz.target import NUMBERS, Target

if TYPE_CHECKING:
    from fusefs.artifacts.listedfile import ListedFile

_HEX = "ab" * 32
_NAME = Name.parse("m")


def _check(files: tuple[ListedFile, ...]) -> None:
    """Each file may be one of a mount, and the document of all of them is a manifest, or is refused as one."""
    assert 1 <= len(files) <= MAX_LAYERS
    for file in files:
        check_paths([file.path])
        assert file.digest.is_sha256
        assert file.size is None or 0 <= file.size <= MAX_BLOB_SIZE
        if file.pieces is not None:
            assert file.size is not None
            assert len(file.pieces.digests) == 32 * -(-file.size // file.pieces.size)
    assert [file.path for file in files] == sorted({file.path for file in files})
    document = folder_manifest([(file.path, Blob(file.digest, file.size or 0)) for file in files])
    try:
        shown = snapshot_of(_NAME, Manifest.parse(document))
    except InvalidManifest:
        return  # a file that is a folder, too
    assert [file.path for file in shown.files] == [file.path for file in files]


def sums(data: bytes) -> None:
    """Files, or an error with the line."""
    try:
        found = parse_sums(data)
    except InvalidManifest as exc:
        assert "\n" not in str(exc)
        return
    _check(found)


def metalink(data: bytes) -> None:
    """Files, or an error of ours."""
    try:
        found = parse_metalink(data)
    except InvalidManifest as exc:
        assert "\n" not in str(exc)
        return
    _check(found)


def autoindex(data: bytes) -> None:
    """Names of one component each, or none, whatever page comes."""
    try:
        files, folders = parse_autoindex(data, "/m%20x/")
    except InvalidManifest as exc:
        assert "\n" not in str(exc)
        return
    for name in (*files, *folders):
        assert name not in ("", ".", "..")
        assert "/" not in name
    assert len({*files}) == len(files)
    assert len({*folders}) == len(folders)


def locked(data: bytes) -> None:
    """Files with their sizes, or an error of ours."""
    try:
        found = parse_locked(data)
    except InvalidManifest as exc:
        assert "\n" not in str(exc)
        return
    assert all(file.size is not None for file in found)
    _check(found)


def webtree(data: bytes) -> None:
    """A URL comes back from its text and from its place in the cache, where each part is one component."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        found = WebTree.read(text)
    except InvalidInput:
        return
    if found is None:
        return
    assert WebTree.read(str(found)) == found
    assert name_at(*found.path).path == found.path
    assert not {"", ".", ".."}.intersection(found.path)
    assert all(part.isascii() and part.isprintable() and "/" not in part for part in found.path)


def _metalinks() -> list[bytes]:
    head = '<?xml version="1.0"?><metalink xmlns="urn:ietf:params:xml:ns:metalink">'
    whole = f'<hash type="sha-256">{_HEX}</hash>'
    pieces = f'<pieces length="4" type="sha-256"><hash>{_HEX}</hash><hash>{_HEX}</hash></pieces>'
    texts = [
        f'{head}<file name="a/b"><size>7</size>{whole}{pieces}<url priority="1">http://h/a</url></file></metalink>',
        f'{head}<file name="a">{whole}</file><file name="b">{whole}</file></metalink>',
        f'<!DOCTYPE a [<!ENTITY x "y">]>{head}<file name="&x;"/></metalink>',
    ]
    return [text.encode() for text in texts]


def _locks() -> list[bytes]:
    blob = {"digest": f"sha256:{_HEX}", "size": 7, "chunks": f"sha256:{_HEX}", "paths": ["a/b", "./c"]}
    model = {"source": "http://h/a/b:v1", "manifest": f"sha256:{_HEX}", "blobs": [blob]}
    return [json.dumps({"version": 1, "models": models}).encode() for models in ([model], [model, model])]


TARGETS = [
    Target("lock-list", locked, _locks, words=(*NUMBERS, b'"paths":["', b"../", b"//", _HEX.encode())),
    Target(
        "sums",
        sums,
        lambda: [
            f"{_HEX}  a/b\n{_HEX} *c\n".encode(),
            f"SHA256 (a) = {_HEX}\r\nMD5 (a) = 12\r\n".encode(),
            f"\\{_HEX}  a\\\\b\n# x\n\n".encode(),
        ],
        words=(
            b"  ",
            b" *",
            b"SHA256 (",
            b") = ",
            b"\\",
            b"\\\\",
            b"\r\n",
            b"../",
            b"./",
            b"/",
            _HEX.encode(),
            b"\xff",
        ),
    ),
    Target(
        "metalink",
        metalink,
        _metalinks,
        words=(
            *NUMBERS,
            b"<file name='",
            b"</file>",
            b"<hash>",
            b"sha-256",
            b"<!DOCTYPE",
            b"&#0;",
            b"xmlns=",
            _HEX.encode(),
        ),
    ),
    Target(
        "autoindex",
        autoindex,
        lambda: [
            b'<a href="../">..</a><a href="a%2Fb">a</a><a href="c/">c</a><a href="/m%20x/d">d</a>',
            b"<A HREF='./e'><!-- <a href=f> --><a href=\"?C=N\">",
        ],
        words=(
            b"<a href=",
            b"<!--",
            b"-->",
            b"<script>",
            b"%2e",
            b"%2f",
            b"../",
            b"./",
            b"/m%20x/",
            b"&#47;",
            b'"',
            b"//",
        ),
    ),
    Target(
        "webtree",
        webtree,
        lambda: [
            b"https://host:1/a/B%20c/",
            f"http://[::1]/m.gguf#sha256={_HEX}".encode(),
            b"s3://bucket/a/SHA256SUMS",
            f"gs://b/x/@sha256:{_HEX}".encode(),
        ],
        words=(b"://", b"/", b"#sha256=", b"@sha256:", b"..", b"%2F", b"+", b"=", b"?", b".meta4", _HEX.encode()),
    ),
]
