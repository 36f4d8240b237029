"""Comparing: bytes of files with what was signed of them, where the digests of a model do not say it.

That is so of files that were signed in shards, and of parts of archives.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

from fusefs.engine.demands import is_bound, is_whole
from fusefs.fetch.blobreader import BlobReader
from fusefs.values.chunks import Chunk
from fusefs.values.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from fusefs.cache.disk import DiskCache
    from fusefs.engine.local import LocalModels
    from fusefs.fetch.fetcher import Fetcher
    from fusefs.offers.inplace import InPlace
    from fusefs.values.digest import Digest
    from fusefs.values.signed import Signed, SignedFile
    from fusefs.values.snapshot import File, Slice, Snapshot

    Read = Callable[[Slice, int, int], bytes]
    """Gives proved bytes of a part of a blob: from an offset in it, and so many."""

log = logging.getLogger(__name__)

_PIECE = 4 * MIB
_MUCH = 1024 * MIB
"""Bytes that take seconds to hash: who waits for the mount is told why."""


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


def compare_here(
    signed: Signed, fetcher: Fetcher, cache: DiskCache, models: Iterable[Snapshot], local: Mapping[Digest, InPlace]
) -> None:
    """Compare before anything is served what nobody compares when it is read.  Blocking.

    That is what lies whole in the cache, or in place, and was signed in shards, where it is not known to have them; and
    small files that are named by another hash than sha256, which are fetched for it.

    Args:
        signed: what was signed.
        fetcher: which was told of the models; in a thread of its trio.
        cache: what is here.
        models: of registries.
        local: files that are read in place.

    Raises:
        NotSigned: one is not what was signed.
        FusefsError: its bytes cannot be had.
    """

    def is_wanted(file: File, wanted: SignedFile) -> bool:
        assert wanted.shards is not None
        assert not isinstance(file.content, bytes)
        blob = file.content.blob
        here = blob.digest in local or not fetcher.track(blob).choice.compares_shards
        return here and not is_bound(cache, blob, wanted.shards)

    fetched = _reader(fetcher)

    def read(part: Slice, off: int, size: int) -> bytes:
        here = local.get(part.blob.digest)
        return fetched(part, off, size) if here is None else here.read(part.off + off, size)

    for model in models:
        files = [(file, wanted) for file, wanted in signed.listed(model) if is_wanted(file, wanted)]
        files += [(file, wanted) for file, wanted in signed.parts(model) if is_whole(file)]
        size = sum(file.content.size for file, _ in files if not isinstance(file.content, bytes))
        if size > _MUCH:
            log.warning("%s: %d bytes that are here are read and compared with the signature", model.reference, size)
        _compare(signed, model, files, read)


def compare_parts(signed: Signed, fetcher: Fetcher, models: Iterable[Snapshot]) -> None:
    """Compare files that have no digest of their own; of all others it was compared, or each shard.  Blocking.

    Args:
        signed: what was signed.
        fetcher: in a thread of its trio.
        models: of which all is here.

    Raises:
        NotSigned: one is not what was signed.
        FusefsError: its bytes cannot be had.
    """
    for model in models:
        _compare(signed, model, signed.parts(model), _reader(fetcher))


def _reader(fetcher: Fetcher) -> Read:
    """Reads parts of blobs, each from its front."""
    readers: dict[Slice, BlobReader] = {}

    def read(part: Slice, off: int, size: int) -> bytes:
        if part not in readers:
            readers[part] = BlobReader(fetcher, fetcher.track(part.blob))
        return readers[part].read_at(part.off + off, size)

    return read


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
