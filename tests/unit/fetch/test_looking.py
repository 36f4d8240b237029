"""What a blob says of itself to who only looks: at once, whatever its list, and from nothing that grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusefs.cache.blob.mapfile import PRESENT, STATES_AT
from fusefs.cache.disk import DiskCache
from fusefs.cache.place import Place
from fusefs.fetch.blobfetch import BlobFetch
from fusefs.values.chunks import Blob, ChunkList
from fusefs.values.digest import Digest
from fusefs.values.settings import MIB
from fusefs.values.trace import Trace
from fusefs.values.voucher import BOUND
from tests.world import SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 1 << 20


@pytest.mark.slow
def test_p6_a_partial_blob_of_a_million_chunks_is_looked_at_without_its_list(tmp_path: Path) -> None:
    """The list has 40 MB: reading and hashing it kept the event loop from everybody for a quarter of a second."""
    blob = Blob(Digest.of(b"a terabyte"), COUNT * MIB)
    cache = DiskCache.open(tmp_path)
    chunks = ChunkList.from_packed(blob.size, range(0, blob.size, MIB), bytes(32 * COUNT))
    cache.chunker(blob, chunks, BOUND).close()
    with open(Place(tmp_path, blob.digest).map, "r+b") as file:
        file.seek(STATES_AT + 7)
        file.write(bytes([PRESENT]) * 3)
    fetch = BlobFetch(blob, DiskCache.open(tmp_path), SETTINGS, lambda _: None)
    fetch.sight.look()
    assert fetch.state == "partial"
    assert fetch.present == 3 * MIB
    cells = fetch.presence(64, 0, blob.size)
    assert cells[0] > 0
    assert not any(cells[1:])
    assert fetch._list is None, "not for anything of this"
    listed = fetch.local_list()
    assert listed is not None
    assert listed[0] == chunks
    assert isinstance(listed[0].starts, range), "equal chunks take no memory"


def test_a_load_that_was_recorded_says_before_the_next_one_begins_whether_it_was_in_order(tmp_path: Path) -> None:
    blob = Blob(Digest.of(b"a gigabyte"), 1024 * MIB)
    cache = DiskCache.open(tmp_path)
    long, short = Trace.of([(0, blob.size)]), Trace.of((at * MIB, (at + 1) * MIB) for at in range(0, 1024, 2))

    def recalled(kept: Trace | None = None) -> list[bool | None]:
        """How a mount has it at its first open, and when it has kept another record."""
        fetch = BlobFetch(blob, cache, SETTINGS, lambda _: None)
        fetch.sight.recall()
        said = [fetch.sight.in_order]
        if kept is not None:
            fetch.keep(kept)
            said.append(fetch.sight.in_order)
        return said

    assert recalled(long) == [False, True]
    assert recalled(short) == [True, False]
    assert recalled() == [False]
