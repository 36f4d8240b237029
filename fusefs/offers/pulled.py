"""Models of a cache that `fusefs pull` has made whole, as files: what an export of a SOURCE writes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fusefs.artifacts.foldermanifest import folder_manifest
from fusefs.artifacts.manifest import OCI_MANIFEST, Manifest
from fusefs.errors import ServeError
from fusefs.offers.catalog import Document
from fusefs.offers.exporter import Exportable
from fusefs.offers.folders import NAMESPACE, model_name
from fusefs.offers.indexer import hashed
from fusefs.offers.store import media_type_of
from fusefs.sources.modelstore import LocalStore
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest
from fusefs.values.hubname import HubName
from fusefs.values.names import DEFAULT_TAG
from fusefs.values.webtree import WebTree

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.offers.indexer import Indexer
    from fusefs.offers.kept import HashedFile
    from fusefs.values.names import Name

_PIECE = 1 << 20


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
    manifest = Manifest.parse(raw)
    entry = partial(_entry, indexer.roots.top / "blobs", indexer)
    document = Document(raw, media_type_of(raw))
    if manifest.commit:
        document, entry = _as_folder(manifest, entry)
    return Exportable(*_place_of(name), document, entry, lambda entry: indexer.roots.open(entry.path)[0])


def _place_of(name: Name) -> tuple[str, str]:
    """Repository and tag under which a model is exported: its own; of a folder on the web, as of one that is served."""
    if isinstance(name, WebTree | HubName):
        return f"{NAMESPACE}/{model_name(name.folder[0])}", DEFAULT_TAG
    return name.repository, name.tag


def _as_folder(manifest: Manifest, entry_of: partial[HashedFile]) -> tuple[Document, partial[HashedFile]]:
    """A repository of the Hub as the folder that it is: a registry names all files by sha256."""
    files: list[tuple[str, Blob]] = []
    found: dict[Digest, HashedFile] = {}
    for layer in manifest.layers:
        digest = Digest.of(b"")
        if layer.blob.size:
            entry = entry_of(layer.blob.digest)
            digest = entry.digest
            found[digest] = entry
        files.append((layer.name, Blob(digest, layer.blob.size)))
    return Document(folder_manifest(files), OCI_MANIFEST), partial(found.__getitem__)


def _entry(blobs: Path, indexer: Indexer, digest: Digest) -> HashedFile:
    entry = hashed(partial(indexer.entry, blobs / digest.file_name))
    if entry.digest != digest if digest.is_sha256 else not _matches(entry, indexer, digest):
        raise ServeError(f"{entry.path} is damaged: its content has the digest {entry.digest}; run `fusefs verify`")
    return entry


def _matches(entry: HashedFile, indexer: Indexer, digest: Digest) -> bool:
    """Whether a file has a digest that the indexer does not compute."""
    hasher = digest.hasher(entry.stamp.size)
    with open(indexer.roots.open(entry.path)[0], "rb") as file:
        while piece := file.read(_PIECE):
            hasher.update(piece)
    return hasher.hexdigest() == digest.hex
