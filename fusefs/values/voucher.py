"""Voucher: who stands behind a chunk list, and so what may be served by it before the whole blob is proved.

A list that fits its bytes proves nothing by itself: whoever gives both can make both fit.  What counts is who says that
the list belongs to the blob.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusefs.values.names import Name


class Proof(enum.IntEnum):
    """Kinds of vouchers, worth more from each to the next but for `SIGNED` (`_WORTH`).

    The numbers are kept in the cache: never change one.
    """

    NONE = 0
    """Nobody who decides: a mirror, another host of a redirect.  Never served by."""
    REGISTRY = 1
    """The registry in the name, which also says what a tag means."""
    STORE = 2
    """A store that the person named (`--store`)."""
    BOUND = 3
    """The sha256 of the whole blob matched with this list, or the list follows from the digest itself."""
    SIGNED = 4
    """Who has signed the model, and whom the person named (`--signature`)."""


_WORTH = (Proof.NONE, Proof.REGISTRY, Proof.STORE, Proof.SIGNED, Proof.BOUND)


@dataclass(frozen=True, slots=True)
class Voucher:
    """Who stands behind a chunk list.

    Attributes:
        proof: how much that is worth.
        who: which registry (`registry_of`), store's directory or signer; empty when it is not known.
    """

    proof: Proof = Proof.NONE
    who: str = ""

    def decides(self, *, bound_only: bool) -> bool:
        """Whether chunks may be served by such a list before the whole blob is proved.

        Args:
            bound_only: the registry's word does not count (`--lists bound`; names with a digest).
        """
        if self.proof == Proof.SIGNED:
            return not bound_only  # who signed counts in a mount that names him, and there alone
        return self.proof >= (Proof.STORE if bound_only else Proof.REGISTRY)

    def betters(self, other: Voucher) -> bool:
        """Whether more is known of a list by this than by `other`; of two registries or signers the last one counts."""
        by_name = self.proof == other.proof and self.proof in (Proof.REGISTRY, Proof.SIGNED)
        another = by_name and self.who not in ("", other.who)
        return another or (_WORTH.index(self.proof), bool(self.who)) > (_WORTH.index(other.proof), bool(other.who))

    def __str__(self) -> str:
        """As `status` and `user.fusefs.proof` show it: `none`, `bound`, `registry HOST`, `store DIR`, `signed WHO`."""
        kind = self.proof.name.lower()
        if self.proof in (Proof.NONE, Proof.BOUND):
            return kind
        return f"{kind} {self.who or '(unknown, from an older cache)'}"


NOBODY = Voucher()
BOUND = Voucher(Proof.BOUND)
UNKNOWN = Voucher(Proof.REGISTRY)
"""Of a list in a cache that kept no vouchers: some registry's or mirror's, nobody can say which."""


def registry_of(name: Name) -> str:
    """What stands for the registry of a name: what came in the clear is not the word of the same host over TLS."""
    host = name.host.lower()
    return host if name.scheme == "https" else f"{name.scheme}://{host}"
