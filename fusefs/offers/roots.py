"""Roots: the folders that a server may read, held open, and what lies below them, reached without a symbolic link.

A path that was resolved is a claim: whoever may write to a folder on the way can put a link there a moment later.  So
a path is resolved to learn where it leads, and what is looked at, listed or opened is reached from the held folder,
component by component, by calls that follow no link (openat(2), O_NOFOLLOW).  A link that was put there meanwhile is
an error, never a way out.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from fusefs.errors import ServeError
from fusefs.offers.stamp import Stamp, checked_regular

if TYPE_CHECKING:
    from collections.abc import Iterable

_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""O_NONBLOCK: a fifo that took the name of a file would otherwise block until somebody writes to it."""


class _Root:
    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._fd = os.open(self.path, _STEP)

    def __del__(self) -> None:
        fd = getattr(self, "_fd", -1)
        if fd >= 0:
            os.close(fd)

    def open(self, real: Path, flags: int) -> int:
        *folders, name = real.relative_to(self.path).parts or (".",)
        at = self._fd
        try:
            for folder in folders:
                at, above = os.open(folder, _STEP, dir_fd=at), at
                if above != self._fd:
                    os.close(above)
            return os.open(name, flags, dir_fd=at)
        finally:
            if at != self._fd:
                os.close(at)


class Roots:
    """The served folder, and others into which its links may lead.  Thread-safe.

    Attributes:
        top: the served folder, without links.
    """

    def __init__(self, top: Path, others: Iterable[Path] = (), *, closed_too: bool = False) -> None:
        """Hold the folders open.

        Args:
            top: the served folder.
            others: into which its links may lead.
            closed_too: open files that others may not read.

        Raises:
            ServeError: one of them is not there, or cannot be entered.
        """
        try:
            self._roots = [_Root(path) for path in (top, *others)]
        except OSError as exc:
            raise ServeError(f"cannot serve {top}: {exc.strerror}") from exc
        self.top = self._roots[0].path
        self._closed_too = closed_too

    def has(self, real: Path) -> bool:
        """Whether a path without links lies in one of the folders."""
        return self._holding(real) is not None

    def open(self, real: Path, *, closed_too: bool = False) -> tuple[int, Stamp]:
        """Open a regular file.

        Args:
            real: its path, without links.
            closed_too: it is for us, and not what is served.

        Raises:
            ServeError: it is not there, not readable, no regular file, or a link is on the way.
        """
        try:
            fd = self._open(real, _OPEN)
        except (OSError, ValueError) as exc:
            raise ServeError(f"cannot read {real}: {_reason(exc)}") from exc
        if not (closed_too or self._closed_too or os.fstat(fd).st_mode & stat.S_IROTH):
            os.close(fd)
            raise ServeError(f"cannot read {real}: others may not")
        return checked_regular(fd, real)

    def stamp(self, real: Path) -> Stamp:
        """What a file looks like now.

        Raises:
            ServeError: it is not there, or a link is on the way.
        """
        try:
            return Stamp.of(self._status(real))
        except (OSError, ValueError) as exc:
            raise ServeError(f"cannot read {real}: {_reason(exc)}") from exc

    def mode(self, real: Path) -> int:
        """Kind and permissions of what lies there; 0 when nothing does."""
        status = self.status(real)
        return status.st_mode if status is not None else 0  # removed since its folder was listed: of no kind

    def statuses(self, real: Path) -> list[tuple[str, os.stat_result]]:
        """What a folder holds, sorted, and what each is; a link is a link.

        Raises:
            OSError: it cannot be read, or a link is on the way.
        """
        fd = self._open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = []
            with os.scandir(fd) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):  # just removed
                        found.append((entry.name, entry.stat(follow_symlinks=False)))
            return sorted(found)
        finally:
            os.close(fd)

    def status(self, real: Path) -> os.stat_result | None:
        """What lies there; None when nothing does, or a link is on the way."""
        try:
            return self._status(real)
        except (OSError, ValueError):
            return None

    def others_may(self, real: Path, bit: int, known: dict[Path, bool]) -> bool:
        """Whether others may read or enter (`bit`) what lies at `real`, as far as the way to it below its root says.

        A root itself and what is above it does not count: a home directory is usually closed to others, and who names
        a folder in it means that folder.

        Args:
            real: a path without links.
            bit: S_IROTH or S_IXOTH.
            known: which folders others may enter; filled here.
        """
        root = self._holding(real)
        if root is None:
            return False
        return real == root.path or bool(self.mode(real) & bit and self.others_may_enter(real.parent, known))

    def others_may_enter(self, real: Path, known: dict[Path, bool]) -> bool:
        """The same for a folder, as far as it is not known."""
        answer = known.get(real)
        if answer is None:
            root = self._holding(real)
            if root is None or real == root.path:
                answer = root is not None
            else:
                answer = bool(self.mode(real) & stat.S_IXOTH) and self.others_may_enter(real.parent, known)
            known[real] = answer
        return answer

    def _status(self, real: Path) -> os.stat_result:
        fd = self._open(real, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
        finally:
            os.close(fd)
        if stat.S_ISLNK(status.st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return status

    def _open(self, real: Path, flags: int) -> int:
        root = self._holding(real)
        if root is None:
            raise OSError(errno.EXDEV, "it lies outside of the served directory")
        return root.open(real, flags)

    def _holding(self, real: Path) -> _Root | None:
        if ".." in real.parts:
            return None  # not a path without links: nothing says where that leads
        return next((root for root in self._roots if real.is_relative_to(root.path)), None)


def _reason(exc: Exception) -> str:
    return (exc.strerror or str(exc)) if isinstance(exc, OSError) else str(exc)
