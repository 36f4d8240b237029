"""LocalStore: what the suite of all sources does not ask."""

from __future__ import annotations

import errno
import os
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fusefs.errors import ModelNotFound, NotFound, SourceError
from fusefs.sources.modelstore import LocalStore
from fusefs.values.chunkpack import pack
from fusefs.values.chunks import Blob, Chunk, ChunkList
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from fusefs.values.voucher import NOBODY
from tests.reading import read_blob, read_body

if TYPE_CHECKING:
    from pathlib import Path

DATA = b"0123456789" * 100
BLOB = Blob(Digest.of(DATA), len(DATA))
NAME = Name.parse("host/ns/model:tag")
PACKED = pack(ChunkList.single(BLOB), NOBODY)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    _write(tmp_path / "manifests" / "Host" / "ns" / "MODEL" / "tag", b"one")
    _write(tmp_path / "blobs" / BLOB.digest.file_name, DATA)
    return LocalStore(tmp_path)


def test_names_differ_in_more_than_case(store: LocalStore, tmp_path: Path) -> None:
    assert store.manifest(NAME) == b"one"
    _write(tmp_path / "manifests" / "host" / "ns" / "model" / "tag", b"exact")
    assert store.manifest(NAME) == b"exact"


def test_a_pinned_manifest_may_be_a_blob(store: LocalStore, tmp_path: Path) -> None:
    digest = Digest.of(b"pinned")
    _write(tmp_path / "blobs" / digest.file_name, b"pinned")
    assert store.manifest(NAME.pinned(digest)) == b"pinned"
    _write(tmp_path / "blobs" / Digest.of(b"other").file_name, b"not it")
    with pytest.raises(ModelNotFound):
        store.manifest(NAME.pinned(Digest.of(b"other")))


def test_a_folder_without_anything_has_nothing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "missing")
    with pytest.raises(ModelNotFound):
        store.manifest(NAME)
    with pytest.raises(NotFound):
        store.open_range(NAME, BLOB, Chunk(0, 0))
    assert store.chunk_list(NAME, BLOB) is None


def test_a_chunk_list_of_a_cache_is_used(store: LocalStore, tmp_path: Path) -> None:
    _write(tmp_path / "partial" / BLOB.digest.file_name / "chunks", pack(ChunkList.single(BLOB), NOBODY))
    assert store.chunk_list(NAME, BLOB) == ChunkList.single(BLOB)


@pytest.mark.parametrize("packed", [b"", b"junk", PACKED[:-1], PACKED + b"x", PACKED[:-1] + b"x"])
def test_a_chunk_list_that_is_torn_is_none(store: LocalStore, tmp_path: Path, packed: bytes) -> None:
    _write(tmp_path / "partial" / BLOB.digest.file_name / "chunks", packed)
    assert store.chunk_list(NAME, BLOB) is None


def test_a_chunk_list_without_digests_is_none(store: LocalStore, tmp_path: Path) -> None:
    """It proves nothing, so it must not pass for one that does."""
    _write(tmp_path / "partial" / BLOB.digest.file_name / "chunks", pack(ChunkList.uniform(1000, 100), NOBODY))
    assert store.chunk_list(NAME, BLOB) is None


def test_p10_a_link_in_a_blobs_place_is_not_followed(store: LocalStore, tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / BLOB.digest.file_name
    blob.rename(tmp_path / "elsewhere")
    blob.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotFound):
        store.open_range(NAME, BLOB, Chunk(0, 0))


def test_a_link_to_another_disk_above_is_followed(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "blobs").rename(tmp_path / "disk")
    (tmp_path / "blobs").symlink_to(tmp_path / "disk")
    assert read_blob(store, NAME, BLOB) == DATA


def test_p6_a_fifo_in_a_blobs_place_holds_nobody(store: LocalStore, tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / BLOB.digest.file_name
    blob.unlink()
    os.mkfifo(blob)
    with pytest.raises(NotFound, match="not a plain file"):
        store.open_range(NAME, BLOB, Chunk(0, 0))


def test_a_file_that_shrinks_under_a_read_is_an_error(store: LocalStore, tmp_path: Path) -> None:
    with closing(store.open_range(NAME, BLOB, Chunk(0, 999))) as body:
        os.truncate(tmp_path / "blobs" / BLOB.digest.file_name, 10)
        with pytest.raises(SourceError, match="990 bytes too early"):
            read_body(body, 1000)


@pytest.mark.parametrize(("number", "temporary"), [(errno.EIO, True), (errno.EACCES, False)])
def test_an_error_of_the_disk_is_told(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, number: int, temporary: bool
) -> None:
    def fail(*_args: object) -> int:
        raise OSError(number, os.strerror(number))

    with closing(store.open_range(NAME, BLOB, Chunk(0, 999))) as body:
        monkeypatch.setattr(os, "preadv", fail)
        with pytest.raises(SourceError, match=os.strerror(number)) as caught:
            read_body(body, 1000)
    assert caught.value.temporary is temporary
