"""XetFile: a file of the Hub that lies in Xet's store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.values.settings import GIB, MIB

if TYPE_CHECKING:
    from fusefs.values.hubname import HubName


@dataclass(frozen=True, slots=True)
class XetFile:
    """What the Hub's listing says of it.

    Attributes:
        hash: of Xet, 32 bytes: the root of the Merkle tree over its chunks.
        size: in bytes.
        name: of its repository at its commit, for which there are tokens.
    """

    hash: bytes
    size: int
    name: HubName

    @property
    def unit(self) -> int:
        """Bytes of a chunk of ours, which is proved by itself.

        Half of one is read too much at each end of a tensor, and tensors grow with the file.  A cache knows its chunks
        by this size: with another one it begins anew.
        """
        return MIB if self.size <= GIB else 2 * MIB if self.size <= 8 * GIB else 4 * MIB
