"""Replacing: a mount takes the place of one of ours that is there already (`fusefs mount --replace`).

The old one ends at the last moment, when the new one knows its models: what cannot be mounted replaces nothing.  Files
that were opened natively in it can be read for as long as somebody has them open or mapped; all others end with it.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from fusefs.daemon.statuses import probe
from fusefs.daemon.unmounting import unmount
from fusefs.errors import MountError
from fusefs.fuse.mountpoint import mounted_at, real_path

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

_MOST = 16
"""Mounts one on top of the other: somebody who mounts there faster than we unmount has another purpose."""


def replaceable(path: Path) -> Path | None:
    """The real path of a mount point where a mount of ours is that may be replaced; None where there is none.

    Raises:
        MountError: it is another user's, whose daemon is not ours to end.
    """
    there = mounted_at(path)
    if there is None or not there.ours:
        return None
    if there.user != os.geteuid():
        raise MountError(f"{path} was mounted by user {there.user}; unmount it first: fusefs umount {path}")
    return real_path(path)


def make_way(mountpoint: Path) -> None:
    """End every mount of ours at `mountpoint`, alive or dead, and say so.

    Raises:
        MountError: one cannot be ended.
    """
    for _ in range(_MOST):
        where = replaceable(mountpoint)
        if where is None:
            return
        dead = probe(where) == "dead"
        unmount(where)
        what = "whose daemon had died" if dead else "which was ended"
        log.warning("%s: took the place of a mount %s", mountpoint, what)
