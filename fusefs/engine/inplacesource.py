"""InPlaceSource: files of this machine that were hashed as a Source, for a cache that is to have them, too."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from fusefs.errors import CacheError, Cancelled, ModelNotFound, NotFound, ServeError, SourceError
from fusefs.sources.bound import BoundSource
from fusefs.sources.modelstore import LocalBody

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fusefs.engine.engine import Engine
    from fusefs.offers.inplace import InPlace
    from fusefs.values.chunks import Blob, Chunk, ChunkList
    from fusefs.values.digest import Digest
    from fusefs.values.names import Name
    from fusefs.values.snapshot import Snapshot


class InPlaceSource:
    """A Source that has files and knows no names.

    Attributes:
        label: what to call it in messages.
    """

    def __init__(self, label: str, files: Mapping[Digest, InPlace]) -> None:
        self.label = label
        self._files = files
        self._closed = threading.Event()

    def manifest(self, name: Name) -> bytes:
        """See `Source.manifest`: it has none."""
        raise ModelNotFound(f"no manifest of {name.short}", source=self.label)

    def chunk_list(self, name: Name, blob: Blob) -> ChunkList | None:  # noqa: ARG002  # files have no names
        """See `Source.chunk_list`."""
        file = self._files.get(blob.digest)
        return file.chunks if file is not None else None

    def open_range(self, name: Name, blob: Blob, chunk: Chunk) -> LocalBody:
        """See `Source.open_range`."""
        file = self._files.get(blob.digest)
        if file is None:
            raise NotFound(f"no file of {name.short} is {blob.digest}", source=self.label)
        if self.closed:
            raise Cancelled("the source is closed")
        try:
            with file.opened() as fd:
                return LocalBody(self, os.dup(fd), chunk)
        except (CacheError, ServeError, OSError) as exc:
            raise SourceError(str(exc), source=self.label) from exc

    def close(self) -> None:
        """See `Source.close`."""
        self._closed.set()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()


def offer_local(engine: Engine, models: Iterable[Snapshot]) -> None:
    """Have blobs fetched from files of this machine first, and remember by name what is pulled from them.

    Args:
        engine: what it knows from this machine counts.
        models: before their other sources are offered.
    """
    local = engine.local
    source = InPlaceSource("the cache of the Hub's library", local.files)
    for model in models:
        name, known = model.reference, local.documents.get(model.reference)
        for blob in model.blobs:
            if blob.digest in local.files:
                engine.fetcher.track(blob).add_origin(BoundSource(source, name))
        if known is not None and known.digest == model.digest and name not in local.partial:
            engine.keeper.add(name, model.digest, model.document)
