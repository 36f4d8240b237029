"""The control socket: a daemon tells its status to whoever may read it.  One socket a mount, one document a connection.

The server side is trio, in the daemon; the client side is plain blocking code, so that `fusefs status` starts fast.
The socket's credentials (SO_PEERCRED) say which process serves a mount, even when it is too busy to answer.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import socket
import stat
import struct
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fusefs.errors import InvalidInput, MountError
from fusefs.values.report import MountReport, decode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    import trio

    from fusefs.fuse.mountpoint import Mounted

log = logging.getLogger(__name__)

CONNECTIONS = 16
"""Askers served at once; `--watch` asks twice a second, so that more means somebody who does not read."""

PATIENCE = 10.0
"""Seconds an asker has to take the document."""

BEAT = 0.5
"""Seconds between two blanks that say that the document is being made: of 65,536 files it takes a while."""

LONGEST = 20.0
"""Seconds that blanks are worth waiting for: who sends nothing else has no report."""

MAX_DOCUMENT = 32 << 20
"""Bytes of an answer that are read: 65,536 files, the most of one model, are about 30 MB with their presence.

It is decoded in the asker's memory, at some ten times its size at the worst, and another user may have written it.
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who serves a control socket, from the kernel.

    Attributes:
        pid: of the daemon.
        uid: whose it is.
    """

    pid: int
    uid: int


def mount_id(mountpoint: Path) -> str:
    """16 hexadecimal digits that name a mount point in socket and log names; `mountpoint` is absolute and real."""
    return hashlib.sha256(os.fsencode(mountpoint)).hexdigest()[:16]


def runtime_dirs(uid: int) -> list[Path]:
    """Where the sockets of user `uid` may lie, most likely first."""
    mine = os.environ.get("XDG_RUNTIME_DIR")
    dirs = [Path(mine)] if mine and uid == os.getuid() else []
    return [*dirs, *([Path("/run")] if uid == 0 else [Path(f"/run/user/{uid}"), _fallback(uid)])]


def _fallback(uid: int) -> Path:
    return Path(f"/tmp/fusefs-{uid}")  # noqa: S108 # its owner and mode are checked before it is used


def own_runtime_dir() -> Path:
    """The directory for this user's sockets, made where it is missing, readable by nobody else.

    Raises:
        MountError: it belongs to somebody else or cannot be made.
    """
    base = os.environ.get("XDG_RUNTIME_DIR")
    uid = os.getuid()
    if base and uid == 0 and _of_another(Path(base)):
        base = None  # `sudo -E` keeps a user's, who could put another folder in the place of ours
    home = Path(base) if base else Path("/run") if uid == 0 else _fallback(uid)
    directory = home / "fusefs"
    try:
        if not base and uid:
            _make_private(home)
        _make_private(directory)
    except OSError as exc:
        raise MountError(
            f"cannot make {directory} for the control socket: {exc.strerror}; set XDG_RUNTIME_DIR"
        ) from exc
    return directory


def _of_another(directory: Path) -> bool:
    with contextlib.suppress(OSError):
        return directory.stat().st_uid != os.getuid()
    return False


def _make_private(directory: Path) -> None:
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise MountError(f"{directory} belongs to another user; set XDG_RUNTIME_DIR to a directory of your own")
    if stat.S_IMODE(found.st_mode) & 0o077:
        directory.chmod(0o700)


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for `path` that fits the 107 bytes of a Unix socket address, however long the path is."""
    fd = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)


@contextmanager
def _folder_of(path: Path, uid: int) -> Iterator[str]:
    """A name for the folder of user `uid` that stays this folder's, whoever renames what lies above it.

    Raises:
        PermissionError: it is a symbolic link or somebody else's, or others may write to it.
        OSError: there is none.
    """
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if found.st_uid != uid or stat.S_IMODE(found.st_mode) & 0o022:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


# ---- server


@asynccontextmanager
async def serving(
    nursery: trio.Nursery, mountpoint: Path, document: Callable[[], Awaitable[bytes]]
) -> AsyncIterator[Path]:
    """Answer status questions about `mountpoint` in `nursery` until the block ends.

    Args:
        nursery: where the server's task lives; it never raises into it.
        mountpoint: absolute and real.
        document: makes the answer.

    Raises:
        MountError: the socket cannot be made.
    """
    import trio

    from fusefs.system.accepting import Acceptor

    path = own_runtime_dir() / f"{mount_id(mountpoint)}.sock"
    listener = _listen(path)
    inode = path.stat().st_ino

    async def answer(stream: trio.SocketStream) -> None:
        try:
            async with stream:
                made = await _made(document, stream)
                with trio.move_on_after(PATIENCE):
                    await stream.send_all(made)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("The client of the control socket did not wait for the status.")
        except Exception:
            log.exception("The status could not be told.")

    scope = trio.CancelScope()
    acceptor = Acceptor(listener, CONNECTIONS, "the status")

    async def accept() -> None:
        with scope:
            await acceptor.serve(answer)

    nursery.start_soon(accept, name="control socket")
    try:
        yield path
    finally:
        scope.cancel()
        with contextlib.suppress(OSError):
            if path.stat().st_ino == inode:
                path.unlink()


async def _made(document: Callable[[], Awaitable[bytes]], stream: trio.SocketStream) -> bytes:
    """The document; the asker gets a blank now and then while it is made, which JSON allows in front."""
    import trio

    async def beat() -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # found out by who sends it
            while True:
                await trio.sleep(BEAT)
                await stream.send_all(b" ")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(beat)
        made = await document()
        nursery.cancel_scope.cancel()
    return made


def _listen(path: Path) -> trio.SocketListener:
    import trio

    raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    fresh = path.with_suffix(f".{os.getpid()}")
    try:
        with _short(fresh) as name:
            raw.bind(name)
        fresh.chmod(0o600)
        raw.listen(CONNECTIONS)
        # The rename replaces the socket of a daemon that died, at no moment leaving none.
        fresh.rename(path)
    except OSError as exc:
        raw.close()
        raise MountError(
            f"cannot make the control socket {path}: {exc.strerror}; make room there, or set XDG_RUNTIME_DIR"
        ) from exc
    return trio.SocketListener(trio.socket.from_stdlib_socket(raw))


# ---- client


@contextmanager
def _connected(mount: Mounted, timeout: float) -> Iterator[tuple[socket.socket, Peer]]:
    """A connection to whoever serves `mount`.

    Raises:
        MountError: nobody does.
    """
    name = f"{mount_id(mount.mountpoint)}.sock"
    for directory in dict.fromkeys(runtime_dirs(mount.user)):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout)
            try:
                with _folder_of(directory / "fusefs", mount.user) as folder:
                    sock.connect(f"{folder}/{name}")
            except OSError:
                continue
            pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            # Who listened, which need not be who serves now: `proof` says who may be signalled.
            if uid in (0, mount.user):
                yield sock, Peer(pid, uid)
                return
    raise MountError("its daemon does not answer questions")


def daemon_of(mount: Mounted, timeout: float = 2.0) -> Peer | None:
    """Which process serves `mount`, whether or not it is able to answer; None when nobody does."""
    try:
        with _connected(mount, timeout) as (_, peer):
            return peer
    except MountError:
        return None


def query(mount: Mounted, timeout: float = 3.0, longest: float = LONGEST) -> MountReport:
    """Ask the daemon of `mount` how it is.

    Args:
        mount: of ours.
        timeout: seconds that it has; they begin anew as long as it says that it is at work.
        longest: seconds for which that counts.

    Raises:
        MountError: nobody answers, not in time, or not with a report.
    """
    latest = time.monotonic() + longest
    deadline = time.monotonic() + timeout
    pieces: list[bytes] = []
    total, blank = 0, True
    with _connected(mount, timeout) as (sock, _):
        try:
            while piece := sock.recv(1 << 20):
                pieces.append(piece)
                total += len(piece)
                if total > MAX_DOCUMENT:
                    raise MountError(f"its daemon said more than {MAX_DOCUMENT >> 20} MiB")
                now = time.monotonic()
                blank = blank and piece.isspace()
                if blank:
                    deadline = min(now + timeout, latest)
                left = deadline - now
                if left <= 0:  # one byte at a time would hold the asker for ever
                    raise TimeoutError
                sock.settimeout(left)
        except OSError as exc:
            raise MountError("its daemon does not answer questions") from exc
    try:
        return decode(b"".join(pieces))
    except InvalidInput as exc:
        raise MountError("its daemon gave an answer that is no report") from exc
