"""Temporary: a mount point that is made for one mount and goes with it (`fusefs run`).

`$TMPDIR/fusefs-XXXXXXXX/<model>`: programs show the last part of a path as the name of what they have loaded.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path

from fusefs.errors import MountError

_LONGEST = 64
"""Characters of a model's name; a path must fit where programs keep paths."""


def make_place(label: str, *, others: bool) -> Path:
    """An empty folder of ours, called after `label` as far as that can be a file's name.

    Args:
        label: of what is mounted.
        others: other users shall reach it.

    Raises:
        MountError: there is no place for it.
    """
    name = re.sub(r"[^A-Za-z0-9._+-]+", "-", label)[:_LONGEST].strip(".-") or "models"
    try:
        around = Path(tempfile.mkdtemp(prefix="fusefs-"))
        if others:
            around.chmod(0o755)
        place = around / name
        place.mkdir()
    except OSError as exc:
        reason = exc.strerror or exc
        raise MountError(f"no place for a temporary mount point ({reason}); name one with --at, or set TMPDIR") from exc
    return place


def remove_place(mountpoint: Path) -> None:
    """Remove what `make_place` made; what is in use, or holds what is not ours, stays.  Idempotent."""
    for folder in (mountpoint, mountpoint.parent):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
