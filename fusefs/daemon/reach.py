"""Reach: whether anybody but its own daemon can still get at a mount.

`unshare -m fusefs mount …`: the mount is in a mount namespace of its own.  When the last other process of that has
ended, the daemon keeps the namespace alive, the namespace keeps the mount, and the mount keeps the daemon: for ever,
out of sight of `fusefs status` and out of reach of `fusefs umount`.  (In every other case the kernel ends the
connection by itself, when the last namespace has let go of the mount and the last open file is closed.)

What is looked at are the lists of mounts of all processes in /proc; a mount keeps its device wherever it is moved.  Who
might be out of our sight counts as somebody: a mount that has been passed on to other namespaces (`shared:` in our own
list) is never judged, nor is one whose namespace has a name (`unshare --mount=FILE`) or that has an open file.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

EVERY = 10.0
"""Seconds between two looks."""

LOOKS = 2
"""In a row that must find nobody: whoever starts us may be about to send another process into the namespace."""

PROC = Path("/proc")


async def wait_abandoned(minor: int, handles: Callable[[], int]) -> None:
    """Wait until nobody can get at the mount any more.

    Args:
        minor: of the mount's st_dev.
        handles: how many files of it are open now.
    """
    alone = 0
    while alone < LOOKS:
        await trio.sleep(EVERY)
        if handles():
            alone = 0
        else:
            alone = alone + 1 if await trio.to_thread.run_sync(abandoned, minor, abandon_on_cancel=True) else 0
    log.warning("No other process can see the mount any more: its mount namespace has none but this. Ending.")


def abandoned(minor: int, proc: Path = PROC) -> bool:
    """Whether no process but this one has the mount in its list.  Blocking, but short: the first that has it ends it.

    A list that cannot be read says nothing of anybody; without our own nothing is known.
    """
    device = f"0:{minor}".encode()
    try:
        own = list(_mounts(proc / "self"))
        namespace = os.readlink(proc / "self/ns/mnt").encode()
        # The first processes first: in an ordinary case it is PID 1 that sees the mount.
        others = sorted(int(name) for name in os.listdir(proc) if name.isdecimal() and int(name) != os.getpid())
    except OSError:
        return False
    mine = [fields for fields in own if fields[2] == device]
    if not mine or any(_is_shared(fields) for fields in mine):
        return False  # unmounted lazily: the kernel ends it with its last open file; or passed on to who knows whom
    for pid in others:
        with contextlib.suppress(OSError):
            if any(fields[2] == device or fields[3] == namespace for fields in _mounts(proc / str(pid))):
                return False
    return True


def _mounts(process: Path) -> Iterator[list[bytes]]:
    """The fields of each line of its mountinfo; see proc(5)."""
    for line in (process / "mountinfo").read_bytes().splitlines():
        yield line.split(b" ")


def _is_shared(fields: list[bytes]) -> bool:
    """Whether it belongs to a group of mounts that pass on to each other what is mounted."""
    return any(field.startswith(b"shared:") for field in fields[6 : fields.index(b"-", 6)])
