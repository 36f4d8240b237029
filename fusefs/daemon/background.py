"""Going to the background, and telling who waits that the work is ready.

The parent forks, the child leaves the terminal and sets up; a pipe carries back why that takes long, and in the end
"ready" with its warnings, or the text of the error.  A child that dies without a word is seen by the end of the pipe.
The fork happens before trio starts and before any thread exists.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

from fusefs.daemon.handshake import Ready, listen
from fusefs.errors import FusefsError, MountError
from fusefs.system.ownfile import open_to_append

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GRACE = 5.0
"""Seconds a child has to end after SIGTERM, when whoever started it gives up."""


def start(
    work: Callable[[Ready], None],
    *,
    log_file: Path | None,
    warn: Callable[[str], None] = lambda _: None,
) -> int:
    """Run `work` in a daemon and wait until it is ready.

    Args:
        work: is handed `ready`, which it calls once with its warnings; it ends when the daemon shall end.
        log_file: where the daemon's stderr goes; None for nowhere.
        warn: told of each warning.

    Returns:
        The daemon's pid.

    Raises:
        MountError: with the text of the error that the daemon told, or how it died without a word.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    receiving, sending = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(receiving)
        _child(work, Ready(sending), log_file)
    os.close(sending)
    try:
        message = listen(receiving, warn)
    except KeyboardInterrupt:
        _end(pid)
        raise
    finally:
        os.close(receiving)
    if message is None:
        raise MountError(f"the daemon died before the mount was ready ({_fate(pid)}){_see(log_file)}")
    if "error" in message:
        os.waitpid(pid, 0)
        raise MountError(message["error"])
    for text in message["warnings"]:
        warn(text)
    return pid


def _child(work: Callable[[Ready], None], ready: Ready, log_file: Path | None) -> None:
    """The daemon's life; does not return."""
    status = 1

    try:
        _leave_terminal(log_file)
        work(ready)
        status = 0
    except FusefsError as exc:
        ready.failed(str(exc))
    except (Exception, KeyboardInterrupt) as exc:
        interrupted = isinstance(exc, KeyboardInterrupt)
        what = "interrupted" if interrupted else f"internal error: {type(exc).__name__}: {exc}"
        ready.failed(f"{what}{_see(log_file)}")
        sys.excepthook(type(exc), exc, exc.__traceback__)
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        # Not sys.exit: the frames above belong to the command, whose clean-up is not the daemon's.
        os._exit(status)


def _leave_terminal(log_file: Path | None) -> None:
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    if log_file is None:
        os.dup2(null, 2)
    else:
        log = open_to_append(log_file)
        os.dup2(log, 2)
        os.close(log)
    os.close(null)


def _end(pid: int) -> None:
    """End a child whose mount nobody waits for any more."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    fd = os.pidfd_open(pid)
    try:
        wait_end(fd, deadline - time.monotonic())
    finally:
        os.close(fd)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def wait_end(pidfd: int, timeout: float) -> bool:
    """Wait until the process behind `pidfd` has ended; False when it has not within `timeout` seconds."""
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(max(0.0, timeout) * 1000))


def _fate(pid: int) -> str:
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return f"exit status {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def _see(log_file: Path | None) -> str:
    return f"; see {log_file}" if log_file else ""


def notify(message: str, *, wait: bool = True) -> None:
    """Tell systemd how the service is (`READY=1`, `STOPPING=1`, `WATCHDOG=1`), where it asked to be told.

    Without `wait` a word for which there is no room now is left out.

    Source: sd_notify(3).  An address that begins with `@` is in the abstract namespace.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    # Round the socket, too: that there is no descriptor for it is no reason to end the mount.
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
    ):
        sock.setblocking(wait)
        sock.sendto(message.encode(), "\0" + address[1:] if address[0] == "@" else address)
