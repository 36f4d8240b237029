"""ListChoice: by which chunk list one blob is served: who is asked for it, and whose word counts.  Blocking.

Knows the models that have the blob, and what a person said of lists.  Knows neither the cache nor when a list is
wanted.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fusefs.errors import BlobUnproved, FusefsError
from fusefs.fetch.lists import find_list
from fusefs.sources.failover import Failover
from fusefs.values.hubname import HubName
from fusefs.values.lockfile import list_digest
from fusefs.values.voucher import BOUND, UNKNOWN, Proof
from fusefs.values.webtree import BUCKETS, WebTree

if TYPE_CHECKING:
    from fusefs.sources.bound import BoundSource
    from fusefs.values.chunks import Blob, ChunkList
    from fusefs.values.digest import Digest
    from fusefs.values.names import Name
    from fusefs.values.settings import Settings
    from fusefs.values.voucher import Voucher

    Listed = tuple[ChunkList, Voucher]
    """A chunk list, and who stands behind it."""

log = logging.getLogger(__name__)


def never_proved(blob: Blob, settings: Settings) -> BlobUnproved | None:
    """Why no byte of a blob is served without `--unproved allow`: no digest will ever say that it is right."""
    if blob.digest.proves or settings.unproved == "allow":
        return None
    text = f"nothing proves this file, of which its server keeps no sha256; --unproved={settings.unproved}"
    return BlobUnproved(f"{blob.digest}: {text} (`--unproved allow` takes it as it is)")


class ListChoice:
    """Of one blob.

    Attributes:
        by: who gave the list that is used; None when nobody did, or it was the cache.
    """

    def __init__(self, blob: Blob, settings: Settings) -> None:
        self.by: BoundSource | None = None
        self._blob = blob
        self._settings = settings
        self._registries: set[str] = set()
        self._own_word: set[Voucher] = set()
        self._pinned_name = ""
        self._places = Failover()
        self._locked: tuple[Digest, Voucher] | None = None
        self._signer: Voucher | None = None
        self._shards: ChunkList | None = None
        self._locked_evidence: Voucher | None = None
        self._unproved_by = ""

    def add_origin(self, origin: BoundSource) -> None:
        """A model there has the blob."""
        self._registries.add(origin.registry)
        self._own_word |= {origin.voucher, origin.evidence_voucher(self._blob) or origin.voucher}
        self._pinned_name = origin.pinned or self._pinned_name

    def add_place(self, place: BoundSource) -> None:
        """The list may be there, where the origins have none."""
        self._places = self._places.plus(place)
        self._own_word.add(place.voucher)

    def lock(self, digest: Digest, voucher: Voucher) -> None:
        """A person has said which list it is (`list_digest`): that one and no other, wherever it comes from."""
        self._locked = digest, voucher
        self._own_word.add(voucher)

    @property
    def compares_shards(self) -> bool:
        """Whether what lies sealed in the cache is not known to be what was signed: its chunks are compared here."""
        return self.signed is not None

    def sign(self, signer: Voucher, shards: ChunkList | None = None) -> None:
        """Somebody whom the person named has signed what the blob is: its own digest, or the digests of its shards."""
        self._signer = signer
        if shards is not None:
            self._shards = shards
        self._own_word.add(signer)

    @property
    def signed(self) -> Listed | None:
        """The shards that were signed; None where the blob's own digest was, or nothing."""
        return None if self._shards is None or self._signer is None else (self._shards, self._signer)

    def lock_evidence(self, origin: BoundSource) -> None:
        """A person has said which document it is of, and so the hash by which this one proves its parts."""
        self._locked_evidence = origin.evidence_voucher(self._blob) or self._locked_evidence

    def distrust(self) -> None:
        """Who gave the list is not asked any more, if it gives lists alone."""
        if self.by is not None:
            self._places = self._places.without(self.by)
        self.by = None

    def give_up_evidence(self, reason: str) -> None:
        """Nobody proves some of the chunks by themselves, for this `reason`: the whole decides."""
        self._unproved_by = reason

    def from_place(self, voucher: Voucher) -> bool:
        """Whether a list with this voucher came from where there need be no bytes, and no lock stands behind it."""
        named = voucher.proof == Proof.STORE or any(place.voucher == voucher for place in self._places)
        return named and self._locked is None

    @property
    def of_several(self) -> bool:
        """Whether models of several registries have the blob."""
        return len(self._registries) > 1

    @property
    def bound_only(self) -> bool:
        """Whether only a list that is bound to the blob's digest may decide what is served.

        Of several names the strictest counts: one that pins a digest believes nobody, whoever else shows the blob, and
        neither does a signature, which pins all of them.
        With names at several registries none is believed: each may speak for its own models alone.
        """
        if self.of_several:
            return True
        if self._settings.lists is not None:
            return self._settings.lists == "bound"
        return bool(self._pinned_name) or self._signer is not None

    def is_anothers(self, voucher: Voucher) -> bool:
        """Whether it is the word of a registry or a signer that the cache was told by for other names than these."""
        by_name = voucher.proof in (Proof.REGISTRY, Proof.SIGNED)
        return by_name and voucher != UNKNOWN and voucher not in self._own_word

    def bound_only_of(self, voucher: Voucher) -> bool:
        """`bound_only`, of a list with this voucher."""
        if voucher == self._signer:
            return False
        if voucher == self._locked_evidence:
            return bool(self._unproved_by)
        return bool(self._unproved_by) or self.bound_only or self.is_anothers(voucher)

    @property
    def lacking(self) -> str:
        """Why nothing can be proved before the whole, and what could be done about it."""
        if self._locked is not None:
            return f"no source has the chunk list in the lock; --unproved={self._settings.unproved}"
        if not self.bound_only:
            return f"no source has its chunk list; --unproved={self._settings.unproved}"
        if self.of_several:
            return f"models of several registries have it; --unproved={self._settings.unproved}"
        who = "--lists bound"
        if self._settings.lists is None:
            who = f"{self._pinned_name} is pinned by digest" if self._pinned_name else "it is signed as a whole"
        return (
            f"{who}, and no chunk list in the cache is bound to this blob; --unproved={self._settings.unproved}"
            " (--lists registry takes the word of its source for its list)"
        )

    def remedy(self, name: Name) -> str:
        """Why no list counts, and the one thing that would change it, for a person who mounts `name`."""
        if self._unproved_by:
            return f"its parts cannot be proved by themselves: {self._unproved_by}"
        if self._locked is not None:
            return "the list in the lock is nowhere to be had: --index-from names a place that has it"
        if self.of_several:
            return "models of several registries share it, and none is believed: mount those apart"
        bound_only = self.bound_only and self._locked_evidence is None
        if bound_only and self._signer is not None:
            return (
                "it is signed as a whole, which believes no registry's chunk list: --lists registry takes its word, "
                "shards in the signature would be a list"
            )
        if bound_only and self._pinned_name:
            proof = "proof that the Hub gives" if isinstance(name, HubName) else f"{_giver(name)}'s chunk list"
            return (
                f"a name with a digest believes no {proof}: --lists registry takes its word, "
                f"`fusefs lock {name}` keeps it"
            )
        if bound_only:
            return f"no chunk list is bound to its digest: --lists registry takes the {_giver(name)}'s word"
        if isinstance(name, HubName | WebTree):
            return f"it has no chunk list: `fusefs index {name} -o DIR` makes one for --index-from DIR"
        return f"it has no chunk list: `fusefs publish {name}` puts one beside the model"

    def counts(self, listed: Listed) -> bool:
        """Whether chunks may be served by a list before the whole is proved."""
        chunks, voucher = listed
        if chunks.unlisted:
            return False
        return voucher.decides(bound_only=self.bound_only_of(voucher))

    def of_cache(self, pinned: Listed | None) -> Listed | None:
        """The list that the cache has, if it may be used at all: with a lock the one in there, or a proved one."""
        if pinned is None or self._locked is None or pinned[1].proof == Proof.BOUND:
            return pinned
        return (pinned[0], self._locked[1]) if self._is_locked(pinned[0]) else None

    def ask(self, origins: Failover, *, in_vain: bool) -> Listed | None:
        """The first usable list; None when everybody whose word counts says that he keeps none.

        With `in_vain` there is another way, and with mirrors there may be: trouble is not waited out.

        Raises:
            SourceError, InvalidInput: no list, and not for lack of one.
        """
        fits, whole_will_do = self._is_possible, in_vain
        if self._locked is not None:
            fits = self._is_locked
        elif origins.mirrored and self._settings.unproved == "wait":
            whole_will_do = True
        # Who is not believed is not asked: his list would be of no use.  The lock's is right whoever has it.
        # Nor is anybody's word needed for a list that follows from the digest.
        bound_only = self.bound_only and self._locked is None and not self._blob.digest.has_parts
        turns = [
            (origins.that_decide(bound_only=bound_only), fits, whole_will_do),
            (self._places.that_decide(bound_only=bound_only), fits, True),
        ]
        if bound_only and self._locked_evidence is not None:
            turns.append((origins.that_decide(), self._is_locked_evidence, whole_will_do))
        for asked, fitting, whole in turns:
            found = find_list(asked, self._blob, fitting, whole_will_do=whole) if asked else None
            if found is not None:
                chunks, self.by = found
                if chunks.voucher is not None:
                    self._own_word.add(chunks.voucher)  # said just now, by who may
                if self._locked is not None:
                    return chunks, self._locked[1]
                return chunks, BOUND if self._proves_itself(chunks) else chunks.voucher or self.by.voucher
        return None

    def ask_for_other(self, origins: Failover, chunks: ChunkList, voucher: Voucher, seen: str) -> Listed | None:
        """The list that the sources have by now, if it is another one than `chunks`, and in the right.

        Args:
            origins: who is asked.
            chunks: the list that rejects a chunk.
            voucher: whose it is.
            seen: the digest of the rejected bytes: only a list that has it is believed instead, or one bad answer
                would cost all that is present.
        """
        fixed = self._locked is not None or self._shards is not None
        if fixed or self.bound_only or voucher.proof == Proof.BOUND:
            return None  # nobody's word counts against what was proved, or at all

        def fits(other: ChunkList) -> bool:
            if not other.complete or other == chunks or not self._is_possible(other):
                return False
            return any(str(other.digest(i)) == seen for i in range(len(other)))

        try:
            found = find_list(origins, self._blob, fits)
        except FusefsError:
            return None
        if found is None:
            return None
        other, origin = found
        origins.lied(self.by if self.by != origin else None, self._blob.digest)
        self.by = origin
        return other, origin.voucher

    def _is_possible(self, chunks: ChunkList) -> bool:
        """A list of one chunk has the blob's own digest, if it has any, or it is a lie on the face of it.

        A digest that was made of those of parts tells by itself whether a list is that of these parts.
        """
        if self._blob.digest.has_parts:
            return self._proves_itself(chunks)
        return len(chunks) != 1 or chunks.known(0) in (None, self._blob.digest.raw)

    def _proves_itself(self, chunks: ChunkList) -> bool:
        digests = chunks.packed()[1] if chunks.complete else None
        return digests is not None and self._blob.digest.is_made_of(self._blob.size, digests)

    def _is_locked(self, chunks: ChunkList) -> bool:
        assert self._locked is not None
        if chunks.complete and list_digest(chunks) == self._locked[0]:
            return True
        log.warning("%s: a chunk list that is not the one in the lock is not used", self._blob.digest)
        return False

    def _is_locked_evidence(self, chunks: ChunkList) -> bool:
        return chunks.voucher == self._locked_evidence


def _giver(name: Name) -> str:
    """Who gives the lists of a model, for a person."""
    if isinstance(name, HubName):
        return "Hub"
    if isinstance(name, WebTree):
        return "bucket" if name.scheme in BUCKETS else "web server"
    return "registry"
