"""Ollama's models, and the folders of `fusefs serve`: media types to file names, and the names that layers bring.

Media types: Ollama's `server/images.go` and the `application/vnd.fusefs.file` of `fusefs serve`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from fusefs.artifacts.manifest import FILE
from fusefs.artifacts.paths import Paths
from fusefs.values.snapshot import File, Slice

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fusefs.artifacts.manifest import Layer, Manifest

OLLAMA = "application/vnd.ollama.image."

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


def files_of(manifest: Manifest, mtime_ns: int) -> list[File]:
    """The files, named by a layer's own name, else by its media type, else by its digest.

    Raises:
        InvalidManifest: a name that is no relative path, a duplicate, or a file that is also a folder.
    """
    paths = Paths()
    files = [
        File(path, Slice.whole(layer.blob), layer.mtime_ns or mtime_ns) for layer, path in named_layers(manifest, paths)
    ]
    if any(layer.media_type != FILE for layer in manifest.layers):
        if manifest.config is not None and paths.try_add("config.json"):
            files.append(File("config.json", Slice.whole(manifest.config.blob), mtime_ns))
        if paths.try_add("manifest.json"):
            files.append(File("manifest.json", manifest.raw, mtime_ns))
    return files


def named_layers(manifest: Manifest, paths: Paths) -> list[tuple[Layer, str]]:
    """The layers that are files, each with its path, which is taken in `paths`.

    Raises:
        InvalidManifest: see `files_of`.
    """
    layers = [layer for layer in manifest.layers if layer.media_type != OLLAMA + "embed"]
    # Names that a layer brings are settled first, so that one that we make up never takes the place of one of them.
    for layer in layers:
        if layer.name:
            paths.add(layer.name)
    return [(layer, layer.name or made_up) for layer, made_up in _made_up(layers, paths)]


def _made_up(layers: Iterable[Layer], paths: Paths) -> Iterator[tuple[Layer, str]]:
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
