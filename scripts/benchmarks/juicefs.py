"""JuiceFS, a peer that keeps files as blocks in a bucket: its volume in SeaweedFS on loopback, and its mounts.

The bucket stands for the registry, the volume's catalogue is a file of SQLite.  JuiceFS asks the bucket for checksums
that it keeps itself, and proves no digest.
"""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

from scripts.benchmarks import mounts, seaweed
from scripts.benchmarks.stage import beside_python, clear, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

QUIET = ("--no-usage-report", "--no-syslog", "--metrics", "127.0.0.1:0", "--backup-meta", "0")
"""Nothing goes to anybody, and no port is fixed."""


class Volume:
    """A volume of JuiceFS and the bucket that it is in.  It is filled once, and served while somebody measures it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._catalogue = f"sqlite3://{folder}/catalogue.db"
        self._ports = seaweed.free_ports()

    @contextlib.contextmanager
    def served(self, mnt: Path, *files: Path) -> Iterator[None]:
        """Serve it; these files are put into it when it is new.

        Raises:
            CommandFailed, LookupError: it cannot be had.
        """
        with seaweed.serving(self._folder, self._ports) as server:
            url = f"{server}/bench"
            if not self._folder.joinpath("filled").exists():
                self._fill(url, mnt, files)
            yield

    @contextlib.contextmanager
    def mount(self, folder: Path, cache_dir: Path, *options: str) -> Iterator[mounts.Mount]:
        """Mount it, with a cache of its own."""
        argv: list[str | Path] = [_juicefs(), "--no-agent", "mount", *QUIET, "--cache-dir", cache_dir, *options]
        argv += [self._catalogue, folder]
        with mounts.foreground(argv, folder) as made:
            yield made

    def _fill(self, url: str, mnt: Path, files: Sequence[Path]) -> None:
        access = ["--storage", "s3", "--bucket", url, "--access-key", seaweed.KEY, "--secret-key", seaweed.SECRET]
        run([_juicefs(), "--no-agent", "format", *access, "--trash-days", "0", self._catalogue, "bench"], limit=60)
        with self.mount(mnt, self._folder / "cache") as made:
            for file in files:
                shutil.copyfile(file, made.folder / file.name)
        clear(self._folder / "cache")
        self._folder.joinpath("filled").touch()


def why_not() -> str:
    """Why nothing can be measured; empty when it can."""
    lacking = [name for name in ("juicefs", "weed") if beside_python(name) is None]
    return f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not installed" if lacking else ""


def _juicefs() -> Path:
    juicefs = beside_python("juicefs")
    if juicefs is None:
        raise LookupError("juicefs is not installed")
    return juicefs
