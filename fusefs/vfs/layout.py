"""Layout: which paths a mount shows, decided from manifests alone.  Pure: no I/O, no clock, no inode.

Layer names come from the network and are hostile until checked here (P10): nothing above this floor looks at them
again.  Media types: Ollama's `server/images.go` and the `application/vnd.fusefs.file` of `fusefs serve`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from fusefs.artifacts.manifest import Layer
from fusefs.errors import InvalidManifest, InvalidName

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fusefs.artifacts.manifest import Manifest
    from fusefs.values.chunks import Blob
    from fusefs.values.digest import Digest
    from fusefs.values.names import Name

LayoutName = Literal["files", "ollama"]

FILE = "application/vnd.fusefs.file"
"""A file of a plain folder; a model of nothing else is shown as that folder, with no file of ours in it."""

OLLAMA = "application/vnd.ollama.image."

MAX_COMPONENT = 255
"""Bytes of one component: NAME_MAX."""

MAX_PATH = 4096
"""Bytes of a whole path: PATH_MAX."""

MAX_DEPTH = 64
MAX_FOLDERS = 1 << 17
"""Twice the layers of the largest manifest.  A hostile 16 MiB manifest could otherwise ask for millions of folders."""

_KINDS = {
    "model": ("model", ".gguf"),
    "projector": ("projector", ".gguf"),
    "adapter": ("adapter", ".gguf"),
    "draft": ("draft", ".gguf"),
    "template": ("template", ""),
    "prompt": ("template", ""),
    "system": ("system", ""),
    "params": ("params", ".json"),
    "messages": ("messages", ".json"),
    "license": ("license", ""),
}

_Trie = dict[str, "_Trie | None"]
"""Component to folder, or to None for a file.  Not a set of prefixes: those would cost depth times length."""


@dataclass(frozen=True, slots=True)
class Model:
    """One SOURCE, resolved.

    Attributes:
        name: as asked for.
        manifest: what it is made of.
        mtime_ns: the time its files show, in nanoseconds; the same at every mount (P3).
    """

    name: Name
    manifest: Manifest
    mtime_ns: int = 0


@dataclass(frozen=True, slots=True)
class File:
    """One file of the mount.

    Attributes:
        path: relative, components joined by `/`, checked.
        content: a layer, or the bytes themselves.
        mtime_ns: see `Model`.
    """

    path: str
    content: Layer | bytes
    mtime_ns: int = 0


def layout_of(models: Sequence[Model], layout: LayoutName = "files") -> list[File]:
    """Every file of a mount of `models`.

    Raises:
        InvalidManifest: a layer's name cannot be a path here, or two models give one blob two sizes.
        InvalidName: two models would lie in the same place.
    """
    _check_sizes(models)
    if layout == "ollama":
        return ollama_files_of(models)
    if len(models) == 1:
        return _files_of_model(models[0])
    return [
        File(f"{folder}/{file.path}", file.content, file.mtime_ns)
        for folder, model in zip(_folders_of([model.name for model in models]), models, strict=True)
        for file in _files_of_model(model)
    ]


def _files_of_model(model: Model) -> list[File]:
    """As `files_of`; of several models a person wants to know which one it is about."""
    try:
        return files_of(model.manifest, mtime_ns=model.mtime_ns)
    except InvalidManifest as exc:
        raise InvalidManifest(f"{model.name.short}: {exc}") from exc


def files_of(manifest: Manifest, *, mtime_ns: int = 0) -> list[File]:
    """The files of one model, named by a layer's own name, else by its media type, else by its digest.

    Raises:
        InvalidManifest: a name that is no relative path, a duplicate, or a file that is also a folder.
    """
    paths = _Paths()
    layers = [layer for layer in manifest.layers if layer.media_type != OLLAMA + "embed"]
    # Names that a layer brings are settled first, so that one that we make up never takes the place of one of them.
    for layer in layers:
        if layer.name:
            paths.add(layer.name)
    files = [File(layer.name or made_up, layer, mtime_ns) for layer, made_up in _made_up(layers, paths)]
    if any(layer.media_type != FILE for layer in manifest.layers):
        if manifest.config is not None and paths.try_add("config.json"):
            files.append(File("config.json", manifest.config, mtime_ns))
        if paths.try_add("manifest.json"):
            files.append(File("manifest.json", manifest.raw, mtime_ns))
    return files


def ollama_files_of(models: Sequence[Model]) -> list[File]:
    """An OLLAMA_MODELS folder: `blobs/sha256-<hex>` and `manifests/<host>/<namespace>/<model>/<tag>`.

    Only blobs that a manifest names are there, each once; no folder is empty.

    Raises:
        InvalidName: two names that differ in case alone: Ollama takes them for one.
    """
    manifests: dict[tuple[str, str, str, str], File] = {}
    blobs: dict[Digest, File] = {}
    for model in models:
        if model.name.key in manifests:
            raise InvalidName(f"{model.name.short} is asked for twice: mount each at a mount point of its own")
        path = "/".join(("manifests", *model.name.path))
        manifests[model.name.key] = File(path, model.manifest.raw, model.mtime_ns)
        for layer in _layers(model.manifest):
            blobs.setdefault(layer.blob.digest, File(f"blobs/{layer.blob.digest.file_name}", layer, model.mtime_ns))
    return [*blobs.values(), *manifests.values()]


def check_path(path: str) -> tuple[str, ...]:
    """The components of a layer's name.

    Raises:
        InvalidManifest: not a relative path that every Linux file system can hold.
    """
    shown = ascii(path[:100])
    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        raise InvalidManifest(f"invalid layer name {shown}: it is not valid text") from None
    if length > MAX_PATH:
        raise InvalidManifest(f"invalid layer name {shown}: longer than {MAX_PATH} bytes")
    if path.startswith("/"):
        raise InvalidManifest(f"invalid layer name {shown}: it is absolute")
    if any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in path):
        raise InvalidManifest(f"invalid layer name {shown}: it has control characters")
    parts = tuple(path.split("/"))
    for part in parts:
        if part in ("", ".", ".."):
            raise InvalidManifest(f"invalid layer name {shown}: a component is {part!r}")
        if len(part.encode()) > MAX_COMPONENT:
            raise InvalidManifest(f"invalid layer name {shown}: a component is longer than {MAX_COMPONENT} bytes")
    if len(parts) > MAX_DEPTH:
        raise InvalidManifest(f"invalid layer name {shown}: deeper than {MAX_DEPTH} folders")
    return parts


class _Paths:
    """The paths given away so far, with bounded memory whatever the names are."""

    def __init__(self) -> None:
        self._root: _Trie = {}
        self._folders = 0

    def add(self, path: str) -> None:
        """Take `path` as a file.

        Raises:
            InvalidManifest: not a path, taken, or in conflict with a folder or file that is.
        """
        *folders, name = check_path(path)
        here = self._root
        for folder in folders:
            if folder not in here:
                self._folders += 1
                if self._folders > MAX_FOLDERS:
                    raise InvalidManifest(f"invalid manifest: more than {MAX_FOLDERS} folders")
            below = here.setdefault(folder, {})
            if below is None:
                raise InvalidManifest(f"invalid layer name {path[:100]!a}: a file of that name is also a folder")
            here = below
        if name in here:
            reason = "two layers have it" if here[name] is None else "a folder has that name too"
            raise InvalidManifest(f"invalid layer name {path[:100]!a}: {reason}")
        here[name] = None

    def try_add(self, name: str) -> bool:
        """Take `name` in the root of the model; False when it is a file or a folder already."""
        if name in self._root:
            return False
        self._root[name] = None
        return True


def _made_up(layers: Iterable[Layer], paths: _Paths) -> Iterator[tuple[Layer, str]]:
    """Each layer with the name we give it; empty where it has its own."""
    # Counted, not probed from 2 each time: 65,536 layers of one kind would take two thousand million probes.
    used: Counter[tuple[str, str]] = Counter()
    for layer in layers:
        kind = _KINDS.get(layer.media_type.removeprefix(OLLAMA)) if layer.media_type.startswith(OLLAMA) else None
        if layer.name:
            yield layer, ""
        elif kind is None:
            # The same bytes twice, without a name: one file shows both.
            if paths.try_add(layer.blob.digest.file_name):
                yield layer, layer.blob.digest.file_name
        else:
            while True:
                used[kind] += 1
                number = used[kind]
                name = kind[0] + (f"-{number}" if number > 1 else "") + kind[1]
                if paths.try_add(name):
                    break
            yield layer, name


def _folders_of(names: Sequence[Name]) -> list[str]:
    """`<model>/<tag>` for each name, with host and namespace for those that would share it."""
    shared = Counter(name.path[2:] for name in names)
    folders = ["/".join(name.path if shared[name.path[2:]] > 1 else name.path[2:]) for name in names]
    # A model called as another one's host would lie around it; full paths all have four parts and cannot.
    taken = set(folders)
    if any(str(above) in taken for folder in taken for above in PurePosixPath(folder).parents):
        folders = ["/".join(name.path) for name in names]
    for folder, count in Counter(folders).items():
        if count > 1:
            raise InvalidName(f"{folder} is asked for twice: mount each at a mount point of its own")
    return folders


def _layers(manifest: Manifest) -> Iterator[Layer]:
    """Config and layers, as far as there is a blob to show."""
    if manifest.config is not None:
        yield manifest.config
    yield from manifest.layers


def _check_sizes(models: Iterable[Model]) -> None:
    """One blob has one size: a second registry must not change the size of a file that another one described."""
    sizes: dict[Digest, int] = {}
    blobs: Iterator[Blob] = (blob for model in models for blob in model.manifest.blobs())
    for blob in blobs:
        if sizes.setdefault(blob.digest, blob.size) != blob.size:
            raise InvalidManifest(f"invalid manifest: {blob.digest} is listed with two sizes")
