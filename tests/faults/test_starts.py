"""P8 for recorded starts: a disk that takes no more keeps none, and nobody notices."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from fusefs.cache.disk import DiskCache
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest
from fusefs.values.trace import Start
from tests.faults.disks import small_disk, use_up

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["small_disk"]

BLOB = Blob(Digest.of(b"a"), 1 << 20)
SHORT = Start(((0, 10),))
LONG = Start(tuple((off, off + 1) for off in range(0, 1 << 14, 2)))


def test_p8_a_full_disk_keeps_the_start_that_it_has(small_disk: Path) -> None:
    cache = DiskCache.open(small_disk)
    cache.put_start(BLOB, SHORT)
    cache.put_start(BLOB, LONG)
    assert cache.start(BLOB) == SHORT, "128 KiB do not fit"
    use_up(small_disk)
    cache.put_start(BLOB, Start(((10, 20),)))
    assert cache.start(BLOB) == SHORT
    assert os.listdir(small_disk / "partial") == []


def test_p8_a_read_only_disk_keeps_the_start_that_it_has(small_disk: Path) -> None:
    cache = DiskCache.open(small_disk)
    cache.put_start(BLOB, SHORT)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True, timeout=10)
    cache.put_start(BLOB, LONG)
    assert cache.start(BLOB) == SHORT


def test_p8_a_disk_without_room_for_the_folder_keeps_none(small_disk: Path) -> None:
    cache = DiskCache.open(small_disk)
    use_up(small_disk)
    cache.put_start(BLOB, SHORT)
    assert cache.start(BLOB) is None
