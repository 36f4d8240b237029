"""Damage to the files of one blob in a cache, as bad disks, power cuts and curious people do it."""

from __future__ import annotations

import contextlib
import os
import random
from typing import TYPE_CHECKING, Literal, get_args

from fusefs.cache.blob.mapfile import CLAIMED, PRESENT, peek
from fusefs.values.chunks import Blob

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fusefs.cache.place import Place

Damage = Literal[
    "flip-data",
    "zero-data",
    "cut-data",
    "grow-data",
    "no-data",
    "no-map",
    "cut-map",
    "foreign-map",
    "noise-map",
    "no-list",
    "noise-list",
    "flip-sealed",
    "cut-sealed",
    "no-sealed",
]
KINDS: tuple[Damage, ...] = get_args(Damage)

HARMLESS_NOW: frozenset[Damage] = frozenset(
    ("no-data", "no-map", "cut-map", "foreign-map", "no-list", "noise-list", "cut-data", "grow-data", "no-sealed")
)
"""What is noticed in the same boot, too.  Bytes that were proved in this boot are trusted until the next."""

_STATES_AT = 128  # the header of a map, see fusefs.cache.blob.mapfile


def apply(kind: Damage, place: Place[Path], where: int) -> None:
    """Do it, if the file is there; `where` is a byte of the blob."""
    target, change = _CHANGES[kind]
    with contextlib.suppress(FileNotFoundError):
        change(target(place), where)


def spared(place: Place[Path], data: bytes, chunk_size: int, done: set[Damage]) -> set[int]:
    """Chunks that are right on disk and known to be there, so that nobody may fetch them again.

    Args:
        place: where the files lie, after the damage.
        data: the blob's right bytes.
        chunk_size: of every chunk but the last.
        done: the damage.
    """
    on_disk = next((path.read_bytes() for path in (place.sealed, place.data) if path.exists()), b"")
    if len(on_disk) != len(data):
        return set()
    starts = range(0, len(data), chunk_size)
    right = {i for i, at in enumerate(starts) if on_disk[at : at + chunk_size] == data[at : at + chunk_size]}
    if done & {"no-list", "noise-list"} and place.sealed.exists() and len(right) < len(starts):
        return set()  # no list says which chunk of the sealed blob is the wrong one
    if done & {"no-map", "cut-map", "foreign-map"}:
        return right
    states = peek(place.map, Blob(place.digest, len(data)))
    return {i for i in right if i < len(states) and states[i] in (PRESENT, CLAIMED)}


def _flip(path: Path, where: int) -> None:
    with open(path, "r+b") as file:
        file.seek(where)
        old = file.read(1)
        file.seek(where)
        file.write(bytes([old[0] ^ 1]) if old else b"")


def _zero(path: Path, where: int) -> None:
    with open(path, "r+b") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(where)
        file.write(bytes(min(150, max(0, size - where))))


def _cut(path: Path, where: int) -> None:
    os.truncate(path, min(where, path.stat().st_size // 2))


def _grow(path: Path, where: int) -> None:
    os.truncate(path, path.stat().st_size + where + 1)


def _remove(path: Path, where: int) -> None:
    del where
    path.unlink()


def _foreign(path: Path, where: int) -> None:
    del where
    with open(path, "r+b") as file:
        file.seek(16)
        file.write(bytes(32))


def _noise(path: Path, where: int) -> None:
    with open(path, "r+b") as file:
        at = min(_STATES_AT, os.fstat(file.fileno()).st_size - 1)
        count = os.fstat(file.fileno()).st_size - at
        file.seek(at)
        file.write(bytes(random.Random(where).choices(range(6), k=count)))


def _writable(change: Callable[[Path, int], None]) -> Callable[[Path, int], None]:
    def changed(path: Path, where: int) -> None:
        os.chmod(path, 0o644)
        change(path, where)
        os.chmod(path, 0o444)

    return changed


_CHANGES: dict[Damage, tuple[Callable[[Place[Path]], Path], Callable[[Path, int], None]]] = {
    "flip-data": (lambda place: place.data, _flip),
    "zero-data": (lambda place: place.data, _zero),
    "cut-data": (lambda place: place.data, _cut),
    "grow-data": (lambda place: place.data, _grow),
    "no-data": (lambda place: place.data, _remove),
    "no-map": (lambda place: place.map, _remove),
    "cut-map": (lambda place: place.map, _cut),
    "foreign-map": (lambda place: place.map, _foreign),
    "noise-map": (lambda place: place.map, _noise),
    "no-list": (lambda place: place.chunks, _remove),
    "noise-list": (lambda place: place.chunks, _noise),
    "flip-sealed": (lambda place: place.sealed, _writable(_flip)),
    "cut-sealed": (lambda place: place.sealed, _writable(_cut)),
    "no-sealed": (lambda place: place.sealed, _remove),
}
