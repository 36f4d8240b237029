"""PowerCut: what a disk may hold after the power has failed, from a record of what the cache did to it.

`Recorder` sees every change that a cache makes (`tests.faults.calls`).  `Disk` replays a part of them, keeping for each
file what was there at its last fsync and what came since, and for all folders the changes of names; `Loss` says what of
that was lost.  What is built from it is a real directory.
"""

from __future__ import annotations

import os
import random
import stat
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.faults.calls import Call

PAGE = 4096

Data = Literal["lost", "prefix", "pages", "kept"]
Names = Literal["ordered", "random"]


@dataclass(frozen=True, slots=True)
class Made:
    """A file or a folder came into being, in folder `parent`."""

    parent: int
    name: str
    number: int
    folder: bool


@dataclass(frozen=True, slots=True)
class Named:
    """Names were given and taken at once: (folder, name, number or None)."""

    names: tuple[tuple[int, str, int | None], ...]


@dataclass(frozen=True, slots=True)
class Written:
    """Bytes were written."""

    number: int
    off: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Sized:
    """A file got another length; with `only_longer` it is never cut."""

    number: int
    size: int
    only_longer: bool = False


@dataclass(frozen=True, slots=True)
class Synced:
    """What a file holds, or the names in a folder, are on the disk."""

    number: int


Change = Made | Named | Written | Sized | Synced


@dataclass(frozen=True, slots=True)
class Loss:
    """What of the unsynced is lost.

    Attributes:
        data: of what files hold: all; all but the first writes; a random subset of pages; nothing.
        names: `ordered`: a prefix of all changes of names is kept, at least to the last sync of anything, as a journal
            does; `random`: any of those that no sync of their folder has followed.
        seed: of the choices.
        longer: a file whose pages are lost has its new length all the same.
    """

    data: Data
    names: Names
    seed: int
    longer: bool


class Recorder:
    """Records what is done to the directory `root`; calls that change something are made one at a time.

    Attributes:
        changes: in their order.
        start: what the directory held before: (number, path, content or None for a folder).
    """

    def __init__(self, root: Path) -> None:
        self.changes: list[Change] = []
        self.start: list[tuple[int, str, bytes | None]] = []
        self._root = str(root)
        self._numbers: dict[int, int] = {}
        self._lock = threading.RLock()
        for folder, _, files in os.walk(root):
            self._note(folder, None)
            for name in files:
                path = f"{folder}/{name}"
                with open(path, "rb") as file:
                    self._note(path, file.read())

    def _note(self, path: str, content: bytes | None) -> None:
        number = self._number(os.lstat(path))
        self.start.append((number, os.path.relpath(path, self._root), content))

    def __call__(self, call: Call) -> Any:
        handler = _HANDLERS.get(call.kind)
        if handler is None:
            return call.make()
        with self._lock:
            return handler(self, call)

    def _number(self, info: os.stat_result) -> int:
        return self._numbers.setdefault(info.st_ino, len(self._numbers) + 1)

    def _of(self, file: Any) -> int | None:
        """The number of a descriptor or path; None when it is none of ours."""
        info = os.stat(file)
        return self._numbers.get(info.st_ino)

    def _parent(self, path: Any, folder: int | None = None) -> tuple[int, str]:
        where, name = os.path.split(os.fspath(path))
        info = os.stat(where or ".", dir_fd=folder) if where else os.fstat(folder) if folder is not None else None
        assert info is not None, path
        return self._number(info), name

    def _open(self, call: Call) -> Any:
        path, flags = (call.args[0], call.args[1]) if len(call.args) > 1 else ("", 0)
        if not flags & os.O_CREAT:
            return call.make()
        folder = call.kwargs.get("dir_fd")
        try:
            os.stat(path, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            fd = call.make()
            self._made(path, os.fstat(fd), folder)
            return fd
        return call.make()

    def _mkdir(self, call: Call) -> Any:
        made = call.make()
        folder = call.kwargs.get("dir_fd")
        self._made(call.args[0], os.stat(call.args[0], dir_fd=folder), folder)
        return made

    def _made(self, path: Any, info: os.stat_result, folder: int | None) -> None:
        parent, name = self._parent(path, folder)
        self._numbers[info.st_ino] = number = max(self._numbers.values()) + 1
        self.changes.append(Made(parent, name, number, stat.S_ISDIR(info.st_mode)))

    def _pwrite(self, call: Call) -> Any:
        fd, data, off = call.args
        size = call.make()
        number = self._of(fd)
        if number is not None:
            self.changes.append(Written(number, off, bytes(memoryview(data)[:size])))
        return size

    def _truncate(self, call: Call) -> Any:
        made = call.make()
        number = self._of(call.args[0])
        assert number is not None
        self.changes.append(Sized(number, call.args[1]))
        return made

    def _fallocate(self, call: Call) -> Any:
        fd, off, size = call.args
        made = call.make()
        number = self._of(fd)
        assert number is not None
        self.changes.append(Sized(number, off + size, only_longer=True))
        return made

    def _punch(self, call: Call) -> Any:
        fd, off, size = call.args
        end = min(off + size, os.fstat(fd).st_size)
        made = call.make()
        number = self._of(fd)
        assert number is not None
        if end > off:
            self.changes.append(Written(number, off, bytes(end - off)))
        return made

    def _fsync(self, call: Call) -> Any:
        made = call.make()
        number = self._of(call.args[0])
        assert number is not None
        self.changes.append(Synced(number))
        return made

    def _rename(self, call: Call) -> Any:
        source, target = call.args
        old, new = call.kwargs.get("src_dir_fd"), call.kwargs.get("dst_dir_fd")
        before, after = self._parent(source, old), self._parent(target, new)
        number = self._number(os.stat(source, dir_fd=old, follow_symlinks=False))
        made = call.make()
        self.changes.append(Named(((*before, None), (*after, number))))
        return made

    def _unlink(self, call: Call) -> Any:
        parent, name = self._parent(call.args[0], call.kwargs.get("dir_fd"))
        made = call.make()
        self.changes.append(Named(((parent, name, None),)))
        return made


_HANDLERS = {
    "open": Recorder._open,
    "mkdir": Recorder._mkdir,
    "pwrite": Recorder._pwrite,
    "truncate": Recorder._truncate,
    "fallocate": Recorder._fallocate,
    "punch": Recorder._punch,
    "fsync": Recorder._fsync,
    "rename": Recorder._rename,
    "unlink": Recorder._unlink,
    "rmdir": Recorder._unlink,
}


@dataclass
class _File:
    synced: bytes = b""
    now: bytearray = field(default_factory=bytearray)
    since: list[Written | Sized] = field(default_factory=list)

    def sync(self) -> None:
        self.synced, self.since = bytes(self.now), []

    def apply(self, change: Written | Sized) -> None:
        if isinstance(change, Sized):
            if not change.only_longer:
                del self.now[change.size :]
            self.now.extend(bytes(max(0, change.size - len(self.now))))
        else:
            self.now.extend(bytes(max(0, change.off - len(self.now))))
            self.now[change.off : change.off + len(change.data)] = change.data

    def after(self, loss: Loss, dice: random.Random) -> bytes:
        if loss.data == "lost":
            return self.synced
        if loss.data == "prefix":
            kept = _File(self.synced, bytearray(self.synced))
            for change in self.since[: dice.randint(0, len(self.since))]:
                kept.apply(change)
            return bytes(kept.now)
        if loss.data == "kept":
            return bytes(self.now)
        size = len(self.now) if loss.longer else min(len(self.now), len(self.synced))
        old = self.synced.ljust(size, b"\0")
        pages = ((self.now if dice.random() < 0.5 else old)[at : min(size, at + PAGE)] for at in range(0, size, PAGE))
        return b"".join(map(bytes, pages))


class Disk:
    """The disk after `changes` and a cut."""

    def __init__(self, start: Sequence[tuple[int, str, bytes | None]], changes: Sequence[Change], loss: Loss) -> None:
        self._files: dict[int, _File] = {}
        self._folders: dict[int, dict[str, int]] = {}
        self._loss = loss
        self._dice = random.Random(loss.seed)
        numbers: dict[str, int] = {}
        for number, path, content in start:
            numbers[path] = number
            if content is None:
                self._folders[number] = {}
            else:
                self._files[number] = _File(content, bytearray(content))
            if path != ".":
                where, name = os.path.split(path)
                self._folders[numbers[where or "."]][name] = number
        self._root = numbers["."]
        self._replay(changes)

    def _replay(self, changes: Sequence[Change]) -> None:
        names: list[tuple[int, Named]] = []
        last_sync: dict[int, int] = {}
        for at, change in enumerate(changes):
            if isinstance(change, Made):
                names.append((at, Named(((change.parent, change.name, change.number),))))
                if change.folder:
                    self._folders[change.number] = {}
                else:
                    self._files[change.number] = _File()
            elif isinstance(change, Named):
                names.append((at, change))
            elif isinstance(change, Synced):
                last_sync[change.number] = at
                if change.number in self._files:
                    self._files[change.number].sync()
            else:
                self._files[change.number].apply(change)
                self._files[change.number].since.append(change)
        for kept in self._kept(names, last_sync):
            for folder_number, name, target in kept.names:
                if target is None:
                    self._folders[folder_number].pop(name, None)
                else:
                    self._folders[folder_number][name] = target

    def _kept(self, names: list[tuple[int, Named]], last_sync: dict[int, int]) -> list[Named]:
        if self._loss.names == "ordered":
            # Who syncs anything has the journal written, and with it all that came before.
            least = sum(at <= max(last_sync.values(), default=-1) for at, _ in names)
            return [change for _, change in names[: self._dice.randint(least, len(names))]]
        return [
            change
            for at, change in names
            if any(at <= last_sync.get(folder, -1) for folder, _, _ in change.names) or self._dice.random() < 0.5
        ]

    def build(self, root: Path) -> None:
        """Write it down at `root`, which does not exist."""
        self._build(self._root, str(root), set())

    def _build(self, number: int, path: str, above: set[int]) -> None:
        os.mkdir(path, 0o700)
        for name, child in self._folders[number].items():
            if child in self._files:
                with open(f"{path}/{name}", "wb") as file:
                    file.write(self._files[child].after(self._loss, self._dice))
                os.chmod(f"{path}/{name}", 0o400 if os.path.basename(path) == "blobs" else 0o600)
            elif child not in above:
                self._build(child, f"{path}/{name}", above | {child})
