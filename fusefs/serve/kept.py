r"""KeptDigests: digests and chunk lists on disk, so that a second start hashes only what changed.

One small file per served file and chunk size.  Its name is the sha256 of the path; its first line says what the file
looked like, and 32 bytes a chunk follow:

    fusefs-kept 1 <size> <mtime_ns> <inode> <chunk size> <digest of the file> <digest of what follows>\n

A kept file that is torn, foreign or out of date counts as absent.  It is replaced by rename, and never synced: a lost
one costs hashing, nothing else.
"""

from __future__ import annotations

import logging
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.chunks import ChunkList
from fusefs.digest import Digest
from fusefs.errors import FusefsError
from fusefs.serve.index import Stamp, fitting_chunk_size

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

_MAGIC = "fusefs-kept 1"


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a file.

    Attributes:
        path: where it lies.
        stamp: what it looked like when it was hashed.
        digest: of the whole file.
        chunks: its chunk list.
    """

    path: Path
    stamp: Stamp
    digest: Digest
    chunks: ChunkList


class KeptDigests:
    """The folder of kept files.  Thread-safe; a folder that cannot be used is a warning, once, and nothing is kept."""

    def __init__(self, root: Path, chunk_size: int) -> None:
        self._root = root
        self._chunk_size = chunk_size
        self._warned = False

    def load(self, path: Path, stamp: Stamp) -> Entry | None:
        """What is kept of `path`, provided that it was hashed when it had this stamp."""
        try:
            raw = self._file(path).read_bytes()
        except OSError:
            return None
        head, _, packed = raw.partition(b"\n")
        chunk_size = fitting_chunk_size(stamp.size, self._chunk_size)
        try:
            *facts, digest, check = head.decode("ascii").rsplit(" ", 2)
            if facts != [_facts(stamp, chunk_size)] or Digest.parse(check) != Digest.of(packed):
                return None
            chunks = ChunkList.uniform(stamp.size, chunk_size).with_digests(packed)
            return Entry(path, stamp, Digest.parse(digest), chunks)
        except (FusefsError, ValueError):  # ValueError: not ASCII, or too few words
            return None

    def save(self, entry: Entry) -> None:
        """Keep `entry`, in place of what was kept of its path."""
        packed = entry.chunks.packed()[1] or b""
        facts = _facts(entry.stamp, fitting_chunk_size(entry.stamp.size, self._chunk_size))
        target = self._file(entry.path)
        temporary = target.with_name(f"{target.name}.{secrets.token_hex(4)}.tmp")
        try:
            # Each of them, whatever the umask is: a cache that others can write to is refused (`fusefs.cache.guard`).
            for folder in (self._root.parent, self._root):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                temporary.write_bytes(f"{facts} {entry.digest} {Digest.of(packed)}\n".encode() + packed)
                temporary.replace(target)
            finally:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
        except OSError as exc:
            if not self._warned:
                self._warned = True
                log.warning("Digests cannot be kept in %s (%s); the next start computes them again.", self._root, exc)

    def _file(self, path: Path) -> Path:
        return self._root / f"{Digest.of(os.fsencode(path)).hex}-{self._chunk_size}"


def _facts(stamp: Stamp, chunk_size: int) -> str:
    return f"{_MAGIC} {stamp.size} {stamp.mtime_ns} {stamp.inode} {chunk_size}"
