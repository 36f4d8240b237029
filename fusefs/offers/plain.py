"""PlainCatalog: folders of ordinary files as models `local/<name>:latest`, one layer a file."""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from fusefs.artifacts.foldermanifest import folder_manifest
from fusefs.artifacts.manifest import DOCKER_MANIFEST, OCI_MANIFEST, Manifest
from fusefs.errors import InvalidManifest, ServeError
from fusefs.offers.catalog import Document, Offer, Refused, StoredFile
from fusefs.offers.closenames import unknown_name
from fusefs.offers.folders import NAMESPACE
from fusefs.offers.leftout import Reason
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest
from fusefs.values.names import DEFAULT_TAG

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.offers.folders import Folder, Found
    from fusefs.offers.indexer import Indexer
    from fusefs.offers.kept import HashedFile
    from fusefs.offers.leftout import LeftOut
    from fusefs.values.chunks import ChunkList


@dataclass(frozen=True, slots=True)
class _Model:
    """One model as its folder was when it was last looked at."""

    files: dict[str, HashedFile]
    manifest: Document
    documents: dict[Digest, Document]
    by_digest: dict[Digest, list[HashedFile]]


@dataclass(slots=True)
class _Slot:
    """The place of one model; its lock is held while its folder is read, so that this is done once."""

    model: _Model | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class PlainCatalog:
    """A Catalog over plain folders.  A folder is looked at again whenever its manifest is asked for."""

    def __init__(self, folder: Folder, indexer: Indexer, left_out: LeftOut) -> None:
        self._top = folder
        self._indexer = indexer
        self._left_out = left_out
        self._prepared: dict[str, tuple[Path, dict[str, Found]]] = {}
        self._slots: dict[Path, _Slot] = {}
        self._unserved: set[Path] = set()
        self._lock = threading.Lock()

    @property
    def seen(self) -> set[str]:
        """See `Folder.seen`."""
        return self._top.seen

    def prepare(self) -> None:
        """Look at the names of everything that is there.

        Raises:
            ServeError: there is no model at all.
            InvalidSetting: none of the files is chosen.
        """
        for name, folder in self._top.models().items():
            try:
                self._prepared[name] = folder, self._files(folder)
            except ServeError as exc:
                if not self._left_out.has(folder.name):
                    reason = Reason.EMPTY if _is_empty(folder) else Reason.MODEL
                    text = f"The model {NAMESPACE}/{name} is not served: {exc}."
                    self._left_out.add(reason, folder.name, text, level=logging.WARNING)
        if not self._prepared:
            self._top.check_chosen()
            what = self._left_out.line() or "want a folder of files, or folders of files"
            raise ServeError(f"{self._top.path} holds no model: {what}")

    def hash_soon(self) -> None:
        """Have everything hashed that must be, in the order of the names."""
        prepared, self._prepared = self._prepared, {}
        for name, (folder, files) in prepared.items():
            self._indexer.hash_soon(files.values(), str(folder), f"{NAMESPACE}/{name}")

    def offers(self) -> list[Offer]:
        """See Catalog."""
        return sorted(
            (
                Offer(f"{NAMESPACE}/{name}", folder.name if folder.name != name else "")
                for name, folder in self._top.models().items()
                if folder not in self._unserved
            ),
            key=lambda offer: offer.name,
        )

    def repositories(self) -> list[str]:
        """See Catalog."""
        return [offer.name for offer in self.offers()]

    def tags(self, repository: str) -> list[str]:
        """See Catalog."""
        self._folder(repository)
        return [DEFAULT_TAG]

    def manifest(self, repository: str, reference: str | Digest, *, oci: bool = False) -> Document:  # noqa: ARG002
        """See Catalog.  A tag means the OCI form, whoever asks: a folder has no older one that clients wait for."""
        model = self._refresh(*self._folder(repository))
        if isinstance(reference, str):
            if reference.lower() == DEFAULT_TAG:
                return model.manifest
        elif reference in model.documents:
            return model.documents[reference]
        raise Refused("MANIFEST_UNKNOWN", f"{repository} has no manifest {reference}")

    def blobs(self, repository: str, digest: Digest) -> list[Document | StoredFile]:
        """See Catalog."""
        model = self._model(repository)
        if digest in model.documents:
            return [model.documents[digest]]
        return [
            StoredFile(
                entry.path, self._indexer.roots.open, entry.stamp, entry.chunks, partial(self._distrust, entry.path)
            )
            for entry in self._entries(model, repository, digest)
        ]

    def chunk_list(self, repository: str, digest: Digest) -> ChunkList:
        """See Catalog."""
        return self._entries(self._model(repository), repository, digest)[0].chunks

    def entry(self, repository: str, digest: Digest) -> HashedFile:
        """The file that has the digest; NotYet while it is being hashed."""
        return self._entries(self._model(repository), repository, digest)[0]

    def open_file(self, path: Path) -> int:
        """A descriptor of a file of the folder; ServeError when it cannot be had."""
        return self._indexer.roots.open(path)[0]

    def _distrust(self, path: Path) -> None:
        self._indexer.distrust(path)
        with self._lock:
            slots = list(self._slots.values())
        for slot in slots:
            with slot.lock:
                if slot.model is not None and any(entry.path == path for entry in slot.model.files.values()):
                    slot.model = None

    def _folder(self, repository: str) -> tuple[str, Path]:
        """The model's name and folder."""
        for name, folder in self._top.models().items():
            if f"{NAMESPACE}/{name}".lower() == repository.lower():
                return name, folder
        raise unknown_name(repository, self.repositories())

    def _model(self, repository: str) -> _Model:
        """The model as it was last looked at: a blob that a client knows of needs no new look at the folder."""
        name, folder = self._folder(repository)
        slot = self._slots.get(folder)
        return (slot and slot.model) or self._refresh(name, folder)

    @staticmethod
    def _entries(model: _Model, repository: str, digest: Digest) -> list[HashedFile]:
        entries = model.by_digest.get(digest)
        if not entries:
            raise Refused("BLOB_UNKNOWN", f"{repository} has no blob {digest}")
        return entries

    def _files(self, folder: Path) -> dict[str, Found]:
        """The files of a model, one at least."""
        try:
            files = self._top.files_of(folder)
            if not files:
                raise Refused("MANIFEST_UNKNOWN", f"the folder of {folder.name} holds no file that may be served")
        except ServeError:
            self._unserved.add(folder)
            raise
        self._unserved.discard(folder)
        return files

    def _refresh(self, name: str, folder: Path) -> _Model:
        with self._lock:
            slot = self._slots.setdefault(folder, _Slot())
        with slot.lock:
            files = self._indexer.entries(self._files(folder), str(folder), f"{NAMESPACE}/{name}")
            if slot.model is None or slot.model.files != files:
                before = slot.model.files.values() if slot.model else ()
                for gone in {entry.path for entry in before} - {entry.path for entry in files.values()}:
                    self._indexer.forget(gone)
                slot.model = _model_of(files)
            return slot.model


def _is_empty(folder: Path) -> bool:
    try:
        return not os.listdir(folder)
    except OSError:
        return False


def _model_of(files: dict[str, HashedFile]) -> _Model:
    """The same files always give the same manifest, on every machine.

    Raises:
        ServeError: our own client would refuse it.
    """
    by_digest: dict[Digest, list[HashedFile]] = {}
    for entry in files.values():
        by_digest.setdefault(entry.digest, []).append(entry)
    named = [(name, Blob(entry.digest, entry.stamp.size)) for name, entry in files.items()]
    manifest, former = (
        Document(folder_manifest(named, kind), kind)
        # The content is the same in both forms.  Docker's has a closed set of types for layers, so that tools refuse
        # it; it stays for who pinned its digest.
        for kind in (OCI_MANIFEST, DOCKER_MANIFEST)
    )
    try:
        Manifest.parse(manifest.raw)
    except InvalidManifest as exc:
        raise ServeError(str(exc)) from exc
    return _Model(files, manifest, {manifest.digest: manifest, former.digest: former}, by_digest)
