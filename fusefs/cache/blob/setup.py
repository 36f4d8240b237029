"""BlobSetup: what an open blob is made of, as it goes from the store to the chunker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusefs.cache.blob.room import Room
    from fusefs.cache.memory.budget import Memory
    from fusefs.cache.place import HeldPlace
    from fusefs.values.chunks import Blob, ChunkList
    from fusefs.values.voucher import Voucher


@dataclass(frozen=True, slots=True)
class BlobSetup:
    """Which blob, by whose list, and what it shares with the other blobs of this process.

    Attributes:
        place: where its files lie, or would.
        blob: digest and size.
        chunks: its chunk list; once the blob is open, as it lies pinned.
        voucher: who stands behind that.
        memory: what of this and other blobs is not only on disk.
        room: asked before anything is written.
        readers: byte ranges [start, stop) that somebody waits for, as they change; see `Usage`.
    """

    place: HeldPlace
    blob: Blob
    chunks: ChunkList
    voucher: Voucher
    memory: Memory
    room: Room
    readers: list[tuple[int, int]]
