"""Rot: what bad disks and curious people do to one file of a cache, and a small cache of each shape to do it to."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import pytest
import trio

from fusefs.cache.blob.mapfile import ABSENT, peek
from fusefs.cache.disk import DiskCache
from fusefs.cache.place import Place
from fusefs.errors import FusefsError
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest
from fusefs.values.trace import Trace
from tests.fake_source import FakeSource, fail
from tests.world import SETTINGS, running, some_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["flip", "zero", "cut", "grow", "other", "link", "hard-link", "pipe", "folder", "socket"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Which = Literal["data", "chunks", "map", "sealed", "start"]
WHICH: tuple[Which, ...] = get_args(Which)

Shape = Literal["partial", "sealed", "single", "unlisted", "arrived"]
SHAPES: tuple[Shape, ...] = get_args(Shape)
"""Some chunks of a list; all; a blob that is its own only chunk; one that came without a list; part of such a one."""

CHUNK = 100
DATA = some_bytes(8 * CHUNK + 37)
BLOB = Blob(Digest.of(DATA), len(DATA))
OTHER = some_bytes(len(DATA), seed=2)
SECRET = some_bytes(len(DATA), seed=3)
START = Trace(((100, 200), (700, 800)))
HERE = range(1, 6)
"""The chunks of a partial blob that are present."""


@dataclass(frozen=True)
class Rot:
    """One change of one file: `where` is a byte of it (from the front, and round again), `bit` one of its bits."""

    which: Which
    kind: Kind
    where: int
    bit: int = 0


class Secret:
    """A file outside of the cache, of the blob's size: nobody may show it, change it, or change who may read it."""

    def __init__(self, path: Path, content: bytes = SECRET) -> None:
        self.path = path
        self._content = content
        path.write_bytes(content)
        path.chmod(0o640)

    def check(self) -> None:
        """It is what it was."""
        info = self.path.lstat()
        assert stat.S_ISREG(info.st_mode)
        assert stat.S_IMODE(info.st_mode) == 0o640
        assert self.path.read_bytes() == self._content


def rot(path: Path, kind: Kind, where: int, bit: int, *, other: bytes, secret: Secret) -> bool:
    """Do it to `path`; False when there is no such file."""
    if not path.exists():
        return False
    if kind in _IN_PLACE:
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(0o600)
        with path.open("r+b") as file:
            content = bytearray(file.read())
            _IN_PLACE[kind](content, where % max(1, len(content)), bit)
            file.seek(0)
            file.truncate()
            file.write(content)
        path.chmod(mode)
        return True
    path.unlink()
    if kind == "other":
        path.write_bytes(other)
    elif kind == "link":
        path.symlink_to(secret.path)
    elif kind == "hard-link":
        path.hardlink_to(secret.path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        os.mknod(path, stat.S_IFSOCK | 0o600)
    return True


def _flip(content: bytearray, where: int, bit: int) -> None:
    if content:
        content[where] ^= 1 << bit


def _zero(content: bytearray, where: int, bit: int) -> None:
    content[where : where + 150] = bytes(len(content[where : where + 150]))


def _cut(content: bytearray, where: int, bit: int) -> None:
    del content[where:]


def _grow(content: bytearray, where: int, bit: int) -> None:
    content += bytes([bit]) * (where + 1)


_IN_PLACE: dict[Kind, Callable[[bytearray, int, int], None]] = {
    "flip": _flip,
    "zero": _zero,
    "cut": _cut,
    "grow": _grow,
}


class Caches:
    """A cache of each shape, made once and copied for each use."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._made: set[Shape] = set()

    def copy(self, shape: Shape, to: Path) -> Place[Path]:
        """A cache of that shape in the new directory `to`, all of it proved in this boot."""
        if shape not in self._made:
            trio.run(self._make, shape)
            self._made.add(shape)
        shutil.copytree(self.root / shape, to)
        DiskCache.open(to).put_trace(BLOB, START)
        return Place(to, BLOB.digest)

    async def _make(self, shape: Shape) -> None:
        source = FakeSource()
        if shape == "arrived":
            source.faults.extend([None, fail])
        async with running(self.root / shape, DATA, source=source, **setting(shape)) as world:
            if shape == "partial":
                await world.read(HERE.start * CHUNK, len(HERE) * CHUNK)
            elif shape == "arrived":
                with pytest.raises(FusefsError):
                    await world.read(0, 1)
            else:
                await world.read(0, len(DATA))
                await world.sealed()


def setting(shape: Shape) -> dict[str, Any]:
    """What `tests.world.running` needs for a blob of that shape."""
    common: dict[str, Any] = {"chunk_size": CHUNK, "unlisted_chunk_size": CHUNK, "span_size": 4 * CHUNK}
    if shape == "single":
        return common | {"single_chunk_limit": 1 << 20, "listed": False}
    if shape == "arrived":
        return common | {"listed": False, "connections": 1}
    return common | {"listed": shape != "unlisted", "connections": SETTINGS.connections}


def path_of(place: Place[Path], which: Which) -> Path:
    """The file that `which` names."""
    path = getattr(place, which)
    assert isinstance(path, Path)
    return path


def wrong_chunks(place: Place[Path], shape: Shape) -> set[int]:
    """Chunks that the map says are there, and whose bytes are others; {-1} when the file is no file of that size."""
    for path in (place.sealed, place.data):
        if not os.path.lexists(path):
            continue
        if path.is_symlink() or not path.is_file() or path.stat().st_size != len(DATA):
            return {-1}
        content = path.read_bytes()
        size = len(DATA) if shape == "single" else CHUNK
        states = peek(place.map, BLOB) if path == place.data else bytes([1]) * len(range(0, len(DATA), size))
        return {
            i
            for i, at in enumerate(range(0, len(DATA), size))
            if i < len(states) and states[i] != ABSENT and content[at : at + size] != DATA[at : at + size]
        }
    return set()
