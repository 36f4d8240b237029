"""read_table: the files of an uncompressed tar archive, from its headers alone.

The headers are read by `tarfile`, which knows every dialect (ustar, PAX, GNU).  What it costs is bounded here, whatever
the archive says: every read goes through `_Window`, which counts.
"""

from __future__ import annotations

import math
import re
import tarfile
from collections import Counter
from typing import TYPE_CHECKING

from fusefs.errors import InvalidTar
from fusefs.values.tartable import Link, Member, TarTable

if TYPE_CHECKING:
    from collections.abc import Callable

    ReadAt = Callable[[int, int], bytes]
    """Bytes [off, off+size), clipped to the end of the archive."""

BLOCK = 512

MAX_MEMBERS = 100_000
MAX_HEADER = 64 << 10
"""Bytes of the headers of one member: a path of PATH_MAX bytes and some attributes take a tenth of it."""

MAX_EXTENDED = 32 << 20
"""Bytes of all extended headers that are longer than a block."""

MAX_HEADERS = 4 * BLOCK * MAX_MEMBERS
"""Bytes of all headers: three blocks each is what a member with an extended header has."""

MAX_PATH = 4096
"""Bytes of a path that is shown: PATH_MAX."""

_MOST_GLOBAL = 1000
"""Records of global headers; honest writers have one or two."""

_TYPE = slice(156, 157)
_PAX_TYPES, _LONG_TYPES = (b"x", b"g", b"X"), (b"L", b"K")

_RECORD = re.compile(rb"([0-9]{1,9}) ([^=\n]{1,255})=")
_DIGITS = re.compile(rb"[0-9]{513}")
"""`tarfile` of older Pythons takes time by the square of a run of digits (CVE-2024-6232)."""

_LATEST = 1 << 33
"""Seconds since 1970 that a file system can show."""


class _Window:
    """The archive as `tarfile` wants it: a file to read and seek, of which only so much is read."""

    def __init__(self, read_at: ReadAt, size: int) -> None:
        self._read_at = read_at
        self._size = size
        self._off = 0
        self._all = self._extended = self._of_member = 0
        self._type = b""  # of the header before, where what follows belongs to it

    def next_member(self) -> None:
        self._of_member = 0
        self._type = b""

    def read(self, size: int = -1) -> bytes:
        self._of_member += size
        if size < 0 or self._of_member > MAX_HEADER:
            raise InvalidTar(f"invalid tar archive: more than {MAX_HEADER} bytes of headers at {self._off}")
        self._all += max(size, 1)
        self._extended += size if size > BLOCK else 0
        if self._all > MAX_HEADERS or self._extended > MAX_EXTENDED:
            raise InvalidTar("invalid tar archive: its headers are longer than any that are read")
        size = max(0, min(size, self._size - self._off))
        data = self._read_at(self._off, size) if size else b""
        if len(data) != size:
            raise InvalidTar(f"invalid tar archive: {size} bytes were asked for at {self._off}, {len(data)} came")
        if self._type:
            if self._type in _PAX_TYPES:
                _check_records(data, self._off)
            self._type = b""
        elif size == BLOCK and data[_TYPE] in (*_PAX_TYPES, *_LONG_TYPES):
            self._type = data[_TYPE]
        self._off += size
        return data

    def seek(self, off: int, whence: int = 0) -> int:
        if whence or off < 0:
            raise InvalidTar(f"invalid tar archive: a member at {off}")
        self._off = off
        return off

    def tell(self) -> int:
        return self._off


def _check_records(data: bytes, off: int) -> None:
    """Refuse what `tarfile` would take long, or much memory, to make nothing of.

    Raises:
        InvalidTar: records that do not follow each other.
    """
    at, text = 0, data.rstrip(b"\0")
    while at < len(text):
        record = _RECORD.match(text, at)
        stop = at + int(record[1]) if record else 0
        if record is None or not record.end() < stop <= len(text) or text[stop - 1 : stop] != b"\n":
            raise InvalidTar(f"invalid tar archive: an extended header at {off} that is none")
        at = stop
    if _DIGITS.search(data):
        raise InvalidTar(f"invalid tar archive: an extended header at {off} with a number of more than 512 digits")


def read_table(read_at: ReadAt, size: int) -> TarTable:
    """Read the table of an archive.

    Args:
        read_at: gives bytes of it; what it raises passes through.
        size: of the archive, in bytes.

    Raises:
        InvalidTar: damaged, cut off, or larger in members or headers than any that is read.
    """
    window = _Window(read_at, size)
    try:
        # "r:" with the colon: nothing is decompressed behind our back.
        with tarfile.open(fileobj=window, mode="r:", errors="surrogateescape", encoding="utf-8") as archive:  # type: ignore[call-overload]
            return _read(archive, window, size)
    except (tarfile.TarError, RecursionError, OverflowError, ValueError) as exc:
        raise InvalidTar(f"invalid tar archive: {str(exc)[:200] or type(exc).__name__}") from exc


def _read(archive: tarfile.TarFile, window: _Window, size: int) -> TarTable:
    members: list[Member] = []
    links: list[Link] = []
    left_out: Counter[str] = Counter()
    before, count = -1, 0
    while (info := archive.next()) is not None:
        window.next_member()
        archive.members = []  # type: ignore[attr-defined]  # tarfile keeps each, at a thousand bytes
        count += 1
        if count > MAX_MEMBERS:
            raise InvalidTar(f"invalid tar archive: more than {MAX_MEMBERS} members")
        if not before < info.offset < archive.offset or len(archive.pax_headers) > _MOST_GLOBAL:
            raise InvalidTar(f"invalid tar archive: a member of {info.size} bytes at {info.offset}")
        before = info.offset
        if info.isdir():
            continue
        why = _why_not(info)
        if why:
            left_out[why] += 1
        elif info.isreg():
            if not 0 <= info.size <= size - info.offset_data:
                raise InvalidTar(f"invalid tar archive: {info.name[:100]!a} goes on behind the end of the archive")
            members.append(Member(info.name, info.offset_data, info.size, _seconds(info.mtime)))
        else:
            links.append(Link(info.name, info.linkname, info.islnk(), len(members)))
    _check_end(archive, window, size)
    return TarTable(tuple(members), tuple(links), tuple(sorted(left_out.items())))


def _why_not(info: tarfile.TarInfo) -> str:
    """What a member is that is not shown; empty for one that may be."""
    if info.issparse():
        return "sparse file"
    if not (info.isreg() or info.islnk() or info.issym()):
        return "device or pipe" if info.isdev() else "member of unknown type"
    try:
        long = max(len(info.name.encode()), len(info.linkname.encode())) > MAX_PATH
    except UnicodeEncodeError:
        return "path that is not UTF-8"
    return "path that is too long" if long else ""


def _seconds(mtime: float) -> int:
    """PAX times may be any number."""
    return int(mtime) if math.isfinite(mtime) and 0 <= mtime < _LATEST else 0


def _check_end(archive: tarfile.TarFile, window: _Window, size: int) -> None:
    """`tarfile` takes a block that is no header for the end; an archive ends with zeros, or where its bytes do.

    Raises:
        InvalidTar: it does not.
    """
    if archive.offset < size:
        window.seek(archive.offset)
        if any(window.read(BLOCK)):
            raise InvalidTar(f"invalid tar archive: damaged at {archive.offset}")
    elif archive.offset > -(-size // BLOCK) * BLOCK:
        raise InvalidTar("invalid tar archive: it is cut off")
