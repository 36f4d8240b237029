"""Digest and chunk list of a file in one pass."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from fusefs.errors import ServeError
from fusefs.offers.filehash import chunk_list_of
from fusefs.offers.stamp import fitting_chunk_size
from fusefs.values.chunklimits import MAX_CHUNKS
from fusefs.values.chunks import ChunkList
from fusefs.values.digest import Digest
from tests.serve.world import noise

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 160, 161, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, 9_000_001])
@pytest.mark.parametrize("chunk_size", [16, 1000, 1 << 20, 5 << 20])
def test_every_digest_is_that_of_its_bytes(tmp_path: Path, size: int, chunk_size: int) -> None:
    if size // chunk_size > 100_000:
        chunk_size = 4099  # a prime: chunks and the pieces that are read share no border
    chunk_size = fitting_chunk_size(size, chunk_size)
    content = noise(size)
    (tmp_path / "f").write_bytes(content)
    digest, chunks = chunk_list_of(tmp_path / "f", chunk_size)
    assert digest == Digest.of(content)
    expected = [(Digest.of(content[i : i + chunk_size])) for i in range(0, size, chunk_size)]
    assert [chunks.digest(i) for i in range(len(chunks))] == expected
    assert ChunkList.parse(size, "".join(chunks.format()).encode()) == chunks


def test_progress_rises_to_the_size(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(10 << 20))
    told: list[tuple[int, int]] = []
    chunk_list_of(tmp_path / "f", 1 << 20, lambda done, size: told.append((done, size)))
    assert [size for _, size in told] == [10 << 20] * len(told)
    assert len(told) > 1
    done = [d for d, _ in told]
    assert done == sorted(set(done))
    assert done[-1] == 10 << 20


def test_what_progress_raises_ends_the_work_and_closes_the_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(10 << 20))
    before = set(os.listdir("/proc/self/fd"))

    def stop(_done: int, _size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chunk_list_of(tmp_path / "f", 1 << 20, stop)
    assert set(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize("change", ["grow", "shrink", "touch"])
def test_a_file_that_changes_meanwhile_is_an_error(tmp_path: Path, change: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(10 << 20))

    def disturb(done: int, _size: int) -> None:
        if done == 4 << 20:
            if change == "touch":
                os.utime(path, ns=(0, 0))
            else:
                os.truncate(path, (11 if change == "grow" else 6) << 20)

    with pytest.raises(ServeError, match=r"changed while|became shorter"):
        chunk_list_of(path, 1 << 20, disturb)


def test_what_is_no_readable_file_is_one_clear_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, reason in (("none", "No such file"), (".", "not a regular file"), ("fifo", "not a regular file")):
        with pytest.raises(ServeError, match=f"cannot read .*{reason}"):
            chunk_list_of(tmp_path / name, 1 << 20)


def test_the_chunk_size_grows_with_a_very_large_file() -> None:
    assert fitting_chunk_size(MAX_CHUNKS << 20, 1 << 20) == 1 << 20
    assert fitting_chunk_size((MAX_CHUNKS << 20) + 1, 1 << 20) == 1 << 21
    assert fitting_chunk_size(1 << 44, 1) == (1 << 44) // MAX_CHUNKS


def test_a_sparse_file_is_hashed_as_zeros(tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb") as file:
        file.truncate(20 << 20)
    digest, chunks = chunk_list_of(tmp_path / "f", 1 << 20)
    assert digest == Digest.of(bytes(20 << 20))
    assert chunks.digest(19) == Digest.of(bytes(1 << 20))
