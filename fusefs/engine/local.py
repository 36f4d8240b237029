"""LocalModels: the models of folders of this machine, to be read in place: no network, no server, nothing copied.

A folder's files are hashed once, and again when they have changed; digests are kept where `fusefs serve` keeps them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fusefs.artifacts.manifest import Manifest
from fusefs.artifacts.snapshots import snapshot_of
from fusefs.cache.place import Place
from fusefs.engine.archivesinplace import contents_in_place
from fusefs.engine.hublocal import CHUNK, HubFinder
from fusefs.errors import FusefsError, InvalidName, ServeError
from fusefs.offers.choose import catalog_of, default_kept
from fusefs.offers.indexer import hashed
from fusefs.offers.inplace import InPlace, ProvedChunks
from fusefs.offers.kept import KeptDigests
from fusefs.offers.leftout import Allowed, LeftOut
from fusefs.offers.plain import PlainCatalog
from fusefs.system.hubplaces import hub_for
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from fusefs.values.selection import EVERYTHING
from fusefs.values.snapshot import File, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fusefs.offers.catalog import Offer
    from fusefs.offers.choose import LocalCatalog
    from fusefs.offers.indexer import Progress
    from fusefs.values.chunks import Blob
    from fusefs.values.hubname import HubName
    from fusefs.values.reference import LocalPath
    from fusefs.values.selection import Selection

_HOST = "localhost"
"""Of the names of local models, which have no registry."""


@dataclass(slots=True)
class LocalModels:
    """What the folders among the sources hold.

    Attributes:
        snapshots: by source.
        files: where each of their blobs lies, and blobs of the Hub that its library has.
        documents: what names of the Hub were made of when its library asked last; for when nobody can be asked.
        partial: those of the names of which only what was downloaded is known.
        seen: paths of files of folders, where some were chosen; the others are neither hashed nor in a snapshot.
    """

    snapshots: dict[LocalPath, list[Snapshot]] = field(default_factory=dict)
    files: dict[Digest, InPlace] = field(default_factory=dict)
    documents: dict[Name, Manifest] = field(default_factory=dict)
    partial: set[Name] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)


class LocalOpener:
    """Opens folders.  Blocking, for as long as it takes to hash what is new.

    Attributes:
        models: what was found.
        bytes_hashed: bytes that were read in order to hash them.
    """

    def __init__(
        self,
        memory: int,
        *,
        others: bool,
        warn: Callable[[str], None],
        progress: Progress | None = None,
        kept: Path | None = None,
        selection: Selection = EVERYTHING,
    ) -> None:
        """Prepare to open folders.

        Args:
            memory: bytes of proved chunks that are kept for the next reads.
            others: other users will read the mount, so that files that they may not read are left out.
            warn: told in one line what is left out.
            progress: called while files are hashed.
            kept: where digests are kept; None for the place where `fusefs serve` keeps them.
            selection: which files of folders are wanted; those of a store are all hashed.
        """
        self.models = LocalModels()
        self.bytes_hashed = 0
        self._allowed = Allowed(private=not others, selection=selection)
        self._warn = warn
        self._progress = progress
        self._kept = KeptDigests(kept or default_kept(), CHUNK)
        self._proved = ProvedChunks(memory)

    def open(self, source: LocalPath) -> None:
        """Add the models of a folder: a folder of files is one, an OLLAMA_MODELS store or a folder of folders several.

        Raises:
            InvalidName: it is no folder.
            ServeError: it holds no model, or cannot be read.
            InvalidSetting: none of its files is chosen.
        """
        directory = Path(os.path.abspath(os.path.expanduser(source.path)))
        if not directory.is_dir():
            reason = "name the folder that holds this file" if directory.exists() else "there is no such folder"
            raise InvalidName(f"{source.path}: {reason}")
        left_out = LeftOut()
        catalog, indexer = catalog_of(directory, self._allowed, left_out, self._kept, CHUNK, self._progress)
        try:
            catalog.prepare()
            catalog.hash_soon()
            self.models.snapshots[source] = self._models(catalog)
            if isinstance(catalog, PlainCatalog):
                self.models.seen |= catalog.seen
        finally:
            indexer.stop()
            self.bytes_hashed += indexer.bytes_hashed
        if line := left_out.line():
            self._warn(f"{source.path}: {line}")

    def adopt(self, names: Iterable[HubName], hub_cache: Path, cache: Path | None) -> None:
        """Add what the cache of the Hub's library has of some repositories.

        Args:
            names: of them.
            hub_cache: of the library; it need not be there.
            cache: ours; what that has whole is read there, which is faster.  None: whatever it has.
        """
        finder = HubFinder(
            hub_cache,
            hub_for(""),
            self._kept,
            self._proved,
            private=self._allowed.private,
            warn=self._warn,
            progress=self._progress,
            elsewhere=partial(_is_sealed, cache) if cache is not None else lambda _: False,
            selection=self._allowed.selection,
        )
        for name in names:
            finder.look(name)
        found = finder.found
        self.bytes_hashed += found.bytes_hashed
        self.models.files |= found.files
        self.models.documents |= found.documents
        self.models.partial |= found.partial

    def _models(self, catalog: LocalCatalog) -> list[Snapshot]:
        """All that can be read whole; the others are told, and if there is none, the first is the error."""
        found: list[Snapshot] = []
        failed: dict[str, FusefsError] = {}
        for offer in catalog.offers():
            try:
                found.append(self._model(catalog, offer))
            except FusefsError as exc:
                failed[offer.name] = exc
        if not found and failed:
            raise next(iter(failed.values()))
        for name, reason in failed.items():
            self._warn(f"{name} is left out: {reason}")
        return found

    def _model(self, catalog: LocalCatalog, offer: Offer) -> Snapshot:
        name = Name.parse(f"{_HOST}/{offer.name}")
        manifest = Manifest.parse(hashed(partial(catalog.manifest, name.repository, name.tag)).raw)
        times: dict[Digest, int] = {}
        for blob in dict.fromkeys(manifest.blobs()):
            if not blob.size and blob.digest.matches(b""):
                continue  # a cache keeps no file for it
            entry = hashed(partial(catalog.entry, name.repository, blob.digest))
            if entry.stamp.size != blob.size:
                raise ServeError(f"{entry.path} has {entry.stamp.size} bytes, not {blob.size} as its manifest says")
            times[blob.digest] = entry.stamp.mtime_ns
            opening = partial(catalog.open_file, entry.path)
            self.models.files[blob.digest] = InPlace(blob, entry.path, entry.chunks, opening, self._proved)
        contents = contents_in_place(manifest, self.models.files)
        snapshot = snapshot_of(name, manifest, max(times.values(), default=0), contents)
        return replace(snapshot, files=tuple(_as_it_lies(file, times) for file in snapshot.files))


def _is_sealed(cache: Path, blob: Blob) -> bool:
    """Whether our cache has all of a blob, as far as its name and its size say; who reads it finds out."""
    try:
        return os.lstat(Place(cache, blob.digest).sealed).st_size == blob.size
    except OSError:
        return False


def _as_it_lies(file: File, times: dict[Digest, int]) -> File:
    """A file with the time of the file that it is."""
    if isinstance(file.content, bytes):
        return file
    if not file.content.size:
        return replace(file, content=b"")
    if not file.content.is_whole:
        return file  # the archive says when its files were made
    return replace(file, mtime_ns=times[file.content.blob.digest])
