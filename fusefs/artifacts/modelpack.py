"""ModelPack: the form that CNCF's specification gives a model, made of a manifest of Ollama's.

Clients that know Docker's closed set of layer types refuse Ollama's manifest; this one they take.  The blobs are the
same, only the config is made.  The same manifest gives the same bytes, on every machine and for ever.
Source: CNCF model-spec docs/{spec,config,annotations}.md; OCI image-spec 1.1, "Guidelines for Artifact Usage".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fusefs.artifacts.manifest import FILEPATH, OCI_MANIFEST, TITLE
from fusefs.artifacts.ollama import OLLAMA, named_layers
from fusefs.artifacts.paths import Paths
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from fusefs.artifacts.manifest import Manifest
    from fusefs.values.chunks import Blob

ARTIFACT = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"

_WEIGHT = "application/vnd.cncf.model.weight.v1.raw"
_SETTING = "application/vnd.cncf.model.weight.config.v1.raw"
_DOC = "application/vnd.cncf.model.doc.v1.raw"

_TYPES = dict.fromkeys(("template", "prompt", "system", "params", "messages", "json"), _SETTING) | {"license": _DOC}
"""By the end of Ollama's media type; everything else is weights."""


def modelpack_of(manifest: Manifest) -> tuple[bytes, bytes] | None:
    """The manifest in ModelPack's form, and the config that it names; None when no layer is a file.

    Raises:
        InvalidManifest: a path that is none, or a file in another's place.
    """
    paths = Paths()
    layers = [
        _layer(path, layer.blob, _TYPES.get(layer.media_type.removeprefix(OLLAMA), _WEIGHT))
        for layer, path in named_layers(manifest, paths)
    ]
    if not layers:
        return None
    if manifest.config is not None and paths.try_add("config.json"):
        layers.append(_layer("config.json", manifest.config.blob, _SETTING))
    # The layers are not compressed, so that each is its own "diff".
    diffs = {"type": "layers", "diffIds": [layer["digest"] for layer in layers]}
    config = _json({"descriptor": {}, "config": {}, "modelfs": diffs})
    value = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": ARTIFACT,
        "config": {"mediaType": CONFIG_TYPE, "digest": str(Digest.of(config)), "size": len(config)},
        "layers": layers,
    }
    return _json(value), config


def _layer(path: str, blob: Blob, media_type: str) -> dict[str, Any]:
    return {
        "mediaType": media_type,
        "digest": str(blob.digest),
        "size": blob.size,
        "annotations": {FILEPATH: path, TITLE: path},
    }


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
