"""P8 for access traces: a disk that takes no more keeps none, and nobody notices."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.disk import DiskCache
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest
from fusefs.values.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOB = Blob(Digest.of(b"a"), 1 << 20)
SHORT = Trace(((0, 10),))
LONG = Trace(tuple((off, off + 1) for off in range(0, 1 << 14, 2)))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 KiB."""
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", path], check=True, timeout=10)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True, timeout=10)


def test_p8_a_full_disk_keeps_the_start_that_it_has(disk: Path) -> None:
    cache = DiskCache.open(disk)
    cache.put_trace(BLOB, SHORT)
    cache.put_trace(BLOB, LONG)
    assert cache.trace(BLOB) == SHORT, "128 KiB do not fit"
    with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    cache.put_trace(BLOB, Trace(((10, 20),)))
    assert cache.trace(BLOB) == SHORT
    assert os.listdir(disk / "partial") == []


def test_p8_a_read_only_disk_keeps_the_start_that_it_has(disk: Path) -> None:
    cache = DiskCache.open(disk)
    cache.put_trace(BLOB, SHORT)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True, timeout=10)
    cache.put_trace(BLOB, LONG)
    assert cache.trace(BLOB) == SHORT


def test_p8_a_disk_without_room_for_the_folder_keeps_none(disk: Path) -> None:
    cache = DiskCache.open(disk)
    with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    cache.put_trace(BLOB, SHORT)
    assert cache.trace(BLOB) is None
