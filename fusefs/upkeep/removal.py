"""Removal: takes single models out of a cache directory: their names, and every blob that no other model needs.

What somebody uses stays whole, and so does what is pinned: a model is removed altogether or not at all, as far as we
can see beforehand.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fusefs.cache.disk import DiskCache
from fusefs.cache.space.eviction import HeldBlob, evict
from fusefs.cache.space.inventory import in_use
from fusefs.errors import CacheError
from fusefs.system.files import disk_errors
from fusefs.system.spot import exists_at
from fusefs.upkeep.collection import mounted_from
from fusefs.upkeep.holdings import existing, look
from fusefs.values.report import Kept, Removed, RemoveReport

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fusefs.upkeep.holdings import Holdings, Model
    from fusefs.values.digest import Digest
    from fusefs.values.names import Name

BUSY = "in use by a mount, a pull or another program"


def remove(cache_dir: Path, names: Sequence[Name]) -> RemoveReport:
    """Remove all of `names` that can be removed.  Blocking; other processes may go on using the cache.

    Raises:
        CacheError: there is no such cache, or it cannot be read or written.
    """
    root = existing(cache_dir)
    cache = DiskCache.open(root)
    with disk_errors(root):
        holdings = look(cache)
        going, kept = _sort_out(holdings, names)
        busy = _in_use(holdings, going)
        kept += [Kept(str(model.name), model.name.short, BUSY) for model in busy]
        removed = []
        for model in [model for model in going if model not in busy]:
            freed = _remove(holdings, model)
            if freed is None:
                kept.append(Kept(str(model.name), model.name.short, BUSY))
            else:
                removed.append(freed)
        disk = os.fstatvfs(cache.held.fd)
    return RemoveReport(
        cache_dir=str(root),
        removed=tuple(removed),
        kept=tuple(kept),
        freed_total=sum(one.bytes for one in removed),
        free=disk.f_bavail * disk.f_frsize,
    )


def _sort_out(holdings: Holdings, names: Sequence[Name]) -> tuple[list[Model], list[Kept]]:
    """The models that may go, and why the others may not."""
    models = {model.name.key: model for model in holdings.models}
    going: dict[tuple[str, ...], Model] = {}
    kept = []
    for name in {name.key: name for name in names}.values():
        model = models.get(name.key)
        why = ""
        if model is None:
            why = "not in the cache; `fusefs ls` shows what is"
        elif name.digest not in (None, model.manifest):
            why = f"the cache has another manifest under this name: {model.manifest}"
        elif model.pinned:
            why = f"pinned; run: fusefs unpin {model.name}"
        if why or model is None:
            kept.append(Kept(str(name), name.short, why))
        else:
            going[name.key] = model
    return list(going.values()), kept


def _in_use(holdings: Holdings, going: Sequence[Model]) -> list[Model]:
    """Those that are mounted, or of which somebody has a blob open that would have to go."""
    mounted = mounted_from(holdings.cache.root) if going else set()
    return [
        model
        for model in going
        if model.name.key in mounted or any(in_use(holdings.cache, one) for one in _own(holdings, model, going))
    ]


def _own(holdings: Holdings, model: Model, going: Sequence[Model]) -> list[Digest]:
    """Blobs of `model` that no model needs but those that go with it."""
    leaving = {one.name.key for one in going}
    pinned = holdings.cache.pins.digests()
    return [
        digest
        for digest in model.blobs
        if digest not in pinned and all(one.name.key in leaving for one in holdings.owners[digest])
    ]


def _remove(holdings: Holdings, model: Model) -> Removed | None:
    """Remove the blobs that only this model needs by now, then its name; None when somebody has come to use one."""
    cache = holdings.cache
    mine = [digest for digest in model.blobs if holdings.owners[digest] == [model]]
    pinned = cache.pins.digests()
    freed = blobs = 0
    for digest in mine:
        held = holdings.held.get(digest)
        if digest in pinned or (held is None and not exists_at(cache.place(digest).folder)):
            continue
        gone = evict(cache, held or HeldBlob(digest, 0, 0, sealed=False, last_use=0.0), 1 << 62)
        if held is not None:
            if not gone and held.allocated:
                return None
            freed, blobs = freed + gone, blobs + 1
    try:
        cache.unlink(model.name)
    except CacheError:
        return None
    for digest in mine:
        cache.tables.remove(digest)
    for digest in model.blobs:
        holdings.owners[digest].remove(model)
    return Removed(str(model.name), model.name.short, freed, blobs, len(model.blobs) - len(mine))
