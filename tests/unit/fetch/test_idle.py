"""Blobs that are open: what they take is counted as what it is."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fusefs.fetch import idle
from fusefs.values.chunks import ChunkList
from fusefs.values.settings import MIB
from fusefs.values.voucher import Proof, Voucher
from tests.fake_source import FakeSource, fail
from tests.world import SETTINGS, running, some_bytes

if TYPE_CHECKING:
    from pathlib import Path

DATA = some_bytes(4 * MIB)
EVIDENCED = ChunkList.evidenced(len(DATA), MIB, Voucher(Proof.REGISTRY, "registry.example"))


def open_below(folder: Path) -> list[str]:
    """The files of a cache that this process has open, a mapping's descriptor included."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the folder's own, closed by now
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return [path for path in found if path.startswith(f"{folder}/partial/")]


@pytest.mark.logs("no bytes")
@pytest.mark.parametrize("chunks", [None, EVIDENCED], ids=["listed", "with slots"])
async def test_an_open_blob_takes_no_more_descriptors_than_are_counted(
    tmp_path: Path, chunks: ChunkList | None
) -> None:
    settings = replace(SETTINGS, memory=64 * MIB, readahead_max=0, unproved="allow")
    source = FakeSource()
    source.always = lambda chunk, data: fail(chunk, data) if chunk.stop == len(DATA) else data  # it is never complete
    async with running(tmp_path, DATA, chunk_size=MIB, chunks=chunks, source=source, settings=settings) as world:
        await world.read(MIB, 10)
        taken = open_below(tmp_path)
        assert sum(path.endswith("/data") for path in taken) == 2, "one is for direct writes"
        assert len(taken) <= idle._EACH, taken
        assert chunks is None or len(taken) == idle._EACH
