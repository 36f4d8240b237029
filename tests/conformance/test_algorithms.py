"""Blobs that are named by another hash than sha256: the same promises; chunk digests stay sha256."""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.blob.sealing import seal
from fusefs.cache.blob.verification import verify
from fusefs.cache.disk import DiskCache
from fusefs.errors import DigestMismatch
from fusefs.system.files import reader_of
from fusefs.values.chunks import Blob, ChunkList
from fusefs.values.digest import Digest
from tests.chunkers import fill

if TYPE_CHECKING:
    from pathlib import Path

DATA = os.urandom(100_000)
PART = 5 << 20


def digest_of(data: bytes, algorithm: str) -> Digest:
    """By hashlib alone; git hashes `blob <size>`, a zero byte, and the content, S3 the digests of the parts."""
    if algorithm == "git-sha1":
        return Digest(algorithm, hashlib.sha1(b"blob " + str(len(data)).encode() + b"\0" + data).hexdigest())
    if algorithm == "s3-sha256":
        parts = [hashlib.sha256(data[off : off + PART]).digest() for off in range(0, len(data), PART)]
        return Digest(algorithm, f"{hashlib.sha256(b''.join(parts)).hexdigest()}{PART:016x}")
    return Digest(algorithm, hashlib.new(algorithm, data).hexdigest())


ALGORITHMS = ["sha256", "sha512", "git-sha1", "s3-sha256"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_p1_a_blob_is_stored_under_its_own_algorithm_and_nothing_else_is(tmp_path: Path, algorithm: str) -> None:
    digest = digest_of(DATA, algorithm)
    cache = DiskCache.open(tmp_path)
    with pytest.raises(DigestMismatch):
        cache.put(digest, reader_of(DATA[:-1] + b"x"), len(DATA))
    assert cache.put(digest, reader_of(DATA), len(DATA))
    assert cache.path(digest).name == f"{algorithm}-{digest.hex}"
    assert list(cache.digests()) == [digest]
    assert cache.read(digest, len(DATA)) == DATA


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_p4_a_blob_filled_in_any_order_is_sealed_when_its_own_digest_matches(tmp_path: Path, algorithm: str) -> None:
    blob = Blob(digest_of(DATA, algorithm), len(DATA))
    chunks = ChunkList.uniform(len(DATA), 30_000)
    cache = DiskCache.open(tmp_path)
    with contextlib.closing(cache.chunker(blob, chunks)) as chunker:
        fill(chunker, DATA, 2, 0, 3)
        assert not seal(chunker)
        fill(chunker, DATA, 1)
        assert seal(chunker)
    assert cache.path(blob.digest).read_bytes() == DATA


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_p2_verify_drops_a_blob_that_has_changed_on_disk(tmp_path: Path, algorithm: str) -> None:
    digest = digest_of(DATA, algorithm)
    cache = DiskCache.open(tmp_path)
    cache.put(digest, reader_of(DATA), len(DATA))
    assert [found.state for found in verify(cache)] == ["sealed"]
    path = cache.path(digest)
    path.chmod(0o600)
    path.write_bytes(DATA[:-1] + b"x")
    assert [found.dropped for found in verify(cache)] == [len(DATA)]
    assert not path.exists()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_file_name_gives_back_its_digest(algorithm: str) -> None:
    digest = digest_of(DATA, algorithm)
    assert Digest.from_file_name(digest.file_name) == digest
    assert digest.matches(DATA)
    assert not digest.matches(DATA[1:])
    assert len(digest.key) == 32
