"""Evidence: how a chunk is accepted the first time, where no chunk list has its digest.

A source may be able to prove the bytes of a range without a list of sha256 digests: by a Merkle tree whose root the
manifest names, by a signature, by windows of another hash.  The proof is needed once.  The sha256 of what was accepted
goes into the chunk's slot (`fusefs.values.slots`), and by that the chunk is known from then on: after a restart, when
it is fetched again from a mirror that proves nothing, and to other processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fusefs.values.chunks import Buffer, Chunk
    from fusefs.values.voucher import Voucher

    Prove = Callable[[], "Evidence"]
    """Gives the evidence of a range whose bytes have come.  Blocking; raises SourceError when it cannot be had."""


class Evidence(Protocol):
    """Of one range of a blob, made by an Origin after the range was read.

    Attributes:
        voucher: whose word it is.  `BOUND`: it ends in the blob's own digest, whoever carried it here.  Another one
            counts only for a list that was made for the same voucher (`ChunkList.evidenced`).
    """

    @property
    def voucher(self) -> Voucher:
        """See above."""

    def check(self, chunk: Chunk, pieces: Iterable[Buffer]) -> None:
        """Compare the bytes of `chunk`, which come in `pieces`, in order.  Blocking.

        Raises:
            DigestMismatch: they are not what the evidence says.
            SourceError: the evidence cannot be had.
        """
