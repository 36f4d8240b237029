"""What an honest chunk list has at most; anything beyond is refused, whoever sends it."""

from __future__ import annotations

from fusefs.errors import InvalidChunkList

MAX_CHUNKS = 1 << 21
"""No honest list is longer: 2 TiB in 1 MiB chunks, 84 MiB packed."""

FINE_CHUNKS = 4096
"""So many chunks may have any size; each costs a lock, a hash and some 100 µs of the event loop when it is fetched."""

FINE_CHUNK_SIZE = 64 << 10
"""Bytes of an honest chunk at least, on the average of a longer list: hashing and fetching so many takes about as long
as keeping account of one chunk, and what the kernel asks for at a time (128 KiB to 1 MiB) has a handful of them.
Ollama's chunks have 64 MiB and more, ours 1 to 8 MiB, desync's and the Hub's (xet) 64 KiB."""

MAX_CHUNK_SIZE = 4 << 30
"""No honest chunk is larger: one chunk is fetched and hashed as a whole before a byte of it is served."""

MAX_BLOB_SIZE = 1 << 44
"""16 TiB, the largest file ext4 holds."""


def most_chunks(size: int) -> int:
    """How many chunks the list of a blob of `size` bytes may have."""
    return min(MAX_CHUNKS, size, FINE_CHUNKS + size // FINE_CHUNK_SIZE)


def check_blob_size(size: int) -> None:
    """Refuse sizes that no blob can have, by InvalidChunkList."""
    if not 0 <= size <= MAX_BLOB_SIZE:
        raise InvalidChunkList(f"a blob cannot have {size} bytes")
