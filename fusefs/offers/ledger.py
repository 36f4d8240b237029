"""Ledger: which files of a folder `fusefs export` wrote, so that it never takes the place of anybody else's.

`.fusefs-export` in the folder has a line `<digest> <path>` for each file, appended before the file gets its name.  A
line of a file that never came, and a torn last line, do no harm: what lies there is compared with its digest anyway.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Self

from fusefs.errors import FusefsError, ServeError
from fusefs.system.spot import SAFE
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from pathlib import Path

LEDGER = ".fusefs-export"

_MOST = 1 << 30
"""Bytes that are read of one: five million files."""


class Ledger:
    """Held by one export at a time, until it is closed.

    Args:
        root: an existing folder.

    Raises:
        ServeError: it cannot be kept there, or another export is at work.
    """

    def __init__(self, root: Path) -> None:
        path = root / LEDGER
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | SAFE, 0o644)
        except OSError as exc:
            raise ServeError(f"cannot write {path}: {exc.strerror}") from exc
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with open(self._fd, "rb", closefd=False) as file:
                text = file.read(_MOST)
            if text and not text.endswith(b"\n"):
                os.write(self._fd, b"\n")  # an earlier export died amid its last line
        except BlockingIOError as exc:
            os.close(self._fd)
            raise ServeError(f"another fusefs export writes to {root}; wait for its end") from exc
        except OSError as exc:
            os.close(self._fd)
            raise ServeError(f"cannot read {path}: {exc.strerror}") from exc
        self._wrote: dict[str, set[Digest]] = {}
        for line in text.decode(errors="replace").splitlines():
            digest, _, name = line.partition(" ")
            try:
                self._wrote.setdefault(name, set()).add(Digest.parse(digest))
            except FusefsError:
                continue

    def has(self, path: str, digest: Digest) -> bool:
        """Whether an export wrote these bytes there, or was about to."""
        return digest in self._wrote.get(path, ())

    def add(self, path: str, digest: Digest, *, durable: bool) -> None:
        """Note a file that is about to be written; `durable` when its name says nothing of its content.

        Raises:
            OSError: the disk does not take it.
        """
        if not self.has(path, digest):
            os.write(self._fd, f"{digest} {path}\n".encode())
            self._wrote.setdefault(path, set()).add(digest)
        if durable:
            os.fsync(self._fd)

    def paths(self) -> list[str]:
        """Every file that was noted, sorted; whether it is there is not said."""
        return sorted(self._wrote)

    def close(self) -> None:
        """Let others write."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
