"""Manifests and indexes of them, and the paths that a mount makes from what they say."""

from __future__ import annotations

import json

from fusefs.artifacts.imageindex import choose_from_index
from fusefs.artifacts.kitfile import paths_of
from fusefs.artifacts.manifest import DOCKER_MANIFEST, MAX_LAYERS, OCI_INDEX, TITLE, Manifest
from fusefs.artifacts.ollama import OLLAMA
from fusefs.artifacts.paths import MAX_COMPONENT, MAX_DEPTH, MAX_PATH, check_path
from fusefs.artifacts.snapshots import snapshot_of
from fusefs.errors import InvalidInput, InvalidManifest
from fusefs.values.chunklimits import MAX_BLOB_SIZE
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from fusefs.vfs.layout import layout_of
from fusefs.vfs.tree import Tree
from tests.artifacts import FAMILIES, kitops
from tests.fuzz.target import NUMBERS, Target

_NAMES = [Name.parse(text) for text in ("a", "b", "x/a", "h:1/x/a:t")]


def check_paths(paths: list[str]) -> None:
    """Each is a relative path that a file system can hold, none is given twice, and no file is a folder."""
    folders = {path[:at] for path in paths for at, char in enumerate(path) if char == "/"}
    assert len(set(paths)) == len(paths)
    assert folders.isdisjoint(paths)
    for path in paths:
        assert not path.startswith("/")
        assert all(part not in ("", ".", "..") for part in path.split("/"))
        assert all(len(part.encode()) <= MAX_COMPONENT for part in path.split("/"))
        assert all(char.isprintable() or not ord(char) < 0xA0 for char in path)


def manifest(data: bytes) -> None:
    """A manifest has layers of sizes that may be, and every mount of it shows paths that may be."""
    try:
        parsed = Manifest.parse(data)
    except InvalidManifest:
        return
    assert parsed.digest == Digest.of(data)
    assert 1 <= len(parsed.layers) <= MAX_LAYERS
    assert all(0 <= blob.size <= MAX_BLOB_SIZE for blob in parsed.blobs())
    try:
        several = [snapshot_of(name, parsed) for name in _NAMES]
    except InvalidManifest:
        return
    for models in (several[:1], several):
        for layout in ("files", "ollama"):
            try:
                files = layout_of(models, "ollama" if layout == "ollama" else "files")
            except InvalidInput:
                continue
            check_paths([file.path for file in files])
            Tree(files)


def index(data: bytes) -> None:
    """One digest, or none, or an error; and what is an index is no manifest."""
    try:
        chosen = choose_from_index(data, "amd64")
    except InvalidManifest:
        return
    if chosen is None:
        return
    assert Digest.parse(str(chosen)) == chosen
    try:
        Manifest.parse(data)
    except InvalidManifest:
        return
    raise AssertionError("an index that is a manifest")


def kitfile(data: bytes) -> None:
    """Paths by digest, and none of what is no Kitfile."""
    for digest, path in paths_of(data).items():
        assert isinstance(digest, str)
        assert path


def layer_name(data: bytes) -> None:
    """A layer's name is a path that may be, or it is refused."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        parts = check_path(text)
    except InvalidManifest as exc:
        assert str(exc).isprintable()
        return
    check_paths(["/".join(parts)])
    assert "/".join(parts) == text
    assert len(parts) <= MAX_DEPTH
    assert len(text.encode()) <= MAX_PATH


def layer(media_type: str, number: int, **more: object) -> dict[str, object]:
    """A layer as it stands in the JSON."""
    return {"mediaType": media_type, "digest": str(Digest.of(b"%d" % number)), "size": number, **more}


def _manifest_seeds() -> list[bytes]:
    kinds = ("model", "projector", "template", "params", "license", "license")
    ollama = [layer(OLLAMA + kind, number) for number, kind in enumerate(kinds)]
    titled = [layer("x", 9, annotations={TITLE: "a/b/c.bin"}), layer("", 8, name="config.json")]
    config = layer("application/vnd.docker.container.image.v1+json", 7)
    documents: list[dict[str, object]] = [
        {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": ollama},
        {"schemaVersion": 2, "layers": titled},
        {"layers": [layer("application/vnd.fusefs.file", 1, name="x/y"), *titled], "config": config},
    ]
    return [json.dumps(document).encode() for document in documents]


def _family_seeds() -> list[bytes]:
    return [family().manifest for family in FAMILIES.values()]


def _index_seeds() -> list[bytes]:
    one = layer(DOCKER_MANIFEST, 1, platform={"os": "linux", "architecture": "amd64"})
    return [json.dumps({"mediaType": OCI_INDEX, "manifests": some}).encode() for some in ([one], [one, one], [])]


_KEYS = ("layers", "manifests", "config", "digest", "size", "name", "annotations", TITLE, "mediaType")
_WORDS = (*(f'"{key}":'.encode() for key in _KEYS), b"null", b'"../"', b'"\\u0000"', b'"\\ud800"', b"[[[[", *NUMBERS)
_PATHS = (b"/", b"../", b"./", b"\xe2\x80\xae", b"\xff", b"\x1b[2J", b"\0", b"a" * 255)

_REFUSED = (
    b"..",
    b"a/../b",
    b"./a",
    b"/a",
    b"a//b",
    b"a/",
    b"",
    b"a\0",
    b"a\x1b",
    b"a\n",
    b"x/" * 64 + b"x",
    b"a" * 256,
)
_LAYER_NAMES = (b"model.gguf", b"a/b/c", "\u00e9/\u2026".encode(), b"x/" * 63 + b"x", *_REFUSED)

TARGETS = (
    Target("manifest", manifest, lambda: [*_manifest_seeds(), *_family_seeds()], _WORDS),
    Target("kitfile", kitfile, lambda: [kitops().blobs[0]], (b'"layerInfo":', b'"digest":', b'"path":', b'"parts":')),
    Target("index", index, _index_seeds, _WORDS),
    Target("layer-name", layer_name, lambda: _LAYER_NAMES, _PATHS, 5000),
)
