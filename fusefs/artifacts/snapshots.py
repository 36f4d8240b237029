"""From a registry's manifest to a snapshot: which files a mount shows, whatever family the artifact is of.

The families, and whose word each rule is, stand in `fusefs help sources`.  Names come from the network and are hostile
until checked here (P10): nothing above this floor looks at them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.artifacts import diffids, kitfile, modelrunner, ollama
from fusefs.artifacts.contents import Contents, Opened
from fusefs.artifacts.manifest import FILE, IMAGE_CONFIGS, IMAGE_LAYERS
from fusefs.artifacts.members import resolve_links, unfold
from fusefs.artifacts.overlay import image_files
from fusefs.artifacts.paths import Paths
from fusefs.errors import InvalidManifest
from fusefs.values.snapshot import File, Slice, Snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusefs.artifacts.manifest import Layer, Manifest
    from fusefs.values.names import Name

_FAMILIES = (
    "application/vnd.cncf.model.config.",
    "application/vnd.cnai.model.config.",
    "application/vnd.oci.empty.",
    "application/vnd.unknown.config.",  # `oras push` before OCI 1.1
    modelrunner.CONFIG,
    kitfile.CONFIG,
)
"""What the media types of configs begin with that are no file of the model."""

MAX_FILES = 1 << 18
"""In all archives of a model: the largest data sets that are pushed as one have a tenth of it."""

_NOTHING = Contents()


def snapshot_of(name: Name, manifest: Manifest, mtime_ns: int = 0, contents: Contents = _NOTHING) -> Snapshot:
    """The files of one model.

    Args:
        name: as it was asked for.
        manifest: of it.
        mtime_ns: the time that its files show where nobody says theirs.
        contents: what is known of the bytes of its layers.

    Raises:
        InvalidManifest: a path that is none, two files in one place, or a file that is also a folder.
    """
    mtime_ns = manifest.created_ns or mtime_ns
    try:
        files = _files_of(manifest, mtime_ns, contents)
    except InvalidManifest as exc:  # of several models a person wants to know which one it is about
        raise InvalidManifest(f"{name.short}: {exc}") from exc
    made = dict.fromkeys(one.blob for digest, one in contents.layers.items() if one.blob.digest != digest)
    return Snapshot(name, manifest.digest, tuple(files), tuple(manifest.blobs()), manifest.raw, mtime_ns, tuple(made))


def is_image(manifest: Manifest) -> bool:
    """Whether it is a container image, whose layers lie over each other."""
    return (
        manifest.config is not None
        and manifest.config.media_type in IMAGE_CONFIGS
        and all(layer.media_type.startswith(IMAGE_LAYERS) for layer in manifest.layers)
    )


def wants_config(manifest: Manifest) -> bool:
    """Whether its config says what its files are called, or what its layers are when they are decompressed."""
    if manifest.config is None or manifest.config.blob.size > diffids.MAX_SIZE:
        return False
    kit = manifest.config.media_type == kitfile.CONFIG
    return any(layer.packing or (kit and not layer.is_tar and not layer.name) for layer in manifest.layers)


def _check_count(manifest: Manifest, contents: Contents) -> None:
    """A manifest may name one archive a thousand times.

    Raises:
        InvalidManifest: more files than any model has.
    """
    opened = [contents.layers.get(layer.blob.digest) for layer in manifest.layers]
    count = sum(len(one.table.members) + len(one.table.links) for one in opened if one is not None and one.table)
    if count > MAX_FILES:
        raise InvalidManifest(f"invalid manifest: {count} files in archives, at most {MAX_FILES} are accepted")


def _files_of(manifest: Manifest, mtime_ns: int, contents: Contents) -> list[File]:
    _check_count(manifest, contents)
    if is_image(manifest) and all(layer.blob.digest in contents.layers for layer in manifest.layers):
        return _image(manifest, mtime_ns, contents)
    config = manifest.config.media_type if manifest.config is not None else ""
    ours = any(layer.media_type.startswith((ollama.OLLAMA, FILE)) for layer in manifest.layers)
    if ours or not (config.startswith(_FAMILIES) or contents.layers):
        return ollama.files_of(manifest, mtime_ns)
    return _artifact(manifest, config, mtime_ns, contents)


def _image(manifest: Manifest, mtime_ns: int, contents: Contents) -> list[File]:
    found = image_files([contents.layers[layer.blob.digest] for layer in manifest.layers])
    paths, files = Paths(), []
    for path, (part, mtime) in found.files.items():
        paths.add(path)
        files.append(_file(path, part, mtime or mtime_ns))
    return files


def _artifact(manifest: Manifest, config: str, mtime_ns: int, contents: Contents) -> list[File]:
    shown = _Shown(mtime_ns)
    unnamed = []
    for layer, name in zip(manifest.layers, _names(manifest, config, contents), strict=True):
        opened = contents.layers.get(layer.blob.digest) or Opened(layer.blob)
        if opened.table is not None:
            shown.add_all(opened)
        elif name:
            shown.add(name, Slice.whole(opened.blob), layer.mtime_ns)
        else:
            unnamed.append((layer, opened.blob))
    if not config.startswith(modelrunner.LAYER_PER_FILE):
        for layer, blob in unnamed:
            shown.try_add(layer.blob.digest.file_name, Slice.whole(blob), layer.mtime_ns)
    if manifest.config is not None and config == kitfile.CONFIG:
        shown.try_add("Kitfile", Slice.whole(manifest.config.blob), 0)  # JSON is YAML
    return shown.files


class _Shown:
    """The files so far; those with names that somebody gave come first, so that no made-up name takes their place."""

    def __init__(self, mtime_ns: int) -> None:
        self.files: list[File] = []
        self._mtime_ns = mtime_ns
        self._paths = Paths()
        self._parts: dict[str, Slice] = {}

    def add(self, path: str, part: Slice, mtime_ns: int) -> None:
        """Show a part of a blob; the same one twice in one place is one file.

        Raises:
            InvalidManifest: no path, or another file's.
        """
        if self._parts.get(path) == part:
            return
        self._paths.add(path)
        self._take(path, part, mtime_ns)

    def add_all(self, opened: Opened) -> None:
        """Show the files of an archive.

        Raises:
            InvalidManifest: as `add`.
        """
        found = unfold(opened)
        resolve_links(found)
        for path, (part, mtime_ns) in found.files.items():
            self.add(path, part, mtime_ns)

    def try_add(self, name: str, part: Slice, mtime_ns: int) -> None:
        """Show it if nothing has that name."""
        if self._paths.try_add(name):
            self._take(name, part, mtime_ns)

    def _take(self, path: str, part: Slice, mtime_ns: int) -> None:
        self._parts[path] = part
        self.files.append(_file(path, part, mtime_ns or self._mtime_ns))


def _file(path: str, part: Slice, mtime_ns: int) -> File:
    """An empty file of an archive needs nothing of it."""
    return File(path, part if part.size or part.is_whole else b"", mtime_ns)


def _names(manifest: Manifest, config: str, contents: Contents) -> list[str]:
    if config.startswith(modelrunner.CONFIG) and not config.startswith(modelrunner.LAYER_PER_FILE):
        return modelrunner.names_of(manifest.layers)
    by_digest = kitfile.paths_of(contents.config) if contents.config else {}
    return [_name(layer, by_digest) for layer in manifest.layers]


def _name(layer: Layer, by_digest: Mapping[str, str]) -> str:
    return layer.name or by_digest.get(str(layer.blob.digest), "")
