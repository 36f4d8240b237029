"""What the cache of the Hugging Face Hub's library has of a repository: files, to be read in place, and a listing.

A file counts when it has the hash that its name says.  Large ones are hashed once, and again when they have changed
(`fusefs.offers.kept`); those that git keeps are small and are hashed each time.  A file that counts is held open: the
library may remove it at any time, and its bytes stay.  Nothing is written there, and nothing is locked.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from fusefs.artifacts.manifest import Manifest
from fusefs.errors import InvalidManifest, ServeError
from fusefs.offers.hubrepository import HubRepository
from fusefs.offers.indexer import Indexer, hashed
from fusefs.offers.inplace import InPlace
from fusefs.system.files import preadv_all
from fusefs.values.chunks import ChunkList
from fusefs.values.digest import Digest
from fusefs.values.selection import EVERYTHING
from fusefs.values.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fusefs.artifacts.hubtree import HubTree
    from fusefs.offers.folders import Found
    from fusefs.offers.indexer import Progress
    from fusefs.offers.inplace import ProvedChunks
    from fusefs.offers.kept import KeptDigests
    from fusefs.offers.roots import Roots
    from fusefs.values.chunks import Blob
    from fusefs.values.hubendpoint import HubEndpoint
    from fusefs.values.hubname import HubName
    from fusefs.values.names import Name
    from fusefs.values.selection import Selection

CHUNK = MIB
"""Bytes that are hashed to serve one: as `fusefs serve` makes them, so that both use the digests that are kept."""

_LARGEST_OF_GIT = 64 * MIB
"""Bytes of a file that is hashed in memory; the Hub keeps what is larger than 10 MB by pointers."""

_MOST_HELD = 512
"""Files that are held open; the others are opened when they are read."""


@dataclass(slots=True)
class HubFound:
    """What there is of some repositories.

    Attributes:
        files: by digest, each hashed, to be read in place.
        documents: of each name, what it was made of when the library asked last.
        partial: those of the names of which the library keeps no listing: files may be missing.
        bytes_hashed: read in order to hash them.
    """

    files: dict[Digest, InPlace] = field(default_factory=dict)
    documents: dict[Name, Manifest] = field(default_factory=dict)
    partial: set[Name] = field(default_factory=set)
    bytes_hashed: int = 0


class HubFinder:
    """Looks into one cache.  Blocking, for as long as it takes to hash what is new.

    Attributes:
        found: so far.
    """

    def __init__(
        self,
        cache: Path,
        hub: HubEndpoint,
        kept: KeptDigests,
        proved: ProvedChunks,
        *,
        private: bool,
        warn: Callable[[str], None],
        progress: Progress | None = None,
        elsewhere: Callable[[Blob], bool] = lambda _: False,
        selection: Selection = EVERYTHING,
    ) -> None:
        """Prepare to look.

        Args:
            cache: its folder; it need not be there.
            hub: of which the library has its references; bytes have hashes, and are those of any Hub.
            kept: digests of earlier runs.
            proved: keeps chunks for the next reads.
            private: use files that other users may not read.
            warn: told in one line of a file that is not what its name says.
            progress: called while files are hashed.
            elsewhere: whether there is a better place for a blob, so that its file here need not be hashed.
            selection: which files are wanted; the others are not hashed.
        """
        self.found = HubFound()
        self._cache = cache
        self._hub = hub
        self._kept = kept
        self._proved = proved
        self._private = private
        self._warn = warn
        self._progress = progress
        self._elsewhere = elsewhere
        self._selection = selection

    def look(self, name: HubName) -> None:
        """Find what there is of a repository at its revision."""
        try:
            repository = HubRepository(self._cache, name.kind, name.repository, closed_too=self._private)
        except ServeError:
            return  # there is no such cache
        commit = name.fixed or repository.commit(name.tag)
        tree, known = repository.listed(commit) if commit is not None else None, True
        if tree is None and commit is not None:
            tree, known = repository.linked(commit), False
        if tree is None:
            return
        if name.hub == self._hub:
            self._remember(name, tree, known=known)
        places: dict[Blob, Found] = {}
        for file in filter(lambda file: self._selection.shows(file.path), tree.files):
            if file.blob.size and file.blob.digest not in self.found.files and not self._elsewhere(file.blob):
                place = repository.blob(file)
                if place is not None:
                    places[file.blob] = place
        self._hash(name, places, repository.roots)

    def _remember(self, name: HubName, tree: HubTree, *, known: bool) -> None:
        with contextlib.suppress(InvalidManifest):  # too many names to be one
            self.found.documents[name] = Manifest.parse(tree.document())
            if not known:
                self.found.partial.add(name)

    def _hash(self, name: HubName, places: dict[Blob, Found], roots: Roots) -> None:
        indexer = Indexer(self._kept, CHUNK, roots, self._progress)
        try:
            large = [place for blob, place in places.items() if blob.digest.is_sha256]
            indexer.hash_soon(large, str(roots.top), name.short)
            for blob, place in places.items():
                with contextlib.suppress(ServeError):  # gone, or unreadable: as if it had never been there
                    find = _chunks_of_large if blob.digest.is_sha256 else _chunks_of_small
                    self._add(blob, place, find(place, blob.digest, indexer, name.short), roots)
        finally:
            indexer.stop()
            self.found.bytes_hashed += indexer.bytes_hashed

    def _add(self, blob: Blob, place: Found, chunks: ChunkList | None, roots: Roots) -> None:
        if chunks is None:
            self._warn(f"{place.path} is not what its name says, and is not used; `hf cache verify` says more")
            return
        file = InPlace(blob, place.path, chunks, partial(_open, roots, place.path), self._proved)
        if len(self.found.files) < _MOST_HELD:
            file.hold()
        self.found.files[blob.digest] = file


def _chunks_of_large(place: Found, digest: Digest, indexer: Indexer, label: str) -> ChunkList | None:
    # Under the key by which it was queued, or it would be hashed twice.
    entry = hashed(partial(indexer.entries, {"": place}, str(indexer.roots.top), label))[""]
    return entry.chunks if entry.digest == digest else None


def _chunks_of_small(place: Found, digest: Digest, indexer: Indexer, _label: str) -> ChunkList | None:
    size = place.stamp.size
    if size > _LARGEST_OF_GIT:
        raise ServeError(f"{place.path} is too large for a file that git keeps")
    fd = _open(indexer.roots, place.path)
    try:
        data = bytearray(size)
        if preadv_all(fd, memoryview(data), 0) != size or not digest.matches(data):
            return None
    except OSError as exc:
        raise ServeError(f"cannot read {place.path}: {exc.strerror}") from exc
    finally:
        os.close(fd)
    return ChunkList.uniform(size, size).with_digests(Digest.of(data).raw)


def _open(roots: Roots, path: Path) -> int:
    return roots.open(path)[0]
