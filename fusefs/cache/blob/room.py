"""Room: who has room made on the disk before something is written to it (`fusefs.cache.space.quota`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class Room(Protocol):
    """Blocking; thread-safe."""

    def room(self, size: int) -> AbstractContextManager[None]:
        """Have room for `size` more bytes, which are written in the block.

        Raises:
            CacheFull: there is none.
        """
