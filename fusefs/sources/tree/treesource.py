"""TreeSource: files and a list of their digests as a Source, whose document is made here.

The document is the manifest of a folder with the paths, digests and sizes of the list: the same files give the same
bytes wherever they lie, so that its digest pins them, and a cache that has it needs no network.  Sizes that a list
does not have are asked for, file by file.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fusefs.artifacts.foldermanifest import folder_manifest
from fusefs.artifacts.listedfile import MAX_LIST_SIZE, ListedFile, checked_name, each_once
from fusefs.artifacts.locklist import listed_of, parse_locked
from fusefs.artifacts.manifest import MAX_LAYERS
from fusefs.artifacts.metalink import parse_metalink
from fusefs.artifacts.sums import parse_sums
from fusefs.errors import Cancelled, InvalidChunkList, ModelNotFound, NotFound, SourceError, Unauthorized
from fusefs.sources.tree.discovery import discovered
from fusefs.values.chunks import Blob, ChunkList
from fusefs.values.digest import Digest
from fusefs.values.lockfile import list_digest
from fusefs.values.webtree import WebTree

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.sources.base import Body
    from fusefs.sources.tree.treeserver import RemoteFiles, Seen
    from fusefs.values.chunks import Chunk
    from fusefs.values.lockfile import Lock
    from fusefs.values.names import Name

log = logging.getLogger(__name__)

_AT_ONCE = 8
"""Files whose size is asked for at once."""

_MANY = 64
"""Sizes that a list lacks above which they are looked up together, where a server can tell them so."""

_EMPTY = Digest.of(b"")

LOCK = "fusefs.lock"
"""The name under which a lock is looked for, behind those of other lists."""

CHUNKSUMS = ".chunksums"
"""Behind the name of a file: that of its chunk list, as `fusefs index` writes it."""


@dataclass(frozen=True, slots=True)
class _Listing:
    """What a name consists of now.

    Attributes:
        document: the manifest.
        files: by digest; of several with the same content the first.
        places: where each lies.
    """

    document: bytes
    files: dict[Digest, ListedFile]
    places: dict[Digest, tuple[str, ...]]


class TreeSource:
    """A Source and a Remote over `files`."""

    def __init__(self, files: RemoteFiles, *, unproved: bool = False, lock: Lock | None = None) -> None:
        """Make one.

        Args:
            files: where the files are.
            unproved: what nothing proves is wanted all the same.
            lock: has the digests of a folder that has none itself.
        """
        self.label = files.label
        self._unproved = unproved
        self._lock_file = lock
        self.host = files.host
        self._files = files
        self._listings: dict[WebTree, _Listing] = {}
        self._seen: dict[str, Seen] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def manifest(self, name: Name) -> bytes:
        """See `Source.manifest`."""
        listing = self._look(_tree(name))
        if name.digest is not None and not name.digest.matches(listing.document):
            raise ModelNotFound(
                f"{name.short} is another model by now: its document has the digest {Digest.of(listing.document)}",
                source=self.label,
            )
        return listing.document

    def chunk_list(self, name: Name, blob: Blob) -> ChunkList | None:
        """See `Source.chunk_list`: the pieces of a Metalink, else what lies beside the file as `<file>.chunksums`."""
        listing = self._listing(_tree(name))
        file = listing.files.get(blob.digest)
        if file is None or file.size != blob.size:
            return None
        if file.pieces is not None:
            with contextlib.suppress(InvalidChunkList):  # of pieces that are too small or too large for a list
                return ChunkList.uniform(blob.size, file.pieces.size).with_digests(file.pieces.digests)
        try:
            raw = self._files.fetch(listing.places[blob.digest][0] + CHUNKSUMS, MAX_LIST_SIZE + 1)
        except SourceError as exc:
            # A bucket whose objects nobody may list says "forbidden" of one that is not there (S3 without ListBucket),
            # and so do many web servers.  Whether the file itself may be had, its own request will tell.
            if exc.temporary:
                raise
            if not isinstance(exc, NotFound | Unauthorized):
                log.warning("%s: the chunk list of %s is not used: %s", self.label, file.path, exc)
            return None
        chunks = ChunkList.parse(blob.size, [raw])
        if file.chunks is not None and list_digest(chunks) != file.chunks:
            log.warning("%s: the chunk list of %s is not the one in the lock, and is not used", self.label, file.path)
            return None
        return chunks

    def open_range(self, name: Name, blob: Blob, chunk: Chunk) -> Body:
        """See `Source.open_range`.  Of several places the first that has the file counts."""
        if chunk.end >= blob.size:
            raise SourceError(f"bytes {chunk} lie behind the end of a blob of {blob.size}", source=self.label)
        places = self._listing(_tree(name)).places.get(blob.digest)
        if not places:
            raise NotFound(f"{name.short} does not list {blob.digest} any more", source=self.label)
        for place in places:
            try:
                body, seen = self._files.open(place, blob, chunk, self._seen.get(place))
            except SourceError:
                if place == places[-1]:
                    raise
                continue
            with self._lock:
                self._seen.setdefault(place, seen)
            return body
        raise AssertionError("the last place returns or raises")

    def close(self) -> None:
        """See `Source.close`."""
        self._closed.set()
        self._files.close()

    @property
    def ignores_range(self) -> bool:
        """See `Remote.ignores_range`."""
        return self._files.ignores_range

    def refresh(self) -> None:
        """See `Remote.refresh`.  What has changed is believed from now on, as far as its digests allow."""
        self._files.refresh()
        with self._lock:
            self._seen.clear()
            self._listings.clear()

    def in_flight(self) -> list[str]:
        """See `Remote.in_flight`."""
        return self._files.in_flight()

    # ---- what there is

    def _listing(self, name: WebTree) -> _Listing:
        """As it was when it was asked for last; a manifest out of a cache was never asked for."""
        if self._closed.is_set():
            raise Cancelled("the source is closed")
        listing = self._listings.get(name)
        return listing if listing is not None else self._look(name)

    def _look(self, name: WebTree) -> _Listing:
        if self._closed.is_set():
            raise Cancelled("the source is closed")
        folder = name.model[: name.model.rindex("/") + 1] if "/" in name.model else "/"
        files = self._sized(folder, self._listed(name))
        named = [(file.path, Blob(file.digest, file.size or 0)) for file in files]
        by_digest: dict[Digest, ListedFile] = {}
        places: dict[Digest, tuple[str, ...]] = {}
        for file in files:
            if by_digest.setdefault(file.digest, file) is file:
                places[file.digest] = self._places(folder, file)
        listing = _Listing(folder_manifest(named), by_digest, places)
        with self._lock:
            self._listings[name] = listing
        return listing

    def _listed(self, name: WebTree) -> tuple[ListedFile, ...]:
        """The files, as the first list that is there has them.

        Raises:
            ModelNotFound: there is none.
        """
        if name.file_digest is not None:
            return (ListedFile(checked_name(name.leaf), name.file_digest),)
        lists = [name.leaf]
        if not name.lists:
            lists = ["SHA256SUMS", *([f"{name.folder[0]}.meta4"] if name.folder[0] else []), LOCK]
        folder = name.model[: name.model.rindex("/") + 1] if "/" in name.model else ""
        for one in lists:
            try:
                if not folder:
                    break
                raw = self._files.fetch(self._files.at(folder, one), MAX_LIST_SIZE + 1)
            except NotFound:
                continue
            return _parser_of(one)(raw, f"{self.label}{folder}{one}")
        why = f"{folder or name.model} has no {' and no '.join(lists)}"
        if name.lists or not folder:
            raise ModelNotFound(why, source=self.label)
        return self._locked(name) or self._discovered(name, folder, why)

    def _locked(self, name: WebTree) -> tuple[ListedFile, ...]:
        """The files as a lock has them; none where it has none, or what it has the server tells itself."""
        model = None if self._lock_file is None else self._lock_file.of_source(name)
        if model is None or not model.paths or not all(blob.digest.is_sha256 for blob in model.blobs):
            return ()
        return each_once(listed_of(model), "the lock")

    def _discovered(self, name: WebTree, folder: str, why: str) -> tuple[ListedFile, ...]:
        """The files as the server tells them.

        Raises:
            ModelNotFound: it does not, or nothing proves a single one and that is not allowed.
        """
        allow = "`--unproved allow` (mount, run, pull) takes its files for what they are now, and proves nothing"
        if self._files.web:
            allow += f"; for a model of a registry leave out the slash: {name.url.rstrip('/')}"
            if not self._unproved:
                raise ModelNotFound(f"{why}; {allow}", source=self.label)
        try:
            found = discovered(self._files, folder, (CHUNKSUMS,))
        except NotFound as exc:
            raise ModelNotFound(f"{why}, and nothing else ({exc})", source=self.label) from exc
        except Unauthorized as exc:
            raise Unauthorized(f"{why}, and cannot be listed: {exc}", source=self.label) from exc
        if not found:
            raise ModelNotFound(f"{why}, and no file", source=self.label)
        if not self._unproved and not any(file.size and file.digest.proves for file, _, _ in found):
            raise ModelNotFound(f"{why}, and keeps no sha256 of its {len(found)} files; {allow}", source=self.label)
        with self._lock:
            self._seen.update({place: seen for _, place, seen in found})
        return tuple(file for file, _, _ in found)

    def _places(self, folder: str, file: ListedFile) -> tuple[str, ...]:
        web = [url for url in file.urls if url.startswith(("https://", "http://"))] if self._files.web else []
        return tuple(self._files.at(folder, path) for path in web or [file.path])

    def _sized(self, folder: str, files: tuple[ListedFile, ...]) -> list[ListedFile]:
        """The files with their sizes."""
        lacking = sum(file.size is None for file in files)
        known = self._files.listed(folder, MAX_LAYERS) if lacking > _MANY else {}

        def sized(file: ListedFile) -> ListedFile:
            if file.size is not None:
                return file
            if file.digest == _EMPTY:
                return replace(file, size=0)
            place = self._places(folder, file)[0]
            seen = known.get(place) or self._files.look(place)
            with self._lock:
                self._seen[place] = seen
            return replace(file, size=seen.size)

        if lacking < 2:
            return [sized(file) for file in files]
        with ThreadPoolExecutor(_AT_ONCE, "sizes") as pool:
            return list(pool.map(sized, files))


def _tree(name: Name) -> WebTree:
    """The name without the digest that it may pin: both have one listing."""
    assert isinstance(name, WebTree)
    return replace(name, digest=None)


def _parser_of(leaf: str) -> Callable[[bytes, str], tuple[ListedFile, ...]]:
    if leaf.lower().endswith(".lock"):
        return parse_locked
    return parse_metalink if leaf.lower().endswith((".meta4", ".metalink")) else parse_sums
