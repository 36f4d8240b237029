"""P8 for access traces: a disk that takes no more keeps none, and nobody notices."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from fusefs.cache.disk import DiskCache
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest
from fusefs.values.trace import Trace
from tests.faults.disks import small_disk, use_up

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["small_disk"]

BLOB = Blob(Digest.of(b"a"), 1 << 20)
SHORT = Trace(((0, 10),))
LONG = Trace(tuple((off, off + 1) for off in range(0, 1 << 14, 2)))


def test_p8_a_full_disk_keeps_the_start_that_it_has(small_disk: Path) -> None:
    cache = DiskCache.open(small_disk)
    cache.put_trace(BLOB, SHORT)
    cache.put_trace(BLOB, LONG)
    assert cache.trace(BLOB) == SHORT, "128 KiB do not fit"
    use_up(small_disk)
    cache.put_trace(BLOB, Trace(((10, 20),)))
    assert cache.trace(BLOB) == SHORT
    assert os.listdir(small_disk / "partial") == []


def test_p8_a_read_only_disk_keeps_the_start_that_it_has(small_disk: Path) -> None:
    cache = DiskCache.open(small_disk)
    cache.put_trace(BLOB, SHORT)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True, timeout=10)
    cache.put_trace(BLOB, LONG)
    assert cache.trace(BLOB) == SHORT


def test_p8_a_disk_without_room_for_the_folder_keeps_none(small_disk: Path) -> None:
    cache = DiskCache.open(small_disk)
    use_up(small_disk)
    cache.put_trace(BLOB, SHORT)
    assert cache.trace(BLOB) is None
