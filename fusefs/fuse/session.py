"""Session: makes the mount, answers the kernel until cancelled or unmounted, and always takes the mount away.

pyfuse3 keeps its session in a module global: one at a time in a process.

A mount is made by the wire (`fusefs.fuse.wire`), whose threads answer reads beside pyfuse3; where that cannot be, by
pyfuse3 alone, and the Session says why.

How a session ends.  Cancelled (SIGTERM, SIGINT): pyfuse3's tasks are cancelled where they wait, then its `close`, or
the wire's, lets go of /dev/fuse, at which the kernel answers every request in flight with ECONNABORTED, and the mount
is detached even if files are open (P11).  Unmounted by somebody else: pyfuse3's loop, or a thread of the wire, finds
out, and there is nothing left to take away.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyfuse3
import trio

from fusefs.errors import MountError
from fusefs.fuse.identity import identity
from fusefs.fuse.kernel import MAX_BACKGROUND
from fusefs.fuse.mountpoint import check_device, mounted_at
from fusefs.fuse.wire.attach import attach, detach, most_pages
from fusefs.fuse.wire.wire import Wire, lanes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusefs.fuse.operations import FuseOperations
    from fusefs.fuse.wire.handles import Handles

log = logging.getLogger(__name__)

MAX_TASKS = 2 * MAX_BACKGROUND
"""Requests answered at once.  Each waiting read holds one, and with pyfuse3's 99 as many of them block every lookup: so
these are more than the kernel lets wait.  One that waits takes some KiB, and what it reads is not in memory yet."""

_ADDRESSES_A_TASK = 4 << 20
"""Bytes of address space: libfuse takes 1 MiB for each request, and when it gets none it ends the mount."""

_LONGEST_SOURCE = 1000
"""Characters of `fsname=`: all options of a mount must fit a page of 4096 bytes, and a mount may have many SOURCEs."""

_HINTS = (
    ("user_allow_other", "add the line user_allow_other to /etc/fuse.conf, or leave --allow-other out"),
    ("not permitted", "run as root (in a container: with --cap-add SYS_ADMIN)"),
    ("permission denied", "choose a mount point of your own, or run as root"),
    ("could not determine username", "it wants a line for this uid in /etc/passwd; add one, or run as root"),
    ("fusermount3", "install the package fuse3, or run as root"),
    ("no such device", "run: modprobe fuse"),
    ("not connected", "a mount was left there by a crash; run: fusefs umount"),
)


@dataclass(frozen=True, slots=True)
class Wiring:
    """How the requests of a mount are answered.

    Attributes:
        threads: that answer reads; 0 when pyfuse3 alone answers, one request after the other.
        interrupts: a reader that is killed while it waits ends at once.
        why_not: why pyfuse3 alone answers; empty when it does not.
    """

    threads: int
    interrupts: bool
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """A mount that answers.

    Attributes:
        mountpoint: where.
        minor: of its st_dev, for `fusefs.fuse.kernel`; None when the mount was gone at once.
        wiring: how its requests are answered.
    """

    mountpoint: Path
    minor: int | None
    wiring: Wiring


def mount_options(source: str, *, allow_other: bool = False) -> set[str]:
    """The options of every mount of ours; `source` is what /proc/mounts shows first."""
    # libfuse splits options at commas and takes ASCII alone; names in Ollama's grammar have neither, folders may.
    name = source.encode("ascii", "replace").decode().replace("\\", "?").replace(",", "+").replace("\n", "?")
    if len(name) > _LONGEST_SOURCE:
        name = name[: _LONGEST_SOURCE - 3] + "..."
    options = {"ro", "nosuid", "nodev", "default_permissions", f"fsname={name}", "subtype=fusefs"}
    return options | {"allow_other"} if allow_other else options


class _Slot:
    """Whether pyfuse3's one session is taken."""

    taken = False


def most_tasks(limit: int = -1) -> int:
    """Requests that may be answered at once with `limit` bytes of address space (RLIMIT_AS; -1 for no limit)."""
    return MAX_TASKS if limit < 0 else max(16, min(MAX_TASKS, limit // _ADDRESSES_A_TASK))


async def serve(
    operations: FuseOperations,
    mountpoint: Path,
    options: set[str],
    *,
    max_tasks: int | None = None,
    wired: bool = True,
    threads: int | None = None,
    handles: Handles | None = None,
    task_status: trio.TaskStatus[Session] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Mount and answer, until cancelled or unmounted; then the mount is gone.

    Args:
        operations: the handlers; new ones for each session.
        mountpoint: an empty folder, see `fusefs.fuse.mountpoint.check_mountpoint`.
        options: see `mount_options`.
        max_tasks: requests answered at once; as many as there is address space for, when it is None.
        wired: let the wire answer reads, where it can.
        threads: of the wire; None for as many as the cores can use.
        handles: decides which files are opened with passthrough, if the wire answers and the kernel can; None for none.
        task_status: started with the Session when the kernel has said hello: from then on it can be tuned and used.

    Raises:
        MountError: the mount could not be made, or the connection broke; one line that says what to do.
    """
    if _Slot.taken:
        raise MountError("this process has a mount already; start another process for another mount")
    failures: list[Exception] = []
    started = False
    with _connected(operations, mountpoint, options, wired=wired, threads=threads, handles=handles) as (wire, why_not):
        async with trio.open_nursery() as nursery:
            tasks = max_tasks or most_tasks(resource.getrlimit(resource.RLIMIT_AS)[0])
            nursery.start_soon(_answer, tasks, nursery.cancel_scope, failures)
            if wire is not None:
                wire.start(nursery)
                nursery.start_soon(_until_cut, wire, nursery.cancel_scope, failures)
            await operations.ready.wait()
            if wire is not None:
                await wire.ready.wait()
            there = mounted_at(mountpoint)
            wiring = (
                Wiring(0, interrupts=False, why_not=why_not) if wire is None else Wiring(wire.count, interrupts=True)
            )
            task_status.started(Session(mountpoint, there.minor if there else None, wiring))
            started = True
    if failures:
        raise MountError(f"{mountpoint}: the connection to the kernel broke: {failures[0]}") from failures[0]
    if not started:
        raise MountError(f"{mountpoint}: unmounted before it was ready; mount it again")


@contextmanager
def _connected(
    operations: FuseOperations,
    mountpoint: Path,
    options: set[str],
    *,
    wired: bool,
    threads: int | None,
    handles: Handles | None,
) -> Iterator[tuple[Wire | None, str]]:
    """Mount, by the wire if it can be, and take the mount away in the end; the wire, or why there is none.

    Raises:
        MountError: the mount could not be made.
    """
    check_device()
    wire: Wire | None = None
    why_not = "" if wired else "it was switched off"
    if wired:
        try:
            wire = _wire(operations, mountpoint, options, threads or lanes(), handles)
        except OSError as exc:
            why_not = exc.strerror or str(exc)
    made = identity(mountpoint)
    if wire is None:
        _mount(operations, str(mountpoint), options)
    _Slot.taken = True
    try:
        yield wire, why_not
    finally:
        if wire is None:
            pyfuse3.close()
        else:
            wire.close()
            pyfuse3.close(unmount=False)
            if made is not None:
                detach(mountpoint, made)
        _Slot.taken = False


def _wire(
    operations: FuseOperations, mountpoint: Path, options: set[str], threads: int, handles: Handles | None
) -> Wire:
    """Mount, and put the wire between the kernel and pyfuse3.

    Raises:
        OSError: it cannot be; there is no mount.
    """
    pages = most_pages()
    fd = attach(mountpoint, options | {f"max_read={pages * 4096}"})
    made = identity(mountpoint)
    wire = Wire(operations, fd, pages=pages, count=threads, handles=handles)
    try:
        _mount(operations, wire.relay.path, set())
    except MountError as exc:
        wire.close()
        os.close(wire.relay.other_end)
        if made is not None:
            detach(mountpoint, made)
        raise OSError(errno.EIO, str(exc)) from exc
    return wire


async def _until_cut(wire: Wire, scope: trio.CancelScope, failures: list[Exception]) -> None:
    await wire.ended.wait()
    if wire.failure is not None:
        failures.append(wire.failure)
    scope.cancel()


async def _answer(max_tasks: int, scope: trio.CancelScope, failures: list[Exception]) -> None:
    try:
        await pyfuse3.main(1, max_tasks)
    except Exception as exc:  # told to the caller of serve: a nursery would wrap it
        failures.append(exc)
    finally:
        scope.cancel()


def _mount(operations: FuseOperations, mountpoint: str, options: set[str]) -> None:
    said: list[str] = []
    try:
        with _stderr_into(said):
            pyfuse3.init(operations, mountpoint, options)
    except RuntimeError as exc:
        # A session that was made but not mounted is still held; one that was not made must not be freed.
        if "mount" in str(exc):
            pyfuse3.close(unmount=False)
        reason = "; ".join(said) or str(exc)
        hint = next((hint for sign, hint in _HINTS if sign in reason.lower()), "")
        raise MountError(f"{mountpoint}: cannot mount: {reason}" + (f"; {hint}" if hint else "")) from exc
    for line in said:
        log.warning("While mounting %s: %s", mountpoint, line)


@contextmanager
def _stderr_into(lines: list[str]) -> Iterator[None]:
    """Collect what libfuse and fusermount3 write to file descriptor 2: it is the only place where they say why."""
    with os.fdopen(os.memfd_create("fusefs-stderr"), "w+b") as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            text = file.read().decode(errors="replace")
            lines.extend(line.strip().removeprefix("fuse: ") for line in text.splitlines() if line.strip())
