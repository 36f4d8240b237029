"""Shards: a small blob that is its own only chunk, and was served by the shards that somebody signed of it before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.cache.blob.sealing import seal
from fusefs.cache.blob.verification import verify
from fusefs.cache.disk import DiskCache
from fusefs.values.chunks import ChunkList
from fusefs.values.voucher import BOUND, Proof, Voucher
from tests.chunkers import blob_of, fill, opened
from tests.fake_source import chunk_list

if TYPE_CHECKING:
    from pathlib import Path

DATA, SIGNED = b"0123456789" * 10, b"x123456789" * 10
SIGNER = Voucher(Proof.SIGNED, "somebody")


def test_p4_shards_of_another_content_are_gone_when_the_blob_is_proved_by_its_own_digest(tmp_path: Path) -> None:
    """Who reads the list beside a sealed blob, as `verify` and `serve` do, would take the blob for damaged."""
    blob = blob_of(DATA)
    cache = DiskCache.open(tmp_path)
    cache.chunker(blob, chunk_list(SIGNED, 30), SIGNER).close()
    assert cache.voucher(blob) == SIGNER
    with opened(tmp_path, DATA, chunks=ChunkList.single(blob)) as chunker:
        fill(chunker, DATA)
        assert seal(chunker)
        assert chunker.voucher == BOUND
    assert cache.pinned(blob) is None
    assert [(one.state, one.dropped) for one in verify(cache, lambda _: None)] == [("sealed", 0)]
