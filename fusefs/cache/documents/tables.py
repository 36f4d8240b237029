"""Tables: which files the archives among the blobs hold, `tables/sha256-<hex>`.

An archive never changes, so its table is read from its bytes once, and from here ever after, without a network too.
What lies here has a checksum, and is checked against the blob again whenever it is read.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import stat
from typing import TYPE_CHECKING

import msgspec

from fusefs.artifacts.contents import Opened
from fusefs.errors import InvalidDigest
from fusefs.system.files import make_folder, read_plain, write_atomically
from fusefs.system.spot import names_at, stat_at, unlink_at
from fusefs.values.chunklimits import MAX_BLOB_SIZE
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest
from fusefs.values.tartable import Link, Member, TarTable

if TYPE_CHECKING:
    from fusefs.system.spot import Where

log = logging.getLogger(__name__)

MAX_SIZE = 64 << 20
"""Bytes of one table; 100,000 members with paths of 100 bytes take a third."""

MAX_BYTES = 512 << 20
"""Disk space of all tables together; the oldest go first."""

_MAGIC = b"fusefs table 1\n"
_HEAD = len(_MAGIC) + 32


class _Kept(msgspec.Struct, array_like=True):
    of: str
    digest: str
    size: int
    members: list[tuple[str, int, int, int]] | None
    links: list[tuple[str, str, bool, int]] = []
    left_out: list[tuple[str, int]] = []


_decoder = msgspec.msgpack.Decoder(_Kept)


class Tables:
    """Blocking, short; thread-safe; several processes may use one directory at once.

    Args:
        root: the cache directory.
    """

    def __init__(self, root: Where) -> None:
        self._root = root

    def read(self, blob: Blob) -> Opened | None:
        """What is known of an archive; None when that is nothing, or torn, or does not fit the blob."""
        try:
            data = read_plain(self._path(blob.digest), MAX_SIZE)
        except OSError:
            return None
        body = data[_HEAD:]
        if not data.startswith(_MAGIC) or data[len(_MAGIC) : _HEAD] != hashlib.sha256(body).digest():
            return None
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, InvalidDigest):
            return _checked(_decoder.decode(body), blob)
        return None

    def write(self, blob: Blob, opened: Opened) -> None:
        """Keep it; a disk that does not take it keeps none."""
        table = opened.table
        kept = _Kept(str(blob.digest), str(opened.blob.digest), opened.blob.size, None)
        if table is not None:
            kept.members = [(one.path, one.off, one.size, one.mtime) for one in table.members]
            kept.links = [(one.path, one.target, one.hard, one.place) for one in table.links]
            kept.left_out = list(table.left_out)
        body = msgspec.msgpack.encode(kept)
        if len(body) + _HEAD > MAX_SIZE:
            log.warning("The table of %s is too long to be kept: it is read anew at each mount", blob.digest.short)
            return
        try:
            make_folder(self._root / "tables")
            path = self._path(blob.digest)
            # Not durable: what a power cut leaves has its own checksum.
            data = _MAGIC + hashlib.sha256(body).digest() + body
            write_atomically(path, data, self._root / "partial", durable=False)
            _trim(path.parent)
        except OSError as exc:
            log.debug("The table of %s is not kept: %s", blob.digest.short, exc.strerror or exc)

    def remove(self, digest: Digest) -> None:
        """Forget what is known of a blob."""
        with contextlib.suppress(OSError):
            unlink_at(self._path(digest))

    def _path(self, digest: Digest) -> Where:
        """Where the table lies, in a plain folder.

        Raises:
            OSError: there is none, or it is a symbolic link, which could lead out of the cache.
        """
        path = self._root / "tables" / digest.file_name
        if not stat.S_ISDIR(stat_at(path.parent).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent))
        return path


def _checked(kept: _Kept, blob: Blob) -> Opened | None:
    """What was kept, if it may be of `blob`: nothing in it leads out of the bytes that it is of."""
    made = Blob(Digest.parse(kept.digest), kept.size)
    if kept.of != str(blob.digest) or not 0 <= made.size <= MAX_BLOB_SIZE:
        return None
    if made.digest == blob.digest and made.size != blob.size:
        return None
    if kept.members is None:
        return Opened(made)
    if any(not (off >= 0 and 0 <= size <= made.size - off) or mtime < 0 for _, off, size, mtime in kept.members):
        return None
    members = tuple(Member(*one) for one in kept.members)
    return Opened(made, TarTable(members, tuple(Link(*one) for one in kept.links), tuple(kept.left_out)))


def _trim(folder: Where) -> None:
    """Remove the oldest until `MAX_BYTES` hold the rest."""
    found = []
    for name in names_at(folder):
        with contextlib.suppress(FileNotFoundError):  # another process trims, too
            info = stat_at(folder / name)
            found.append((info.st_mtime_ns, info.st_size, name))
    left = MAX_BYTES
    for _, size, name in sorted(found, reverse=True):
        left -= size
        if left < 0:
            with contextlib.suppress(OSError):
                unlink_at(folder / name)
