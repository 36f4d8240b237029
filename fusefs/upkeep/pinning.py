"""Pinning models of the cache, so that nothing of them is evicted, and unpinning them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.artifacts.manifest import Manifest
from fusefs.cache.disk import DiskCache
from fusefs.errors import InvalidManifest, NotCached
from fusefs.system.files import disk_errors
from fusefs.upkeep.holdings import existing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fusefs.values.names import Name


def pin(cache_dir: Path, names: Sequence[Name]) -> None:
    """Pin all of `names`, or none.  What is pinned already stays so.  Blocking.

    Raises:
        NotCached: the cache has no manifest of one of them.
        CacheError: there is no such cache, or it cannot be written.
    """
    cache = DiskCache.open(existing(cache_dir))
    manifests = [(name, _manifest(cache, name)) for name in names]
    with disk_errors(cache.root / "pins"):
        for name, manifest in manifests:
            cache.pins.add(name, manifest)


def _manifest(cache: DiskCache, name: Name) -> bytes:
    try:
        manifest = Manifest.parse(cache.links.read(name))
    except (NotCached, InvalidManifest) as exc:
        raise NotCached(f"{name.short}: the cache has no manifest of it; pull or mount it first") from exc
    if name.digest not in (None, manifest.digest):
        raise NotCached(f"{name}: the cache has another manifest under this name; pull or mount {name.short} first")
    return manifest.raw


def unpin(cache_dir: Path, names: Sequence[Name]) -> None:
    """Unpin all of `names`, or none.  Blocking.

    Raises:
        NotCached: one of them is not pinned.
        CacheError: there is no such cache, or it cannot be written.
    """
    cache = DiskCache.open(existing(cache_dir))
    pinned = {name.key for name in cache.pins}
    for name in names:
        if name.key not in pinned:
            raise NotCached(f"{name.short}: not pinned; `fusefs ls` shows the pinned models")
    with disk_errors(cache.root / "pins"):
        for name in names:
            cache.pins.remove(name)
