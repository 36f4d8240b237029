"""The status of every mount, also of those whose daemon is dead, silent or another user's."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

from fusefs.control import daemon_of, query
from fusefs.errors import MountError
from fusefs.fuse.mountpoint import mounted, mounted_at
from fusefs.report import MountReport, StatusReport

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fusefs.fuse.mountpoint import Mounted

PROBE = 1.0
"""Seconds that a healthy mount needs at most to answer statfs: it never waits for the network."""


def gather(mountpoint: Path | None = None, *, timeout: float = 3.0) -> StatusReport:
    """Ask one mount, or all.

    Raises:
        MountError: nothing of ours is mounted at `mountpoint`.
    """
    if mountpoint is None:
        return StatusReport(tuple(report_of(mount, timeout) for mount in _ours()))
    mount = mounted_at(mountpoint)
    if mount is None or not mount.ours:
        raise MountError(f"{mountpoint} is not a fusefs mount; `fusefs status` lists the mounts")
    return StatusReport((report_of(mount, timeout),))


def _ours() -> Iterable[Mounted]:
    """Oldest first; of several at one mount point the one on top."""
    return {mount.mountpoint: mount for mount in mounted() if mount.ours}.values()


def report_of(mount: Mounted, timeout: float) -> MountReport:
    """What the daemon of one mount says, or what can be said without it."""
    try:
        return query(mount, timeout)
    except MountError:
        pass
    peer = daemon_of(mount)
    here = mount.mountpoint
    report = MountReport(mountpoint=str(here), sources=(mount.source,), pid=peer.pid if peer else 0)
    if mount.user != os.geteuid() != 0:
        state, problem = "denied", f"mounted by user {mount.user}; ask as that user or as root"
    else:
        state, problem = {
            "dead": ("dead", f"its daemon died; clean up with `fusefs umount {here}` and mount again"),
            "up": ("silent", "it is mounted, but its daemon does not answer questions; look again in a moment"),
            "silent": ("silent", f"its daemon hangs; `fusefs umount {here}` ends it"),
        }[probe(here)]
    return _with(report, state, problem)


def _with(report: MountReport, state: str, problem: str) -> MountReport:
    import msgspec

    return msgspec.structs.replace(report, state=state, problem=problem)


def probe(mountpoint: Path, timeout: float = PROBE) -> str:
    """Whether a mount answers: `up`, `dead` (its daemon is gone) or `silent` (not in time).

    By statfs: attributes are kept by the kernel, so that stat succeeds on a dead mount, too.

    In a thread that is left behind when it hangs: nothing can end a statfs of a hung mount but its own answer.
    """
    found: list[str] = []

    def look() -> None:
        try:
            os.statvfs(mountpoint)
        except OSError as exc:
            found.append("dead" if exc.errno in (errno.ENOTCONN, errno.ECONNABORTED) else "up")
        else:
            found.append("up")

    thread = threading.Thread(target=look, name="probe", daemon=True)
    thread.start()
    thread.join(timeout)
    return found[0] if found else "silent"
