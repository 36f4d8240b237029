"""Demands: what a person wants models to be made of, whatever a registry says: a lock, a signature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.errors import NotCached, NotSigned
from fusefs.values.voucher import Proof, Voucher

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fusefs.cache.disk import DiskCache
    from fusefs.fetch.fetcher import Fetcher
    from fusefs.sources.bound import BoundSource
    from fusefs.values.chunks import Blob, ChunkList
    from fusefs.values.lockfile import Lock, LockedModel
    from fusefs.values.names import Name
    from fusefs.values.signed import Signed
    from fusefs.values.snapshot import File, Snapshot


@dataclass(frozen=True, slots=True)
class Demands:
    """Of one mount or pull.

    Attributes:
        lock: what the models must be made of; None for whatever they are.
        signed: what the one model must be made of; None for whatever it is.
        parts_later: parts of archives will be compared with the signature, before anything of them is used.
    """

    lock: Lock | None = None
    signed: Signed | None = None
    parts_later: bool = False

    def check(self, model: Snapshot) -> None:
        """Return when a model is what is wanted, as far as its digests say.

        Raises:
            InvalidSetting: it is not what the lock says.
            NotSigned: it is not what was signed, or it takes its bytes to say.
        """
        locked = self._locked(model.reference)
        if locked is not None:
            locked.check(model.blobs)
        if self.signed is None:
            return
        parts = [(file, _) for file, _ in self.signed.parts(model) if not is_whole(file)]  # others: `compare_here`
        if parts and not self.parts_later:
            path = parts[0][0].path[-60:]
            raise NotSigned(
                f"{model.reference.short}: {path!a} has no sha256 of its own, as a part of an archive: `fusefs verify` "
                "with the same options reads and compares it"
            )

    def check_layers(self, name: str, *, archives: bool) -> None:
        """Return when it is worth while to look into the layers of a model.

        Raises:
            NotSigned: there are archives, whose files `check` would refuse after all of them was fetched.
        """
        if archives and self.signed is not None and not (self.parts_later or self.signed.ignore_unsigned):
            raise NotSigned(
                f"{name}: it is an archive, whose files have no sha256 of their own: `fusefs verify` with the same "
                "options reads and compares them"
            )

    def tell(self, fetcher: Fetcher, name: Name, blobs: Iterable[Blob], origins: Sequence[BoundSource]) -> None:
        """Have blobs of a model, which are at `origins`, served by nothing but what the lock and the signer say."""
        locked = self._locked(name)
        for blob in blobs:
            fetch = fetcher.track(blob)
            if self.lock is not None and locked is not None:
                for origin in origins:
                    fetch.choice.lock_evidence(origin)
                if blob.digest in locked.lists:
                    fetch.choice.lock(locked.lists[blob.digest], Voucher(Proof.STORE, self.lock.file))
            if self.signed is not None:
                fetch.sign(self.signed.voucher, None)

    def _locked(self, name: Name) -> LockedModel | None:
        return None if self.lock is None else self.lock.model(name)

    def tell_shards(self, fetcher: Fetcher, cache: DiskCache, model: Snapshot) -> None:
        """Have the shards that were signed be the chunk lists of what is not here yet.

        A blob that lies whole in the cache is what its digest says, and others may use it: by another list it would be
        taken for rotten where it differs.  It is compared before anything is served (`comparing.compare_here`).

        Raises:
            NotSigned: see `Signed.lists`.
        """
        if self.signed is None:
            return
        for blob, shards in self.signed.lists(model).items():
            if not is_sealed(cache, blob) and not is_bound(cache, blob, shards):
                fetcher.track(blob).sign(self.signed.voucher, shards)


def is_whole(file: File) -> bool:
    """Whether a file is all of a blob, which may be named by another hash than sha256."""
    return not isinstance(file.content, bytes) and file.content.is_whole


def is_sealed(cache: DiskCache, blob: Blob) -> bool:
    """Whether all of a blob lies in the cache, proved by its digest."""
    try:
        return cache.get(blob.digest).size == blob.size
    except NotCached:
        return False


def is_bound(cache: DiskCache, blob: Blob, shards: ChunkList) -> bool:
    """Whether a blob is known to have these shards: the sha256 of the whole matched with them."""
    pinned = cache.pinned(blob)
    return pinned is not None and pinned[1].proof == Proof.BOUND and pinned[0] == shards


NO_DEMANDS = Demands()
