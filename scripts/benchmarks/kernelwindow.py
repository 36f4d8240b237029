"""The kernel's window of one mount: how far it reads ahead, and how many requests it has in flight."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def _window(mountpoint: str) -> tuple[Path, Path]:
    minor = os.minor(os.stat(mountpoint).st_dev)
    return Path(f"/sys/class/bdi/0:{minor}/read_ahead_kb"), Path(f"/sys/fs/fuse/connections/{minor}")


def set_window(mountpoint: str, read_ahead_kb: int) -> None:
    """Let the kernel read that far ahead, with 64 requests in flight; needs root, and does nothing without."""
    ahead, connection = _window(mountpoint)
    with contextlib.suppress(OSError):
        ahead.write_text(f"{read_ahead_kb}\n")
        (connection / "max_background").write_text("64\n")
        (connection / "congestion_threshold").write_text("48\n")


def read_ahead_kb(mountpoint: str) -> int:
    """KiB that the kernel reads ahead."""
    return int(_window(mountpoint)[0].read_text())
