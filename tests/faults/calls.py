"""Calls: what cache and fetch ask of the operating system, seen one by one, and made to fail.

`watched` puts a function of the test round every such call, whichever module of the standard library makes it for them
(pathlib, tempfile, shutil): a call is theirs when the first frame that is not the library's is theirs.  Calls that
anybody else makes meanwhile pass by untouched.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import genericpath
import glob
import io
import mmap
import os
import pathlib
import shutil
import sys
import tempfile
import threading
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from unittest.mock import patch

import fusefs
from fusefs.cache.space import eviction
from fusefs.system import spot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType

    Around = Callable[["Call"], Any]
    """Told of a call before it is made; makes it (`Call.make`) or not, and returns or raises what the caller gets."""

_PACKAGE = Path(fusefs.__file__).parent
ROOMS = ("cache", "fetch", "system")
"""Whose calls are seen; what the cache asks of Linux it asks by way of `system`."""
_PASSED_THROUGH = frozenset(
    module.__file__
    for module in (os, os.path, genericpath, glob, io, pathlib, shutil, tempfile, spot)
    if module.__file__
) | {"<frozen posixpath>", "<frozen genericpath>", "<frozen os>"}

OF_OS = {
    "open": "open",
    "pwrite": "pwrite",
    "pread": "pread",
    "preadv": "pread",
    "fsync": "fsync",
    "fdatasync": "fsync",
    "rename": "rename",
    "replace": "rename",
    "link": "link",
    "unlink": "unlink",
    "remove": "unlink",
    "rmdir": "rmdir",
    "mkdir": "mkdir",
    "ftruncate": "truncate",
    "truncate": "truncate",
    "posix_fallocate": "fallocate",
    "posix_fadvise": "fadvise",
    "fchmod": "chmod",
    "chmod": "chmod",
    "fchown": "chown",
    "stat": "stat",
    "lstat": "stat",
    "fstat": "stat",
    "fstatvfs": "statvfs",
    "statvfs": "statvfs",
    "utime": "utime",
    "listdir": "listdir",
    "scandir": "listdir",
    "lseek": "lseek",
    "dup2": "dup2",
}
"""The functions of `os` that are watched, and the kind that each is of."""

ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE)
SHORT = 0
"""Not an errno: a part of what was asked for is done."""

NEVER_FAILS = frozenset({"unlock", "fadvise"})
"""Of these the kernel refuses none that the cache makes, or it is advice."""

IN_PARTS = frozenset({"pwrite", "pread", "read"})
"""These may do a part of what was asked for."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Attributes:
        kind: see `OF_OS`; also `lock`, `unlock`, `lease`, `mmap`, `read`, `punch`.
        args: what the function is given.
        kwargs: the same.
        real: the function.
        frame: who calls.
    """

    kind: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    real: Callable[..., Any]
    frame: FrameType

    def make(self) -> Any:
        """Let it happen."""
        return self.real(*self.args, **self.kwargs)

    def make_half(self) -> Any:
        """Let about half of it happen: at least one byte, of what is transferred in bytes."""
        if self.real is os_pwrite:
            fd, data, off = self.args
            return self.real(fd, memoryview(data)[: (len(data) + 1) // 2], off)
        if self.real is _os_preadv:
            fd, (buffer,), off, *rest = self.args
            return self.real(fd, [memoryview(buffer)[: (len(buffer) + 1) // 2]], off, *rest)
        if self.kind == "read":
            return self.real(memoryview(self.args[0])[: (len(self.args[0]) + 1) // 2])
        return self.make()  # pread of a header: a short one is what a short file gives

    @property
    def site(self) -> str:
        """Who calls, as `room/file.py function`."""
        return _sited(self.frame.f_code)

    @property
    def callers(self) -> list[str]:
        """The names of the functions of cache and fetch that led here, innermost first."""
        names = []
        frame: FrameType | None = self.frame
        while frame is not None:
            if _is_ours(frame.f_code) is True:
                names.append(frame.f_code.co_name)
            frame = frame.f_back
        return names


os_pwrite, _os_preadv = os.pwrite, os.preadv


@cache
def _is_ours(code: CodeType) -> bool | None:
    """True for a function of cache and fetch, None for one that calls in the name of its caller."""
    if code.co_filename in _PASSED_THROUGH:
        return None
    path = Path(code.co_filename)
    return path.is_relative_to(_PACKAGE) and path.relative_to(_PACKAGE).parts[0] in ROOMS


@cache
def _sited(code: CodeType) -> str:
    return f"{Path(code.co_filename).relative_to(_PACKAGE)} {code.co_name}"


def _caller(frame: FrameType | None) -> FrameType | None:
    """Of cache or fetch; None when somebody else calls."""
    while frame is not None:
        ours = _is_ours(frame.f_code)
        if ours is not None:
            return frame if ours else None
        frame = frame.f_back
    return None


def _wrapped(kind: str, real: Callable[..., Any], around: Around) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        frame = _caller(sys._getframe(1))
        return real(*args, **kwargs) if frame is None else around(Call(kind, args, kwargs, real, frame))

    return call


def _lock(around: Around, real: Callable[..., Any], *args: Any) -> Any:
    frame = _caller(sys._getframe(1))
    if frame is None:
        return real(*args)
    if real is _fcntl and args[1] not in (fcntl.F_OFD_SETLK, fcntl.F_OFD_SETLKW):
        ended = args[1:] == (fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return around(Call("unlock" if ended else "lease", args, {}, real, frame))
    # struct flock begins with its type; flock(2) says it as a flag.
    freed = args[2][:2] == fcntl.F_UNLCK.to_bytes(2, "little") if real is _fcntl else bool(args[1] & fcntl.LOCK_UN)
    return around(Call("unlock" if freed else "lock", args, {}, real, frame))


_fcntl, _flock, _open = fcntl.fcntl, fcntl.flock, io.open
_Mmap: TypeAlias = mmap.mmap


def _mapping(around: Around) -> type[mmap.mmap]:
    class Mapping(_Mmap):
        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            frame = _caller(sys._getframe(1))
            real = partial(_Mmap.__new__, cls)
            if frame is None or args[0] < 0:
                return real(*args, **kwargs)  # plain memory
            return around(Call("mmap", args, kwargs, real, frame))

    return Mapping


def _opening(around: Around) -> Callable[..., Any]:
    class Raw(io.FileIO):
        """Reads with read(2), which is made in C, through us."""

        def readinto(self, buffer: Any) -> Any:
            frame = _caller(sys._getframe(1))
            real = super().readinto
            return real(buffer) if frame is None else around(Call("read", (buffer,), {}, real, frame))

        def readall(self) -> bytes:
            pieces = []
            piece = bytearray(1 << 16)
            while got := self.readinto(piece):
                pieces.append(bytes(piece[:got]))
            return b"".join(pieces)

    def opened(file: Any, mode: str = "r", buffering: int = -1, *args: Any, **kwargs: Any) -> Any:
        frame = _caller(sys._getframe(1))
        if frame is None or "b" not in mode or "w" in mode or "+" in mode:
            return _open(file, mode, buffering, *args, **kwargs)
        made = partial(Raw, file, "r", closefd=kwargs.get("closefd", True))
        raw = made() if isinstance(file, int) else around(Call("open", (), {}, made, frame))
        return raw if buffering == 0 else io.BufferedReader(raw)

    return opened


@contextmanager
def watched(around: Around) -> Iterator[None]:
    """Put `around` round every call of cache and fetch, in all threads."""
    with ExitStack() as stack:

        def put(module: object, name: str, value: Any) -> None:
            stack.enter_context(patch.object(module, name, value))

        for name, kind in OF_OS.items():
            put(os, name, _wrapped(kind, getattr(os, name), around))
        put(eviction, "_punch", _wrapped("punch", eviction._punch, around))
        put(fcntl, "fcntl", partial(_lock, around, _fcntl))
        put(fcntl, "flock", partial(_lock, around, _flock))
        put(mmap, "mmap", _mapping(around))
        put(io, "open", _opening(around))
        put(builtins, "open", _opening(around))
        yield


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong.

    Attributes:
        kind: of the calls that are counted; empty for all kinds.
        nth: the first call that fails, from 1.
        error: an errno, or SHORT.
        forever: every later call of this kind fails, too.
    """

    kind: str
    nth: int
    error: int
    forever: bool

    def __str__(self) -> str:
        what = errno.errorcode.get(self.error, "short")
        return f"{self.kind or 'call'} {self.nth}{'…' if self.forever else ''} {what}"


@dataclass
class Failing:
    """Counts calls, and makes some fail.  Thread-safe.

    Attributes:
        fault: what goes wrong, or nothing.
        counts: calls of each kind so far; under the empty name all of them.
        sites: (kind, site) of every call.
        injected: the calls that were made to fail.
    """

    fault: Fault | None = None
    counts: Counter[str] = field(default_factory=Counter)
    sites: set[tuple[str, str]] = field(default_factory=set)
    injected: list[tuple[str, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, call: Call) -> Any:
        key = call.kind, call.site
        with self._lock:
            self.sites.add(key)
            self.counts[call.kind] += 1
            fails = call.kind not in NEVER_FAILS
            self.counts[""] += fails
            fails = fails and self._fails(call.kind)
            if fails:
                self.injected.append(key)
        if not fails or self.fault is None:
            return call.make()
        if self.fault.error == SHORT:
            return call.make_half()
        raise OSError(self.fault.error, os.strerror(self.fault.error))

    def _fails(self, kind: str) -> bool:
        fault = self.fault
        if fault is None or fault.kind not in ("", kind):
            return False
        count = self.counts[fault.kind]
        return count >= fault.nth if fault.forever else count == fault.nth
