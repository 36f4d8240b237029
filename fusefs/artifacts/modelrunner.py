"""Docker Model Runner: the names of files whose layers have none: by their place among those of their kind.

Source: docker/model-spec spec.md ("Layers"), docker/model-runner pkg/distribution/internal/bundle/unpack.go.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusefs.artifacts.manifest import Layer

CONFIG = "application/vnd.docker.ai.model.config."
"""What the media type of its configs begins with; behind it is the version."""

LAYER_PER_FILE = CONFIG + "v0.2"
"""From here on a layer without a path is no file."""

_AI = "application/vnd.docker.ai."
_SPLIT = {_AI + "gguf.v3": ".gguf", _AI + "safetensors": ".safetensors"}
_SINGLE = {
    _AI + "gguf.v3.lora": "adapter.gguf",
    _AI + "gguf.v3.mmproj": "model.mmproj",
    _AI + "mmproj": "model.mmproj",
    _AI + "dduf": "model.dduf",
    _AI + "license": "LICENSE",
    _AI + "chat.template.jinja": "template.jinja",
}
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.[a-z]+)", re.ASCII | re.DOTALL)


def names_of(layers: Sequence[Layer]) -> list[str]:
    """A name for each layer, its own where that can be; empty where nobody knows one.

    The parts of a split model get the names that loaders look for, unless those that they have do.
    """
    names = [layer.name or _SINGLE.get(layer.media_type, "") for layer in layers]
    for media_type, suffix in _SPLIT.items():
        parts = [place for place, layer in enumerate(layers) if layer.media_type == media_type]
        if all(names[place] for place in parts) and _loadable([names[place] for place in parts]):
            continue
        for number, place in enumerate(parts, 1):
            shard = f"-{number:05}-of-{len(parts):05}" if len(parts) > 1 else ""
            names[place] = f"model{shard}{suffix}"
    return names


def _loadable(names: Sequence[str]) -> bool:
    """Whether loaders find the other parts by the name of the first; nested folders of parts are several models."""
    if len(set(names)) < len(names):
        return False
    if len(names) < 2 or any("/" in name for name in names):
        return True
    shards = [_SHARD.fullmatch(name) for name in names]
    return not any(shards) or all(shards)
