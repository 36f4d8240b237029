"""StoreCatalog: an OLLAMA_MODELS directory (`manifests/<host>/<namespace>/<model>/<tag>`, `blobs/sha256-<hex>`).

A fusefs cache is one too; the chunk lists that it pinned (`partial/sha256-<hex>/chunks`) are served as they are.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import threading
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from fusefs.artifacts.manifest import DOCKER_MANIFEST, MAX_MANIFEST_SIZE, Manifest
from fusefs.errors import FusefsError, InvalidManifest, InvalidName, ServeError
from fusefs.offers.catalog import Document, Offer, Refused, StoredFile
from fusefs.offers.closenames import unknown_name
from fusefs.offers.leftout import Reason
from fusefs.offers.twoforms import TwoForms
from fusefs.values.chunkpack import MAX_PACKED_SIZE, unpack
from fusefs.values.digest import Digest
from fusefs.values.filenames import part_of
from fusefs.values.names import DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG, Name
from fusefs.values.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusefs.offers.indexer import Indexer
    from fusefs.offers.kept import HashedFile
    from fusefs.offers.leftout import Allowed, LeftOut
    from fusefs.offers.stamp import Stamp
    from fusefs.values.chunks import ChunkList

log = logging.getLogger(__name__)

_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}")
"""RFC 6838; it becomes a header, so that nothing else may be in it."""

_PROVED_FIRST = 64 * MIB
"""A blob up to this size is hashed before it is served.  Nobody asks for the chunk list of one, and it takes 0.1 s."""


_LISTS = 8
"""Pinned chunk lists that stay in memory: those of the blobs that are being read; a list is at most 84 MiB."""


class _Head(msgspec.Struct, rename="camel"):
    media_type: str = ""


_head = msgspec.json.Decoder(_Head)


def is_store(directory: Path) -> bool:
    """True when `directory` looks like OLLAMA_MODELS."""
    return (directory / "manifests").is_dir() and (directory / "blobs").is_dir()


def media_type_of(manifest: bytes) -> str:
    """The media type of a manifest that has been parsed: what it says of itself, else Docker's."""
    media_type = _head.decode(manifest).media_type
    return media_type if _MEDIA_TYPE.fullmatch(media_type) else DOCKER_MANIFEST


class StoreCatalog:
    """A Catalog over a store.  Nothing is hashed before somebody asks for it: the names say the digests."""

    def __init__(self, directory: Path, indexer: Indexer, allowed: Allowed, left_out: LeftOut) -> None:
        self._directory = directory
        self._roots = indexer.roots
        self._indexer = indexer
        self._allowed = allowed
        self._left_out = left_out
        self._said: set[Path] = set()
        self._lock = threading.Lock()
        self._documents: dict[Path, tuple[Stamp, TwoForms]] = {}
        self._lists: OrderedDict[Path, tuple[Stamp, ChunkList | None]] = OrderedDict()
        self._distrusted: set[Path] = set()

    def prepare(self) -> None:
        """Look at what the names lead to, without reading a blob: what will be refused is known from the start."""
        for link in self._links():
            for forms in self._manifests([link]):
                for blob in Manifest.parse(forms.stored.raw).blobs():
                    path = self._directory / "blobs" / blob.digest.file_name
                    if path.exists() and self._closed(path.resolve()):
                        name = str(path.relative_to(self._directory))
                        self._left_out.add(Reason.CLOSED, name, f"{str(path)!r} is left out: others may not read it.")

    def hash_soon(self) -> None:
        """Nothing: the names say the digests."""

    def offers(self) -> list[Offer]:
        """See Catalog."""
        names = {
            name.repository if name.tag == DEFAULT_TAG else f"{name.repository}:{name.tag}" for name, _ in self._links()
        }
        return [Offer(name) for name in sorted(names)]

    def repositories(self) -> list[str]:
        """See Catalog."""
        return sorted({name.repository for name, _ in self._links()})

    def tags(self, repository: str) -> list[str]:
        """See Catalog."""
        return sorted({name.tag for name, _ in self._links_of(repository)})

    def manifest(self, repository: str, reference: str | Digest, *, oci: bool = False) -> Document:
        """See Catalog."""
        links = self._links_of(repository)
        if isinstance(reference, Digest):
            for forms in self._manifests(links):
                if document := forms.manifest(reference):
                    return document
        else:
            for forms in self._manifests([link for link in links if link[0].tag.lower() == reference.lower()]):
                return forms.oci if oci else forms.stored
        raise Refused("MANIFEST_UNKNOWN", f"{repository} has no manifest {reference}")

    def blobs(self, repository: str, digest: Digest) -> list[Document | StoredFile]:
        """See Catalog."""
        links = self._links_of(repository)
        try:
            path = self._blob(repository, digest)
        except Refused:
            for forms in self._manifests(links):
                if document := forms.blob(digest):
                    return [document]
            raise
        stamp = self._roots.stamp(path)
        first = stamp.size <= _PROVED_FIRST or path in self._distrusted
        entry = self._indexer.entry(path) if first else self._indexer.known(path, stamp)
        if entry is not None:
            self._check(entry, digest)
            stamp = entry.stamp
        chunks = self._pinned_list(digest, path, stamp.size) or (entry.chunks if entry else None)
        return [StoredFile(path, self._roots.open, stamp, chunks, partial(self._distrust, path))]

    def chunk_list(self, repository: str, digest: Digest) -> ChunkList:
        """See Catalog."""
        self._links_of(repository)
        path = self._blob(repository, digest)
        pinned = self._pinned_list(digest, path, self._roots.stamp(path).size)
        if pinned is not None:
            return pinned
        entry = self._indexer.entry(path)
        self._check(entry, digest)
        return entry.chunks

    def entry(self, repository: str, digest: Digest) -> HashedFile:
        """A blob whose file has been hashed and is what its name says; NotYet while it is being hashed."""
        entry = self._indexer.entry(self._blob(repository, digest))
        self._check(entry, digest)
        return entry

    def open_file(self, path: Path) -> int:
        """A descriptor of a file of the store; ServeError when it cannot be had."""
        return self._roots.open(path)[0]

    def _blob(self, repository: str, digest: Digest) -> Path:
        path = self._directory / "blobs" / digest.file_name
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError):  # RuntimeError: how Python 3.11 reports a loop of links
            raise Refused("BLOB_UNKNOWN", f"{repository} has no blob {digest}") from None
        if not self._roots.has(real):
            raise Refused("BLOB_UNKNOWN", f"the blob {digest} is a link that leads out of the served directory")
        if self._closed(real):
            raise Refused("DENIED", f"others may not read the blob {digest}: serve with --private", status=403)
        return real

    def _closed(self, real: Path) -> bool:
        return not (self._allowed.private or self._roots.others_may(real, stat.S_IROTH, {}))

    def _distrust(self, path: Path) -> None:
        """From now on the whole file decides: its pinned list may be what is wrong, too."""
        self._distrusted.add(path)
        self._indexer.distrust(path)

    def _check(self, entry: HashedFile, digest: Digest) -> None:
        if entry.digest == digest:
            return
        if entry.path not in self._said:
            self._said.add(entry.path)
            log.warning("%s is damaged and not served: its content has the digest %s.", entry.path, entry.digest)
        raise Refused("BLOB_UNKNOWN", f"the blob {digest} is damaged in this store")

    def _pinned_list(self, digest: Digest, blob: Path, size: int) -> ChunkList | None:
        path = self._roots.top / "partial" / digest.file_name / "chunks"
        if blob in self._distrusted:
            return None
        try:
            stamp = self._roots.stamp(path)
        except ServeError:
            return None
        with self._lock:  # also while it is read: many readers of one blob must not unpack its list many times
            known = self._lists.pop(path, None)
            chunks = known[1] if known is not None and known[0] == stamp else self._unpacked(path, size)
            self._lists[path] = (stamp, chunks)
            if len(self._lists) > _LISTS:
                self._lists.popitem(last=False)
        return chunks

    def _unpacked(self, path: Path, size: int) -> ChunkList | None:
        try:
            fd, _ = self._roots.open(path, closed_too=True)
            with open(fd, "rb") as file:
                chunks, _ = unpack(file.read(MAX_PACKED_SIZE + 1), size)
        except (OSError, FusefsError):
            return None
        return chunks if chunks.complete else None

    def _links(self) -> list[tuple[Name, Path]]:
        """Every name and its manifest file; the public registry's first, so that it wins where two hosts collide."""
        top = self._directory / "manifests"
        found = []
        for host in _listed(top):
            for namespace in _listed(top / host):
                for model in _listed(top / host / namespace):
                    for tag in _listed(top / host / namespace / model):
                        try:
                            name = Name.from_path(*map(part_of, (host, namespace, model, tag)))
                        except InvalidName:
                            continue  # not a manifest that anybody could ask for
                        found.append((name, top / host / namespace / model / tag))
        return sorted(found, key=lambda link: (link[0].host != DEFAULT_HOST, link[0].path))

    def _links_of(self, repository: str) -> list[tuple[Name, Path]]:
        found = self._links()
        for called in (repository, f"{DEFAULT_NAMESPACE}/{repository}"):  # as Ollama's registry and Docker Hub have it
            links = [link for link in found if link[0].repository.lower() == called.lower()]
            if links:
                return links
        raise unknown_name(repository, self.repositories())

    def _manifests(self, links: list[tuple[Name, Path]]) -> Iterator[TwoForms]:
        for _, path in links:
            try:
                yield self._read_manifest(path)
            except (ServeError, InvalidManifest) as exc:
                reason = Reason.CLOSED if isinstance(exc, _Closed) else Reason.MODEL
                name = str(path.relative_to(self._directory))
                text = f"The manifest {path} is not served: {exc}."
                self._left_out.add(reason, name, text, level=logging.WARNING)

    def _read_manifest(self, path: Path) -> TwoForms:
        """The same object as long as the file is the same: what many clients are sent is in memory once."""
        real = path.resolve()
        if not self._roots.has(real):
            raise ServeError("it is a link that leads out of the served directory")
        if self._closed(real):
            raise _Closed("others may not read it")
        fd, stamp = self._roots.open(real)
        with open(fd, "rb") as file:
            known = self._documents.get(path)
            if known is not None and known[0] == stamp:
                return known[1]
            raw = file.read(MAX_MANIFEST_SIZE + 1)
        Manifest.parse(raw)
        forms = TwoForms.of(Document(raw, media_type_of(raw)))
        self._documents[path] = stamp, forms
        return forms


class _Closed(ServeError):
    """Others may not read it."""


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []  # a stray file, or a folder that is just being removed
