"""Models of a cache that `fusefs pull` has made whole, as files: what an export of a SOURCE writes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fusefs.artifacts.manifest import Manifest
from fusefs.errors import ServeError
from fusefs.offers.catalog import Document
from fusefs.offers.exporter import Exportable
from fusefs.offers.indexer import hashed
from fusefs.offers.store import media_type_of
from fusefs.sources.modelstore import LocalStore

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.offers.indexer import Indexer
    from fusefs.offers.kept import HashedFile
    from fusefs.values.digest import Digest
    from fusefs.values.names import Name


def pulled_model(cache: Path, name: Name, indexer: Indexer) -> Exportable:
    """A model whose blobs are all sealed in a cache.

    Args:
        cache: its folder.
        name: as it was pulled.
        indexer: over the cache; it hashes the blobs, and hides none.

    Raises:
        FusefsError: the cache does not have the model.
    """
    raw = LocalStore(cache).manifest(name)
    Manifest.parse(raw)
    return Exportable(
        name.repository,
        name.tag,
        Document(raw, media_type_of(raw)),
        partial(_entry, indexer.roots.top / "blobs", indexer),
        lambda entry: indexer.roots.open(entry.path)[0],
    )


def _entry(blobs: Path, indexer: Indexer, digest: Digest) -> HashedFile:
    entry = hashed(partial(indexer.entry, blobs / digest.file_name))
    if entry.digest != digest:
        raise ServeError(f"{entry.path} is damaged: its content has the digest {entry.digest}; run `fusefs verify`")
    return entry
