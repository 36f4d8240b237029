"""DiskCache: a cache directory: blobs and their names, how much room they may take, and what is remembered of them.

`starts/` holds the access traces (`fusefs.cache.documents.traces`), `tables/` the files of archives
(`fusefs.cache.documents.tables`), `pins/` what is never evicted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fusefs.cache.blob.backing import take
from fusefs.cache.blob.mapfile import Lock, note_use, open_locked
from fusefs.cache.documents.named import NamedBlobs
from fusefs.cache.documents.pins import Pins
from fusefs.cache.documents.tables import Tables
from fusefs.cache.documents.traces import Traces
from fusefs.cache.guard import guard, make
from fusefs.cache.memory.budget import Memory
from fusefs.cache.space.eviction import used, victims
from fusefs.cache.space.quota import DEFAULT_LIMITS, Limits, Quota
from fusefs.errors import CacheError
from fusefs.system.features import Features, features_of
from fusefs.system.files import disk_errors, open_inside, sweep
from fusefs.system.locks import try_lock, unlock
from fusefs.system.parents import check_parents, make_parents
from fusefs.system.spot import Held, is_folder_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusefs.cache.blob.backing import Backing
    from fusefs.cache.space.quota import Victim
    from fusefs.system.spot import Spot
    from fusefs.values.chunks import Blob
    from fusefs.values.digest import Digest
    from fusefs.values.trace import Trace

MOST_HELD = 512
"""Each takes a file descriptor, of which a process has a thousand."""


class DiskCache(NamedBlobs):
    """Blocking; thread-safe; several processes may use one directory at once.

    Attributes:
        traces: in what order blobs were read before.
        tables: the files of archives.
        pins: models of which nothing is evicted.
        quota: how much of the disk the blobs may take, and what makes room.
        features: what its file system can keep.
    """

    def __init__(
        self,
        root: Path,
        *,
        spill_capacity: int = 128 << 20,
        stores: Sequence[Path] = (),
        limits: Limits = DEFAULT_LIMITS,
        shared: bool = False,
        held: Held | None = None,
    ) -> None:
        held = held or Held(root)
        self.quota = Quota(root, held, limits, used=lambda: used(self), victims=self._victims)
        super().__init__(root, held, Memory(spill_capacity), self.quota)
        self.traces = Traces(held.spot, stores)
        self.tables = Tables(held.spot)
        self.pins = Pins(held / "pins", self.links, held / "partial")
        self._shared, self.features = shared, Features()
        self._held: list[int] = []

    @classmethod
    def open(
        cls,
        directory: str | Path,
        *,
        spill_capacity: int = 128 << 20,
        stores: Sequence[Path] = (),
        limits: Limits = DEFAULT_LIMITS,
        shared: bool = False,
    ) -> DiskCache:
        """Use `directory`, made if need be.  Access traces are also looked for in `stores`.

        It is closed to other users; with `shared` they can read those sealed blobs that are held (`hold`).

        Raises:
            CacheError: it cannot be used, or others could change it; why, and what to do.
        """
        if not str(directory):
            raise CacheError("empty directory name for the cache")
        root = Path(os.path.abspath(directory))
        held: Held | None = None
        features = Features()
        try:
            check_parents(root)
            make_parents(root)
            root.mkdir(mode=0o700, exist_ok=True)
            held = Held(root)
            guard(held, shared=shared)
            for name in ("blobs", "manifests", "partial"):
                make(held / name, shared=shared and name == "blobs")
            features = features_of(held / "partial")  # a directory on a read-only disk exists, too
        except (FileExistsError, NotADirectoryError) as exc:
            raise CacheError(f"cache directory {root}: not a directory") from exc
        except OSError as exc:
            # A full disk is not an error (P8): what is there can be read, and the rest goes through memory.
            full = exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
            if held is None or not full or not is_folder_at(held / "partial"):
                why = f"cannot be written ({exc.strerror or exc}); name another with --cache-dir"
                raise CacheError(f"cache directory {root} {why}") from exc
        sweep(held / "partial")
        cache = cls(root, spill_capacity=spill_capacity, stores=stores, limits=limits, shared=shared, held=held)
        cache.features = features
        return cache

    def _victims(self) -> list[Victim]:
        """What may go, for the quota."""
        try:
            stays = self.pins.digests() | self.quota.wanted
        except OSError:
            return []  # who cannot say what must stay lets nothing go
        return victims(self, stays)

    # Blobs whose path somebody was told

    def hold(self, digest: Digest) -> bool:
        """Keep a sealed blob where it is until `release`: somebody was told its path.  False when that cannot be."""
        if len(self._held) >= MOST_HELD:
            return False
        place = self.place(digest)
        try:
            fd = open_locked(place.map)
        except OSError:
            return False
        self._held.append(fd)
        try_lock(fd, Lock.OPEN, shared=True)
        with contextlib.suppress(OSError):
            note_use(fd, int(time.time()))
        unlock(fd, Lock.CHANGE)
        return self._shared_out(place.sealed)

    def _shared_out(self, spot: Spot) -> bool:
        """Whether a sealed blob is there and where its path leads; others may read it from now on in a shared cache."""
        try:
            fd = open_inside(spot, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return False
        try:
            if not os.path.samestat(os.lstat(spot.path), os.fstat(fd)):
                return False
            if self._shared:
                os.fchmod(fd, 0o444)
        except OSError:
            return False
        finally:
            os.close(fd)
        return True

    def backing(self, blob: Blob) -> Backing | None:
        """The sealed file for a kernel to read without us; None for a blob that was not proved in this boot.

        Raises:
            CacheError: its files cannot be used so; what is here can be read as ever.
        """
        if not self.proved(blob):
            return None
        place = self.place(blob.digest)
        with disk_errors(place.sealed):
            return take(place, blob)

    def release(self) -> None:
        """Let go of what was held."""
        while self._held:
            os.close(self._held.pop())

    # Access traces

    def trace(self, blob: Blob) -> Trace | None:
        """In what order the blob's bytes were first wanted the last time; None when that is not known."""
        return self.traces.read(blob)

    def put_trace(self, blob: Blob, trace: Trace) -> None:
        """Keep `trace` for the next cold load, where the disk takes it.

        Raises:
            InvalidTrace: its ranges are none of this blob, or too many.
        """
        self.traces.write(blob, trace)
