"""A chunk list that was asked for before anybody read: it is downloaded and read once, however long it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusefs.fetch import foreseen
from fusefs.sources.bound import BoundSource
from fusefs.values.chunks import Blob, ChunkList
from fusefs.values.digest import Digest
from fusefs.values.listmemory import ListMemory
from fusefs.values.settings import KIB
from tests.fake_source import FakeSource
from tests.world import NAME, running

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.values.names import Name

LINES = 20_000
SIZE = LINES * 64 * KIB


class Counted(FakeSource):
    """Counts the lists that it gives."""

    lists = 0

    def chunk_list(self, name: Name, blob: Blob) -> ChunkList | None:
        self.lists += 1
        return super().chunk_list(name, blob)


@pytest.mark.parametrize(("room", "asked"), [(40 * LINES, 1), (40 * LINES - 1, 2)], ids=["kept", "no room"])
async def test_a_long_list_is_asked_for_once_and_twice_where_memory_has_no_room_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, asked: int
) -> None:
    memory = ListMemory(room)
    monkeypatch.setattr(foreseen, "KEPT", memory)
    source = Counted()
    async with running(tmp_path, b"another blob", source=source) as world:
        blob = Blob(Digest.of(b"nobody reads it"), SIZE)
        source.claim(blob, b"", ChunkList.uniform(SIZE, 64 * KIB).with_digests(bytes(32 * LINES)))
        fetch = world.fetcher.track(blob)
        fetch.add_origin(BoundSource(source, NAME))
        await world.fetcher.foresee(fetch)
        assert fetch.whole_first is False
        assert len((await world.fetcher.open(fetch)).chunks) == LINES
        assert source.lists == asked
        assert memory.taken == 0
