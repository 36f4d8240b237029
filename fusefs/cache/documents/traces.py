"""Traces: the access traces of blobs, `starts/sha256-<hex>`.  Hints: nothing here ever fails, it is only not kept.

A trace outlives the data of its blob, so that the next cold load of it can be replayed.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from typing import TYPE_CHECKING

from fusefs.errors import InvalidTrace
from fusefs.system.files import make_folder, read_plain, write_atomically
from fusefs.system.spot import names_at, stat_at, unlink_at
from fusefs.system.steps import step
from fusefs.values.trace import MAX_PACKED_SIZE, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fusefs.system.spot import Where
    from fusefs.values.chunks import Blob
    from fusefs.values.trace import Trace

log = logging.getLogger(__name__)

MAX_BYTES = 64 << 20
"""Disk space of all traces together; the oldest go first.  One of some hundred ranges takes two blocks."""

_BLOCK = 4096  # no file takes less


class Traces:
    """Blocking, short; thread-safe; several processes may use one directory at once.

    Args:
        root: the cache directory, to write to and to read from.
        others: other stores, to read from; one that is a cache of fusefs, too, has traces.
    """

    def __init__(self, root: Where, others: Sequence[Path] = ()) -> None:
        self._root = root
        self._others = tuple(others)

    def read(self, blob: Blob) -> Trace | None:
        """What was recorded last here, else in the first of the other stores that has it; None when nobody has."""
        for root in (self._root, *self._others):
            # A torn or rotten record, or something that is no plain file, is as good as none.
            with contextlib.suppress(OSError, InvalidTrace):
                return unpack(blob, read_plain(_path(root, blob), MAX_PACKED_SIZE))
        return None

    def write(self, blob: Blob, trace: Trace) -> None:
        """Keep `trace` in place of what was recorded before; a disk that does not take it keeps none.

        Raises:
            InvalidTrace: its ranges are none of this blob, or too many.
        """
        data = pack(blob, trace)
        try:
            make_folder(self._root / "starts")
            path = _path(self._root, blob)
            # Not durable: what a power cut leaves has its own checksum.
            with step("trace kept"):
                write_atomically(path, data, self._root / "partial", durable=False)
            _trim(path.parent)
        except OSError as exc:
            log.debug("The access trace of %s is not kept: %s", blob.digest.short, exc.strerror or exc)


def _path(root: Where, blob: Blob) -> Where:
    """Where the trace of `blob` lies in a plain folder of `root`.

    Raises:
        OSError: there is none, or it is a symbolic link, which could lead out of the cache.
    """
    path = root / "starts" / blob.digest.file_name
    if not stat.S_ISDIR(stat_at(path.parent).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent))
    return path


def _trim(folder: Where) -> None:
    """Remove the oldest files until `MAX_BYTES` hold the rest."""
    found = []
    for name in names_at(folder):
        with contextlib.suppress(FileNotFoundError):  # another process trims, too
            info = stat_at(folder / name)
            found.append((info.st_mtime_ns, max(info.st_size, _BLOCK), name))
    left = MAX_BYTES
    for _, size, name in sorted(found, reverse=True):
        left -= size
        if left < 0:
            with contextlib.suppress(OSError):
                unlink_at(folder / name)
