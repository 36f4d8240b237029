"""Slots: digests of chunks that become known one by one, as chunks are accepted or merely arrive.

This class keeps them in memory; `fusefs.cache.blob.slotfile` keeps them beside the blob, too, for other processes and
for the next start.
"""

from __future__ import annotations


class Slots:
    """Of one list in one process.  For any thread; whoever fills a slot has the chunk's lock."""

    def __init__(self) -> None:
        self._seen: dict[int, bytes] = {}
        self._slots: dict[int, bytes] = {}

    def get(self, index: int) -> bytes | None:
        """The sha256 of chunk `index`, 32 bytes; None as long as it is not known.  Blocking, but short."""
        return self._slots.get(index)

    def fill(self, index: int, raw: bytes) -> None:
        """The bytes of a chunk with this sha256 were accepted, or have arrived.  Blocking, but short.

        Raises:
            OSError: it could not be kept.
        """
        self._slots[index] = self._seen[index] = raw

    def seen(self, index: int) -> bytes | None:
        """The sha256 of chunk `index` as this process has computed it itself; None when it has not."""
        return self._seen.get(index)

    def note(self, index: int, raw: bytes) -> None:
        """This process has read chunk `index` back and computed its sha256: that fills no slot."""
        self._seen[index] = raw

    def empty(self, index: int) -> None:
        """What the slot says is in doubt: chunk `index` counts as one whose digest is not known.

        Raises:
            OSError: it could not be kept.
        """
        self._slots.pop(index, None)

    def forget(self) -> None:
        """The chunks may have been replaced: what was computed of them says nothing any more."""
        self._seen.clear()

    def differing(self) -> list[int]:
        """Chunks of which no slot says the digest that was computed here.  Blocking.

        What another process accepts is not seen in memory, so that is all of them.
        """
        return sorted(self._seen)

    def all_seen(self, count: int) -> bytes | None:
        """The digests of chunks 0 to `count` - 1, all computed here, one behind the other; None when one is lacking."""
        raws = [self._seen.get(index) for index in range(count)]
        return None if None in raws else b"".join(raw for raw in raws if raw)

    def close(self) -> None:
        """No method is called again."""


class NoSlots(Slots):
    """Of a complete list: every digest is known without them, and nothing changes that."""

    def fill(self, index: int, raw: bytes) -> None:
        """See `Slots.fill`."""

    def note(self, index: int, raw: bytes) -> None:
        """See `Slots.note`."""

    def differing(self) -> list[int]:
        """See `Slots.differing`."""
        return []

    def all_seen(self, count: int) -> bytes:  # noqa: ARG002  # none is lacking
        """See `Slots.all_seen`: none is lacking."""
        return b""
