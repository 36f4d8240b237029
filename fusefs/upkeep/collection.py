"""Garbage collection: makes a cache directory keep its limits, and drops what nobody has used for long.

Least recently used first.  What is pinned stays, and so does what is in use.  A dry run takes the same decisions from
the same look at the disk, and only does nothing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fusefs.cache.disk import DiskCache
from fusefs.cache.space.eviction import evict, scan, used
from fusefs.cache.space.inventory import discard, freeable, in_use, left_behind, quarantined
from fusefs.cache.space.quota import DEFAULT_LIMITS, Limits
from fusefs.daemon.statuses import gather
from fusefs.errors import CacheError, InvalidName
from fusefs.system.files import disk_errors
from fusefs.upkeep.holdings import SMALL, existing, look
from fusefs.values.reference import parse_model
from fusefs.values.report import Freed, GcReport

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.cache.space.eviction import HeldBlob
    from fusefs.upkeep.holdings import Holdings, Model
    from fusefs.values.digest import Digest

_PASSES = 4
"""Others may write meanwhile, and a file system need not free at once what it was told to."""


@dataclass(frozen=True, slots=True)
class GcOptions:
    """What a person asked for.

    Attributes:
        cache_dir: where.
        limits: what has to hold.
        older_than: drop what was not used for so many seconds; None to go by the limits alone.
        dry_run: only say what would be done.
    """

    cache_dir: Path
    limits: Limits = DEFAULT_LIMITS
    older_than: float | None = None
    dry_run: bool = False


def collect(options: GcOptions) -> GcReport:
    """Clean up.  Blocking; other processes may go on using the cache.

    Raises:
        CacheError: there is no such cache, or it cannot be read or written.
    """
    root = existing(options.cache_dir)
    cache = DiskCache(root)
    leftovers = list(left_behind(cache))
    if not options.dry_run:
        cache = DiskCache.open(root)  # which removes them
    with disk_errors(root):
        return _Collection(options, look(cache), sum(one.allocated for one in leftovers)).run()


@dataclass
class _Collection:
    """One run.

    Attributes:
        options: what was asked for.
        holdings: what there was when it began.
        leftovers: bytes of temporary files whose process died.
        freed: bytes, by the models that name them.
        last_use: of what was freed, likewise.
        forgotten: models whose name went, too.
        busy: blobs that somebody uses.
        pinned: blobs that would have gone, but are pinned.
        gone: blobs of which nothing is left.
        kept_in_use: models that would have gone, but are in use.
        quarantine: bytes of what was in quarantine.
    """

    options: GcOptions
    holdings: Holdings
    leftovers: int
    freed: dict[tuple[str, ...], int] = field(default_factory=lambda: defaultdict(int))
    last_use: dict[tuple[str, ...], float] = field(default_factory=lambda: defaultdict(float))
    forgotten: set[str] = field(default_factory=set)
    busy: set[Digest] = field(default_factory=set)
    pinned: set[Digest] = field(default_factory=set)
    gone: set[Digest] = field(default_factory=set)
    kept_in_use: set[str] = field(default_factory=set)
    quarantine: int = 0

    def run(self) -> GcReport:
        self.stays = self.holdings.cache.pins.digests()
        if self.options.older_than is not None:
            before = time.time() - self.options.older_than
            self._drop_quarantine(before)
            self._drop_old(before)
        self._keep_limits()
        return self._report()

    def _drop_quarantine(self, before: float) -> None:
        for one in quarantined(self.holdings.cache):
            if one.mtime < before and (self.options.dry_run or discard(one)):
                self.quarantine += one.allocated

    def _drop_old(self, before: float) -> None:
        """Models, names and all, that were used last before then, and blobs that no model names."""
        old = [model for model in self.holdings.models if model.manifest is not None and model.last_use < before]
        going = [model for model in old if not model.pinned]
        names = {model.name.key for model in going}
        stays = set(self.stays)
        for model in self.holdings.models:
            if model.name.key not in names:
                stays.update(model.blobs)
        for model in self._in_use(going, stays):
            self.kept_in_use.add(model.name.short)
            names.remove(model.name.key)
            stays.update(model.blobs)
        self.pinned.update(digest for model in old if model.pinned for digest in model.blobs)
        for model in sorted(going, key=lambda model: model.last_use):
            if model.name.key in names:
                self._forget(model, stays)
        for digest, one in self.holdings.held.items():
            if digest not in self.holdings.owners and digest not in stays and one.last_use < before:
                self._evict(one, one.allocated)

    def _in_use(self, models: list[Model], stays: set[Digest]) -> list[Model]:
        """Those that are mounted, or of which somebody has a blob open that would have to go."""
        mounted = mounted_from(self.holdings.cache.root) if models else set()
        return [
            model
            for model in models
            if model.name.key in mounted or any(self._busy(digest) for digest in model.blobs if digest not in stays)
        ]

    def _forget(self, model: Model, stays: set[Digest]) -> None:
        """Drop every blob of a model that no other needs, then its name."""
        blobs = [self.holdings.held[digest] for digest in model.blobs if digest in self.holdings.held]
        for one in blobs:
            if one.digest not in stays and one.digest not in self.gone:
                self._evict(one, one.allocated)
        if all(one.digest in stays or one.digest in self.gone for one in blobs):
            if not self.options.dry_run:
                self.holdings.cache.unlink(model.name)
                for digest in model.blobs:
                    if digest not in stays:
                        self.holdings.cache.tables.remove(digest)
            self.forgotten.add(model.name.short)
            self._note((model.name.short,), 0, model.last_use)

    def _keep_limits(self) -> None:
        """Evict until the limits hold or nothing more may go."""
        for _ in range(1 if self.options.dry_run else _PASSES):
            excess = self._excess()
            if excess <= 0:
                return
            before = self._freed()
            for one in scan(self.holdings.cache):
                if one.allocated > SMALL and one.digest not in self.gone:
                    excess -= self._try(one, excess)
                if excess <= 0:
                    break
            if self._freed() == before:
                return

    def _try(self, one: HeldBlob, wanted: int) -> int:
        if one.digest in self.stays:
            self.pinned.add(one.digest)
            return 0
        return self._evict(one, wanted)

    def _evict(self, one: HeldBlob, wanted: int) -> int:
        """Free `wanted` bytes of a blob, or all of it; 0 when it is in use."""
        if self._busy(one.digest):
            return 0
        whole = wanted >= one.allocated
        if self.options.dry_run:
            freed = freeable(self.holdings.cache, one, wanted)
        else:
            freed = 0
            with contextlib.suppress(OSError, CacheError):
                freed = evict(self.holdings.cache, one, max(wanted, 1))
            if not freed and one.allocated:
                self.busy.add(one.digest)  # by a program that has opened the file itself
                return 0
        if whole:
            self.gone.add(one.digest)
        owners = self.holdings.owners.get(one.digest, ())
        # What is small has no note of its own: its model says when it was used.
        last_use = max((model.last_use for model in owners), default=one.last_use)
        self._note(tuple(model.name.short for model in owners), freed, last_use)
        return freed

    def _busy(self, digest: Digest) -> bool:
        if digest not in self.busy and in_use(self.holdings.cache, digest):
            self.busy.add(digest)
        return digest in self.busy

    def _note(self, owners: tuple[str, ...], freed: int, last_use: float) -> None:
        self.freed[owners] += freed
        self.last_use[owners] = max(self.last_use[owners], last_use)

    def _freed(self) -> int:
        return sum(self.freed.values())

    def _planned(self) -> int:
        """Bytes of blobs that are still there, because this is a dry run."""
        return self._freed() if self.options.dry_run else 0

    def _used(self) -> int:
        return used(self.holdings.cache) - self._planned()

    def _free(self) -> int:
        found = os.fstatvfs(self.holdings.cache.held.fd)
        planned = self._planned() + (self.quarantine + self.leftovers if self.options.dry_run else 0)
        return found.f_bavail * found.f_frsize + planned

    def _keep_free(self) -> int:
        found = os.fstatvfs(self.holdings.cache.held.fd)
        return self.options.limits.floor(found.f_blocks * found.f_frsize)

    def _excess(self) -> int:
        """Bytes that still have to go; 0 or less when the limits hold."""
        excess = self._keep_free() - self._free()
        size = self.options.limits.size
        return excess if size is None else max(excess, self._used() - size)

    def _models(self, digests: set[Digest]) -> set[str]:
        return {model.name.short for digest in digests for model in self.holdings.owners.get(digest, ())}

    def _report(self) -> GcReport:
        freed = [
            Freed(owners, size, self.last_use[owners], len(owners) == 1 and owners[0] in self.forgotten)
            for owners, size in self.freed.items()
        ]
        pinned = {model.name.short for model in self.holdings.models if model.pinned}
        return GcReport(
            cache_dir=str(self.holdings.cache.root),
            dry_run=self.options.dry_run,
            freed=tuple(sorted(freed, key=lambda one: one.last_use)),
            freed_quarantine=self.quarantine,
            freed_leftovers=self.leftovers,
            freed_total=self._freed() + self.quarantine + self.leftovers,
            pinned=tuple(sorted(self._models(self.pinned) & pinned)),
            in_use=tuple(sorted(self._models(self.busy) | self.kept_in_use)),
            unnamed_in_use=sum(digest not in self.holdings.owners for digest in self.busy),
            used=max(0, self._used()),
            free=self._free(),
            limit=self.options.limits.size,
            keep_free=self._keep_free(),
            excess=max(0, self._excess()),
            small=sum(
                one.allocated
                for one in self.holdings.held.values()
                if one.allocated <= SMALL and one.digest not in self.gone
            ),
        )


def mounted_from(root: Path) -> set[tuple[str, str, str, str]]:
    """Models that are mounted from this cache now: without their manifest the next mount would need the network."""
    found = set()
    for mount in gather().mounts:
        if not mount.cache_dir or mount.cache_dir == str(root):
            for source in mount.sources:
                with contextlib.suppress(InvalidName):
                    found.add(parse_model(source).key)
    return found
