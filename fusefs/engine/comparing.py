"""Comparing: bytes of files with what was signed of them, where the digests of a model do not say it.

That is so of files that were signed in shards, and of parts of archives.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from fusefs.fetch.blobreader import BlobReader
from fusefs.values.chunks import Chunk
from fusefs.values.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from fusefs.engine.engine import Engine
    from fusefs.engine.local import LocalModels
    from fusefs.values.signed import Signed, SignedFile
    from fusefs.values.snapshot import File, Slice, Snapshot

    Read = Callable[[Slice, int, int], bytes]
    """Gives proved bytes of a part of a blob: from an offset in it, and so many."""

_PIECE = 4 * MIB


def compare_local(signed: Signed, local: LocalModels, *, anew: bool = False) -> None:
    """Compare the models of folders of this machine, whose files are read for it where they must be.  Blocking.

    Args:
        signed: what was signed.
        local: what is there.
        anew: every file is read, also one whose digest is known.

    Raises:
        NotSigned: one is not what was signed.
        FusefsError: a file cannot be read.
    """

    def read(part: Slice, off: int, size: int) -> bytes:
        return local.files[part.blob.digest].read(part.off + off, size)

    for model in (model for models in local.snapshots.values() for model in models):
        unread = signed.unread(model)
        _compare(signed, model, signed.pairs(model) if anew else unread, read)


def compare_parts(signed: Signed, engine: Engine, models: Iterable[Snapshot]) -> None:
    """Compare files that have no digest of their own; of all others it was compared, or each shard.  Blocking.

    Args:
        signed: what was signed.
        engine: in a thread of its trio.
        models: of which all is here.

    Raises:
        NotSigned: one is not what was signed.
        FusefsError: its bytes cannot be had.
    """

    def read(part: Slice, off: int, size: int) -> bytes:
        fetch = engine.fetcher.track(part.blob)
        reader = readers.setdefault(part, BlobReader(engine.fetcher, fetch))
        return reader.read_at(part.off + off, size)

    readers: dict[Slice, BlobReader] = {}
    for model in models:
        _compare(signed, model, signed.parts(model), read)


def _compare(signed: Signed, model: Snapshot, files: Iterable[tuple[File, SignedFile]], read: Read) -> None:
    for file, wanted in files:
        size = len(file.content) if isinstance(file.content, bytes) else file.content.size
        for chunk, digest in _chunks(wanted, size):
            found = hashlib.sha256()
            for off in range(chunk.start, chunk.stop, _PIECE):
                found.update(_bytes_of(file, off, min(_PIECE, chunk.stop - off), read))
            if found.digest() != digest:
                raise signed.differs(model, file.path, f"its bytes {chunk} are others")


def _chunks(wanted: SignedFile, size: int) -> Iterator[tuple[Chunk, bytes]]:
    """Parts of a file with their digests: its shards, or all of it."""
    if wanted.digest is None:
        assert wanted.shards is not None
        yield from ((chunk, wanted.shards.raw_digest(i)) for i, chunk in enumerate(wanted.shards))
    elif size:
        yield Chunk(0, size - 1), wanted.digest.raw


def _bytes_of(file: File, off: int, size: int, read: Read) -> bytes:
    if isinstance(file.content, bytes):
        return file.content[off : off + size]
    return read(file.content, off, size)
