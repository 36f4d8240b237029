"""UseNotes: writes down on disk when blobs were read last, for other processes and the next mount.

Reads are answered on the event loop, which must not wait for a disk; so a read only remembers, and this writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fusefs.cache.blob.usage import Usage
    from fusefs.fetch.blobfetch import BlobFetch
    from fusefs.fetch.threads import CacheThreads

_LOOK = 1.0
"""Seconds between two looks at what has to be written."""


async def note_uses(threads: CacheThreads, blobs: Callable[[], Iterable[BlobFetch]]) -> None:
    """Look after the open ones of `blobs` until cancelled."""
    while True:
        await trio.sleep(_LOOK)
        for fetch in list(blobs()):
            if fetch.chunker is not None and fetch.chunker.usage.unnoted:
                with fetch.use.lasting():
                    await threads.run(_note, fetch.chunker.usage)


def _note(usage: Usage) -> None:
    usage.note()
