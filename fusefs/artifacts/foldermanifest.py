"""The manifest of a folder of files: the same files give the same bytes, on every machine and from every source."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fusefs.artifacts.manifest import FILE, OCI_MANIFEST, TITLE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusefs.values.chunks import Blob


def folder_manifest(files: Iterable[tuple[str, Blob]], media_type: str = OCI_MANIFEST) -> bytes:
    """The document.

    Args:
        files: path and content of each, one at least, in the order of the manifest.
        media_type: of the manifest; Docker's has the same content.
    """
    layers = [_layer(path, blob) for path, blob in files]
    value = {"schemaVersion": 2, "mediaType": media_type, "config": _config(layers), "layers": layers}
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _config(layers: list[dict[str, Any]]) -> dict[str, Any]:
    """A manifest must name a config: one of the files themselves, the model's own or the smallest.

    A blob of its own would be no file of the mount, so that nobody would read it, and a cache that has every file
    would still not be a store that can be served again.
    """
    own = next((layer for layer in layers if layer["name"] == "config.json"), None)
    chosen = own or min((layer for layer in layers if layer["size"]), key=lambda x: x["size"], default=layers[0])
    return {key: chosen[key] for key in ("mediaType", "digest", "size")}


def _layer(path: str, blob: Blob) -> dict[str, Any]:
    return {
        "mediaType": FILE,
        "digest": str(blob.digest),
        "size": blob.size,
        "name": path,
        "annotations": {TITLE: path},
    }
