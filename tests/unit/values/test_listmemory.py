"""ListMemory: what chunk lists take together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusefs.errors import FusefsError, InvalidChunkList, ListMemoryFull
from fusefs.values.chunkbuilder import ChunkListBuilder
from fusefs.values.chunks import ChunkList
from fusefs.values.listmemory import LISTS

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNKS = 1 << 14
WIDE = 1 << 20


def _lines(chunks: int) -> str:
    return "".join(f"sha256:{'0' * 64} {WIDE * i}-{WIDE * (i + 1) - 1}\n" for i in range(chunks))


def _cut() -> Iterator[bytes]:
    """A list whose connection breaks before its last chunk."""
    yield _lines(CHUNKS - 1).encode()
    raise ConnectionError


def test_p10_a_list_that_broke_off_takes_nothing_while_its_error_is_kept() -> None:
    """Or some tries over a bad link would take the memory of all lists, for nothing."""
    before, kept = LISTS.taken, []
    for _ in range(3):
        with pytest.raises(ConnectionError) as broke:
            ChunkList.parse(CHUNKS * WIDE, _cut())
        kept.append(broke.value)
    assert LISTS.taken == before
    assert all(error.__traceback__ is not None for error in kept)


def test_p10_a_list_that_is_none_takes_nothing_either() -> None:
    before, kept = LISTS.taken, []
    for text in (_lines(CHUNKS - 1), _lines(CHUNKS) + "sha256:"):
        with pytest.raises(FusefsError) as refused:
            ChunkList.parse(CHUNKS * WIDE, text.encode())
        kept.append(refused.value)
    assert LISTS.taken == before
    assert isinstance(kept[0], InvalidChunkList)


def test_p10_a_list_that_is_kept_is_counted_until_it_is_gone() -> None:
    before = LISTS.taken
    lines = _lines(CHUNKS).replace(f" 0-{WIDE - 1}\n", " 0-0\n").replace(f" {WIDE}-", " 1-")
    chunks = ChunkList.parse(CHUNKS * WIDE, [lines.encode()])
    assert LISTS.taken > before
    assert len(chunks) == CHUNKS
    del chunks
    assert LISTS.taken == before


def test_p10_what_a_list_may_come_to_is_counted_before_it_is_read() -> None:
    """Lists read side by side would else fail when most of each has come, and come again, and fail again."""
    kept = [ChunkListBuilder(1 << 40) for _ in range(2)]
    with pytest.raises(ListMemoryFull) as full:
        ChunkList.parse(1 << 40, _never())
    assert full.value.temporary
    del kept
    with pytest.raises(pytest.fail.Exception, match="asked for"):
        ChunkList.parse(1 << 40, _never())


def _never() -> Iterator[bytes]:
    yield pytest.fail("a byte was asked for")
