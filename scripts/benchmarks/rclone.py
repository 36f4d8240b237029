"""rclone, the peer that most people mount remote files with: its mounts, and the flags it is measured with."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Literal

from scripts.benchmarks import mounts
from scripts.benchmarks.stage import beside_python

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Mode = Literal["off", "full"]
Flags = tuple[tuple[str, str], ...]

BEST: Mapping[Mode, Flags] = {
    "off": (
        ("--vfs-read-chunk-streams", "4"),
        ("--vfs-read-chunk-size", "16M"),
        ("--vfs-read-ahead", "256M"),
        ("--buffer-size", "64M"),
    ),
    "full": (
        ("--vfs-read-chunk-streams", "4"),
        ("--vfs-read-chunk-size", "16M"),
        ("--vfs-read-ahead", "256M"),
        ("--buffer-size", "64M"),
    ),
}
"""The flags of each cache mode.  `scripts/bench --search` looks for better ones and says when it has found some."""


def program() -> Path | None:
    """The pinned release, where it is installed."""
    return beside_python("rclone")


def words(flags: Flags) -> list[str]:
    """Flags as they are written on a command line."""
    return [word for flag in flags for word in flag]


@contextlib.contextmanager
def mount(
    folder: Path, cache_dir: Path, url: str, mode: Mode, flags: Flags | None = None, *options: str
) -> Iterator[mounts.Mount]:
    """`rclone mount` of a folder of a web server, with the best flags unless others are given.

    Raises:
        LookupError: rclone is not installed.
    """
    rclone = program()
    if rclone is None:
        raise LookupError("rclone is not installed")
    argv: list[str | Path] = [
        rclone,
        "mount",
        ":http:",
        folder,
        "--http-url",
        url,
        "--cache-dir",
        cache_dir,
        "--read-only",
        "--config",
        "",
    ]
    chosen = words(BEST[mode] if flags is None else flags)
    with mounts.foreground([*argv, "--vfs-cache-mode", mode, *chosen, *options], folder) as made:
        yield made
