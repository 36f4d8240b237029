"""Unpacking: a compressed layer as a source of what it is decompressed.

No part of such a layer can be had by itself.  So it is made whole once and lies in the cache as a blob of its own; when
it has been evicted, it is made anew from the compressed bytes, those of the cache or of a registry.  What comes out is
compared with its digest as anything that comes from a source.
"""

from __future__ import annotations

import logging
import os
from contextlib import closing
from typing import TYPE_CHECKING

from fusefs.errors import CacheError, InvalidPacking, NotFound, SourceError
from fusefs.formats.unpack import PIECE, most_of, unpacked
from fusefs.sources.failover import Failover
from fusefs.system.files import disk_errors, open_inside
from fusefs.values.chunks import Blob, Chunk

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from fusefs.artifacts.manifest import Layer
    from fusefs.cache.disk import DiskCache
    from fusefs.sources.bound import BoundSource
    from fusefs.values.chunks import ChunkList
    from fusefs.values.names import Name

log = logging.getLogger(__name__)


class PackedLayer:
    """The compressed bytes of a layer, and what they are decompressed.  Blocking.

    Args:
        layer: of a manifest.
        cache: may have it.
        sources: have it else.
    """

    def __init__(self, layer: Layer, cache: DiskCache, sources: Sequence[BoundSource]) -> None:
        self.layer = layer
        self._cache = cache
        self._origins = Failover(sources)

    def pieces(self) -> Iterator[bytes]:
        """The decompressed bytes.

        Raises:
            InvalidPacking: damaged, or larger than any honest layer is.
            SourceError, CacheError: the compressed bytes cannot be had.
        """
        return unpacked(self.layer.packing, self._packed(), most_of(self.layer.blob.size))

    def _packed(self) -> Generator[bytes, None, None]:
        blob = self.layer.blob
        try:
            size = self._cache.get(blob.digest).size
        except CacheError:
            size = -1
        if size == blob.size:
            yield from self._of_cache(blob)
            return
        turns = self._origins.turns(blob.digest)
        for source in turns.round():
            try:
                body = source.open_range(blob, Chunk(0, blob.size - 1))
            except SourceError as exc:
                turns.failed(exc)
                continue
            with closing(body):
                buffer = memoryview(bytearray(PIECE))
                while got := body.readinto(buffer):
                    yield bytes(buffer[:got])
            return
        if turns.errors:
            turns.pause(None)
        raise NotFound(f"no source has the layer {blob.digest.short}")

    def _of_cache(self, blob: Blob) -> Iterator[bytes]:
        sealed = self._cache.place(blob.digest).sealed
        with disk_errors(sealed):
            fd = open_inside(sealed, os.O_RDONLY)
            try:
                while piece := os.read(fd, PIECE):
                    yield piece
            finally:
                os.close(fd)


class UnpackedSource:
    """A Source of one decompressed layer; whatever is asked for, it gives all of it, in one stream.

    Attributes:
        label: the layer that it comes from.
    """

    def __init__(self, packed: PackedLayer) -> None:
        self.label = f"layer {packed.layer.blob.digest.short}, decompressed"
        self._packed = packed

    def manifest(self, name: Name) -> bytes:
        """See `Source.manifest`: it has none."""
        raise NotFound(f"no manifest of {name.short}", source=self.label)

    def chunk_list(self, name: Name, blob: Blob) -> ChunkList | None:  # noqa: ARG002  # it has none of any
        """See `Source.chunk_list`."""
        return None

    def open_range(self, name: Name, blob: Blob, chunk: Chunk) -> UnpackedBody:  # noqa: ARG002  # see the class
        """See `Source.open_range`."""
        return UnpackedBody(self._packed.pieces(), blob.size, self.label)

    def close(self) -> None:
        """See `Source.close`: the sources of the compressed bytes are closed by who has them."""


class UnpackedBody:
    """A Body: see `fusefs.sources.base`."""

    def __init__(self, pieces: Iterator[bytes], size: int, label: str) -> None:
        self.given = Chunk(0, size - 1)
        self._pieces = pieces
        self._left = size
        self._piece = memoryview(b"")
        self._label = label

    def readinto(self, buffer: memoryview) -> int:
        """See `Body.readinto`."""
        if not buffer or not self._left:
            return 0
        try:
            while not self._piece:
                self._piece = memoryview(next(self._pieces, b""))
                if not self._piece:
                    raise SourceError("it ended too early", source=self._label)
        except InvalidPacking as exc:
            raise SourceError(str(exc), source=self._label) from exc
        got = min(len(buffer), len(self._piece), self._left)
        buffer[:got] = self._piece[:got]
        self._piece = self._piece[got:]
        self._left -= got
        if not self._left and (self._piece or next(self._pieces, b"")):
            raise SourceError("it goes on behind its end", source=self._label)
        return got

    def close(self) -> None:
        """See `Body.close`; a thread that is decompressing goes on to the end of its piece."""
