"""Pages: have the kernel forget what it keeps of a file.

Only for what was served and should not have been: what is right never changes, and its pages are kept for ever.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pyfuse3
import trio

if TYPE_CHECKING:
    from collections.abc import Sequence


async def forget_pages(inodes: Sequence[int]) -> None:
    """Drop the pages of these inodes, mapped ones too: who touches one again asks us, and gets our errno.

    In a thread, and never out of a handler: the kernel waits for reads of the inode that are not answered yet, and it
    is the event loop that answers them.  An unmount does not wait for it.
    """
    await trio.to_thread.run_sync(_forget, inodes, abandon_on_cancel=True)


def _forget(inodes: Sequence[int]) -> None:
    for inode in inodes:
        with contextlib.suppress(OSError):  # ENOENT: the kernel keeps nothing of it
            pyfuse3.invalidate_inode(inode)
