"""Holder: the process that a mount is made for, and ends with (`fusefs run`), however that process ends.

It takes the mount away itself, and is here only watched for a death that leaves it no time for that.  A pidfd becomes
readable at any end, also by kill -9, and no other process can come to be meant by it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from fusefs.daemon.temporary import remove_place
from fusefs.fuse.wire.attach import detach

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.fuse.identity import Identity

log = logging.getLogger(__name__)


class Holder:
    """Of one mount.

    Args:
        pidfd: of the process.
        mountpoint: of the mount.
        temporary: the mount point goes with the mount.

    Attributes:
        made: which mount it is; None until there is one.
    """

    def __init__(self, pidfd: int, mountpoint: Path, *, temporary: bool) -> None:
        self.made: Identity | None = None
        self._pidfd = pidfd
        self._mountpoint = mountpoint
        self._temporary = temporary

    async def watch(self, scope: trio.CancelScope) -> None:
        """Wait for the end of the process; then nobody finds the mount any more, and it ends with its last user.

        Args:
            scope: cancelled where there is no mount yet.
        """
        await trio.lowlevel.wait_readable(self._pidfd)
        log.info("The process that %s was mounted for has ended.", self._mountpoint)
        if self.made is None:
            scope.cancel()
        else:
            await trio.to_thread.run_sync(self._leave, self.made, abandon_on_cancel=True)

    def _leave(self, made: Identity) -> None:
        detach(self._mountpoint, made)
        if self._temporary:
            remove_place(self._mountpoint)
