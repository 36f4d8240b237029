"""Left: what is remembered of a blob that was closed while nothing but a registry's word stood behind its chunk list.

While it was open the chunk map would have told that another process has found the list lying.  Programs that have the
file open, and the kernel, which keeps its pages, must hear of it all the same.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.system.spot import stat_at
from fusefs.values.voucher import Proof

if TYPE_CHECKING:
    from fusefs.cache.blob.chunker import Chunker
    from fusefs.cache.place import HeldPlace


@dataclass(frozen=True, slots=True)
class Left:
    """The folder that its list and its map lay in.

    Attributes:
        place: where the blob's files lie.
        folder: which folder it was.
    """

    place: HeldPlace
    folder: os.stat_result

    @classmethod
    def by(cls, chunker: Chunker) -> Left | None:
        """Of a chunker that is about to be closed; None when its list cannot lie."""
        if chunker.voucher.proof == Proof.BOUND:
            return None
        with contextlib.suppress(OSError):
            return cls(chunker.place, stat_at(chunker.place.folder))
        return None

    def convicted(self) -> bool:
        """Whether it is in quarantine by now.  Blocking, but short; takes no descriptor."""
        with contextlib.suppress(OSError):
            return os.path.samestat(stat_at(self.place.quarantine), self.folder)
        return False
