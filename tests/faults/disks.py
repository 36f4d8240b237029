"""Disks that take no more: a small one that is real, and one that refuses on demand."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING
from unittest import mock

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def tmpfs(path: Path, size: int) -> Iterator[Path]:
    """A file system of `size` bytes of its own at `path`; needs root."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", path], check=True, timeout=20)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True, timeout=20)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 KiB."""
    with tmpfs(tmp_path / "disk", 64 << 10) as disk:
        yield disk


@contextlib.contextmanager
def refusing(number: int) -> Iterator[None]:
    """Refuse every write of the cache while the block lasts."""

    def pwrite(*args: object) -> int:
        raise OSError(number, os.strerror(number))

    with mock.patch("os.pwrite", pwrite):
        yield


def use_up(disk: Path) -> Path:
    """Fill a disk to its last block."""
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast
