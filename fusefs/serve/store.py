"""StoreCatalog: an OLLAMA_MODELS directory (`manifests/<host>/<namespace>/<model>/<tag>`, `blobs/sha256-<hex>`).

A fusefs cache is one too; the chunk lists that it pinned (`partial/sha256-<hex>/chunks`) are served as they are.
"""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING

import msgspec

from fusefs.chunkpack import MAX_PACKED_SIZE, unpack
from fusefs.config import MIB
from fusefs.digest import Digest
from fusefs.errors import FusefsError, InvalidManifest, InvalidName, ServeError
from fusefs.manifest import DOCKER_MANIFEST, MAX_MANIFEST_SIZE, Manifest
from fusefs.names import DEFAULT_HOST, Name
from fusefs.serve.catalog import Document, Refused, StoredFile
from fusefs.serve.index import open_regular
from fusefs.serve.indexer import stamp_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusefs.chunks import ChunkList
    from fusefs.serve.indexer import Indexer
    from fusefs.serve.kept import Entry

log = logging.getLogger(__name__)

_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}")
"""RFC 6838; it becomes a header, so that nothing else may be in it."""

_PROVED_FIRST = 64 * MIB
"""A blob up to this size is hashed before it is served.  Nobody asks for the chunk list of one, and it takes 0.1 s."""


class _Head(msgspec.Struct, rename="camel"):
    media_type: str = ""


_head = msgspec.json.Decoder(_Head)


def is_store(directory: Path) -> bool:
    """True when `directory` looks like OLLAMA_MODELS."""
    return (directory / "manifests").is_dir() and (directory / "blobs").is_dir()


class StoreCatalog:
    """A Catalog over a store.  Nothing is hashed before somebody asks for it: the names say the digests."""

    def __init__(self, directory: Path, indexer: Indexer) -> None:
        self._directory = directory
        self._real = directory.resolve()
        self._indexer = indexer
        self._said: set[Path] = set()

    def repositories(self) -> list[str]:
        """See Catalog."""
        return sorted({name.repository for name, _ in self._links()})

    def tags(self, repository: str) -> list[str]:
        """See Catalog."""
        return sorted({name.tag for name, _ in self._links_of(repository)})

    def manifest(self, repository: str, reference: str | Digest) -> Document:
        """See Catalog."""
        links = self._links_of(repository)
        if isinstance(reference, Digest):
            for document in self._manifests(links):
                if document.digest == reference:
                    return document
        else:
            for document in self._manifests([link for link in links if link[0].tag.lower() == reference.lower()]):
                return document
        raise Refused("MANIFEST_UNKNOWN", f"{repository} has no manifest {reference}")

    def blobs(self, repository: str, digest: Digest) -> list[Document | StoredFile]:
        """See Catalog."""
        links = self._links_of(repository)
        try:
            path = self._blob(repository, digest)
        except Refused:
            for document in self._manifests(links):
                if document.digest == digest:
                    return [document]
            raise
        stamp = stamp_of(path)
        entry = self._indexer.entry(path) if stamp.size <= _PROVED_FIRST else self._indexer.known(path)
        if entry is None:
            return [StoredFile(path, stamp)]
        self._check(entry, digest)
        return [StoredFile(path, entry.stamp)]

    def chunk_list(self, repository: str, digest: Digest) -> ChunkList:
        """See Catalog."""
        self._links_of(repository)
        path = self._blob(repository, digest)
        pinned = self._pinned_list(digest, stamp_of(path).size)
        if pinned is not None:
            return pinned
        entry = self._indexer.entry(path)
        self._check(entry, digest)
        return entry.chunks

    def _blob(self, repository: str, digest: Digest) -> Path:
        path = self._directory / "blobs" / digest.file_name
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError):  # RuntimeError: how Python 3.11 reports a loop of links
            raise Refused("BLOB_UNKNOWN", f"{repository} has no blob {digest}") from None
        if not real.is_relative_to(self._real):
            raise Refused("BLOB_UNKNOWN", f"the blob {digest} is a link that leads out of the served directory")
        return real

    def _check(self, entry: Entry, digest: Digest) -> None:
        if entry.digest == digest:
            return
        if entry.path not in self._said:
            self._said.add(entry.path)
            log.warning("%s is damaged and not served: its content has the digest %s.", entry.path, entry.digest)
        raise Refused("BLOB_UNKNOWN", f"the blob {digest} is damaged in this store")

    def _pinned_list(self, digest: Digest, size: int) -> ChunkList | None:
        path = self._directory / "partial" / digest.file_name / "chunks"
        try:
            with path.open("rb") as file:
                chunks, _ = unpack(file.read(MAX_PACKED_SIZE + 1), size)
        except (OSError, FusefsError):
            return None
        return chunks if chunks.proved else None

    def _links(self) -> list[tuple[Name, Path]]:
        """Every name and its manifest file; the public registry's first, so that it wins where two hosts collide."""
        top = self._directory / "manifests"
        found = []
        for host in _listed(top):
            for namespace in _listed(top / host):
                for model in _listed(top / host / namespace):
                    for tag in _listed(top / host / namespace / model):
                        try:
                            name = Name.from_path(host, namespace, model, tag)
                        except InvalidName:
                            continue  # not a manifest that anybody could ask for
                        found.append((name, top / host / namespace / model / tag))
        return sorted(found, key=lambda link: (link[0].host != DEFAULT_HOST, link[0].path))

    def _links_of(self, repository: str) -> list[tuple[Name, Path]]:
        links = [link for link in self._links() if link[0].repository.lower() == repository.lower()]
        if not links:
            raise Refused("NAME_UNKNOWN", f"there is no model {repository}")
        return links

    def _manifests(self, links: list[tuple[Name, Path]]) -> Iterator[Document]:
        for _, path in links:
            try:
                yield _read_manifest(self._real, path)
            except (ServeError, InvalidManifest) as exc:
                if path not in self._said:
                    self._said.add(path)
                    log.warning("The manifest %s is not served: %s.", path, exc)


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []  # a stray file, or a folder that is just being removed


def _read_manifest(root: Path, path: Path) -> Document:
    if not path.resolve().is_relative_to(root):
        raise ServeError("it is a link that leads out of the served directory")
    fd, _ = open_regular(path)
    with open(fd, "rb") as file:
        raw = file.read(MAX_MANIFEST_SIZE + 1)
    Manifest.parse(raw)
    media_type = _head.decode(raw).media_type
    return Document(raw, media_type if _MEDIA_TYPE.fullmatch(media_type) else DOCKER_MANIFEST)
