"""DiffIds: what the config of an artifact says that its layers are when they are decompressed.

Sources: OCI image-spec 1.1 config.md (`rootfs.diff_ids`), CNCF model-spec docs/config.md (`modelfs.diffIds`), Docker
Model Runner's config (`rootfs.diff_ids`), KitOps' Kitfile (`layerInfo.diffId`), oras-go's annotation.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from fusefs.artifacts import kitfile
from fusefs.errors import InvalidDigest, InvalidManifest
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from fusefs.artifacts.manifest import Manifest

MAX_SIZE = 4 << 20
"""Bytes of a config that is read: an image's has the history of its layers, too."""


class _Layers(msgspec.Struct, frozen=True):
    diff_ids: list[str] = []
    camel: list[str] = msgspec.field(name="diffIds", default_factory=list)


class _Config(msgspec.Struct, frozen=True):
    rootfs: _Layers | None = None
    modelfs: _Layers | None = None


_decoder = msgspec.json.Decoder(_Config)


def diff_ids(manifest: Manifest, config: bytes) -> dict[Digest, Digest]:
    """What each layer of which that is known is when it is decompressed.

    Raises:
        InvalidManifest: what is known is no digest.
    """
    layers = [layer.blob.digest for layer in manifest.layers]
    texts = dict(zip(layers, _listed(config), strict=False)) if len(_listed(config)) == len(layers) else {}
    if manifest.config is not None and manifest.config.media_type == kitfile.CONFIG:
        by_digest = kitfile.diff_ids_of(config)
        texts |= {digest: by_digest[str(digest)] for digest in layers if str(digest) in by_digest}
    texts |= {layer.blob.digest: layer.unpacked for layer in manifest.layers if layer.unpacked}
    try:
        return {digest: Digest.parse(text) for digest, text in texts.items()}
    except InvalidDigest as exc:
        raise InvalidManifest(f"invalid config: a diff ID that is none: {exc}") from exc


def _listed(config: bytes) -> list[str]:
    if config and len(config) <= MAX_SIZE:
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            found = _decoder.decode(config)
            for some in (found.rootfs, found.modelfs):
                if some is not None and (some.diff_ids or some.camel):
                    return some.diff_ids or some.camel
    return []
