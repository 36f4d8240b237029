"""Kitfile: the paths that the config of a KitOps ModelKit gives to layers that are one file each.

Source: kitops pkg/artifact/kitfile.go (`path`, `layerInfo`); the config is the Kitfile as JSON.
"""

from __future__ import annotations

import msgspec

CONFIG = "application/vnd.kitops.modelkit.config.v1+json"
MAX_SIZE = 1 << 20
"""Bytes of a config that is read."""

MAX_ENTRIES = 1 << 16


class _LayerInfo(msgspec.Struct, rename="camel", frozen=True):
    digest: str = ""


class _Entry(msgspec.Struct, rename="camel", frozen=True):
    path: str = ""
    layer_info: _LayerInfo | None = None


class _Model(_Entry, frozen=True):
    parts: list[_Entry] | None = None


class _Kitfile(msgspec.Struct, frozen=True):
    model: _Model | None = None
    datasets: list[_Entry] | None = None
    code: list[_Entry] | None = None
    docs: list[_Entry] | None = None
    prompts: list[_Entry] | None = None


_decoder = msgspec.json.Decoder(_Kitfile)


def paths_of(config: bytes) -> dict[str, str]:
    """Paths by the digest of their layer, unchecked text; none of a config that cannot be read."""
    if len(config) > MAX_SIZE or config.count(b"{") > MAX_ENTRIES:
        return {}
    try:
        kit = _decoder.decode(config)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    entries: list[_Entry] = []
    if kit.model is not None:
        entries += [kit.model, *(kit.model.parts or ())]
    for some in (kit.datasets, kit.code, kit.docs, kit.prompts):
        entries += some or ()
    return {entry.layer_info.digest: entry.path for entry in entries if entry.layer_info and entry.path}
