"""The status of every mount, also of those whose daemon is dead, silent or another user's."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

from fusefs.daemon.control import daemon_of, query
from fusefs.daemon.proof import prove
from fusefs.errors import MountError
from fusefs.fuse.mountpoint import mounted, mounted_at
from fusefs.values.report import MountReport, StatusReport

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
        return _of_this(mount, query(mount, timeout))
    except MountError as exc:
        answer = str(exc)
    here = mount.mountpoint
    peer = daemon_of(mount) if mount.user == os.geteuid() else None
    report = _of_this(
        mount, MountReport(mountpoint=_text_of(here), sources=(mount.source,), pid=peer.pid if peer else 0)
    )
    if mount.user != os.geteuid() != 0:
        state, problem = "denied", f"mounted by user {mount.user}; ask as that user or as root"
    else:
        state, problem = {
            "dead": ("dead", f"its daemon died; clean up with `fusefs umount {here}` and mount again"),
            "up": ("silent", f"it is mounted, but {answer}; look again in a moment"),
            "silent": ("silent", f"its daemon hangs or is stopped; `fusefs umount {here}` ends it"),
        }[probe(here)]
    return _with(report, state, problem)


def _of_this(mount: Mounted, said: MountReport) -> MountReport:
    """What is said of a mount, with the kernel's word for whatever a person acts on.

    Where it is mounted is known.  Which process to signal, and what to do about it, is no other user's to say: his
    daemon answers, so it is up, and its pid is shown where it is proved.
    """
    import msgspec

    said = msgspec.structs.replace(said, mountpoint=_text_of(mount.mountpoint))
    if mount.user == os.geteuid():
        return said
    process = prove(mount)
    if process:
        process.close()
    return msgspec.structs.replace(said, state="up", problem="", pid=process.pid if process else 0)


def _text_of(path: Path) -> str:
    """A path as a report has it: read as UTF-8 whatever the locale is, and exact where it is not UTF-8."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")


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
