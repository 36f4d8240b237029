"""Holdings: which models a cache directory has, and how much of each.  Behind `fusefs ls`, and what `gc` goes by.

Only looks: takes no lock, asks no network, and needs no more than to read the directory.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fusefs.artifacts.manifest import Manifest
from fusefs.cache.disk import DiskCache
from fusefs.cache.space.eviction import scan
from fusefs.cache.space.inventory import present, quarantined
from fusefs.cache.space.quota import Limits
from fusefs.errors import CacheError, FusefsError
from fusefs.system.files import disk_errors
from fusefs.values.report import BlobReport, HoldingsReport, ModelReport, QuarantineReport

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fusefs.cache.space.eviction import HeldBlob
    from fusefs.values.digest import Digest
    from fusefs.values.names import Name

SMALL = 64 << 10
"""Blobs up to this size (configurations, templates) are read without a note of when: their model says it for them."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model of the cache.

    Attributes:
        name: what it is called.
        manifest: its digest; None when the manifest cannot be read.
        sizes: of each of its blobs, in bytes.
        pinned: nothing of it is evicted.
        last_use: when a byte of it was read or written last, in seconds since 1970.
    """

    name: Name
    manifest: Digest | None
    sizes: dict[Digest, int]
    pinned: bool
    last_use: float

    @property
    def blobs(self) -> list[Digest]:
        """Every blob that it needs, its manifest among them."""
        return [*self.sizes, *([self.manifest] if self.manifest else [])]


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a cache has.

    Attributes:
        cache: where.
        held: each blob, least recently used first.
        models: in the order of their short names.
        owners: the models that name a blob.
    """

    cache: DiskCache
    held: dict[Digest, HeldBlob]
    models: list[Model] = field(default_factory=list)
    owners: dict[Digest, list[Model]] = field(default_factory=lambda: defaultdict(list))


def existing(cache_dir: Path) -> Path:
    """The absolute path of a cache directory that is there and can be read.

    Raises:
        CacheError: otherwise.
    """
    root = cache_dir.absolute()
    with disk_errors(f"cache directory {root}"):
        if not root.is_dir():
            raise CacheError(f"cache directory {root} does not exist; name another with --cache-dir")
        for folder in ("", "blobs", "partial", "manifests"):
            with contextlib.suppress(FileNotFoundError):
                os.scandir(root / folder).close()
    return root


def look(cache: DiskCache) -> Holdings:
    """Read all that is there.  Blocking."""
    found = Holdings(cache, {held.digest: held for held in scan(cache)})
    pinned = {name.key: name for name in cache.pins}
    names = {name.key: name for name in cache.links}
    read = [(name, _manifest(cache, name, key in pinned)) for key, name in {**pinned, **names}.items()]
    read.sort(key=lambda one: one[0].short.lower())
    counts: dict[Digest, int] = defaultdict(int)
    for _, manifest in read:
        for digest in {blob.digest for blob in cache.tables.with_made(manifest)} if manifest else ():
            counts[digest] += 1
    for name, manifest in read:
        sizes = {blob.digest: blob.size for blob in cache.tables.with_made(manifest)} if manifest else {}
        mine = [found.held[digest] for digest in sizes if digest in found.held]
        used = _last_use(mine, counts) or cache.links.mtime(name) or 0.0
        model = Model(name, manifest.digest if manifest else None, sizes, name.key in pinned, used)
        found.models.append(model)
        for digest in model.blobs:
            found.owners[digest].append(model)
    return found


def _manifest(cache: DiskCache, name: Name, pinned: bool) -> Manifest | None:
    with contextlib.suppress(FusefsError, OSError):
        return cache.pins.manifest(name) if pinned else Manifest.parse(cache.links.read(name))
    return None


def _last_use(mine: Sequence[HeldBlob], counts: dict[Digest, int]) -> float | None:
    """Of the blobs that tell most: large ones of its own, else large ones, else any."""
    large = [held for held in mine if held.allocated > SMALL]
    own = [held for held in large if counts[held.digest] == 1]
    return max((held.last_use for held in own or large or mine), default=None)


def holdings_of(cache_dir: Path) -> HoldingsReport:
    """What a cache directory holds.  Blocking.

    Raises:
        CacheError: it does not exist, or cannot be read.
    """
    found = look(DiskCache(existing(cache_dir)))
    cache = found.cache
    here = {digest: present(cache, held) for digest, held in found.held.items()}
    with disk_errors(cache.root):
        disk = os.fstatvfs(cache.held.fd)
    total = disk.f_blocks * disk.f_frsize
    return HoldingsReport(
        cache_dir=str(cache.root),
        models=tuple(_model(model, here) for model in found.models),
        unnamed=tuple(
            BlobReport(str(held.digest), held.size, here[held.digest], held.allocated, held.sealed, held.last_use)
            for held in found.held.values()
            if not found.owners.get(held.digest)
        ),
        quarantine=tuple(QuarantineReport(one.spot.name, one.allocated, one.mtime) for one in quarantined(cache)),
        blobs=len(found.held),
        used=sum(held.allocated for held in found.held.values()),
        shared=sum(held.allocated for held in found.held.values() if len(found.owners.get(held.digest, ())) > 1),
        disk=total,
        free=disk.f_bavail * disk.f_frsize,
        keep_free=Limits().floor(total),
    )


def _model(model: Model, here: dict[Digest, int]) -> ModelReport:
    return ModelReport(
        name=str(model.name),
        short=model.name.short,
        digest=str(model.manifest or ""),
        size=sum(model.sizes.values()),
        present=sum(min(size, here.get(digest, 0)) for digest, size in model.sizes.items()),
        last_use=model.last_use,
        pinned=model.pinned,
        problem="" if model.manifest else "unreadable manifest; pull it again",
    )
