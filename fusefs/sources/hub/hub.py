"""HubSource: a Hugging Face Hub as a Source.

Its document is made of the listing of a tree (`fusefs.artifacts.hubtree`), its blobs are the files in it: what the Hub
keeps in git by git's hash, all else by sha256.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

from fusefs.artifacts.listedfile import MAX_LIST_SIZE
from fusefs.errors import Cancelled, FusefsError, ModelNotFound, NotFound, SourceError
from fusefs.sources.hub.hubclient import HubClient
from fusefs.sources.hub.hubfiles import HubFiles
from fusefs.sources.hub.hubtrees import HubTrees
from fusefs.sources.hub.hubxet import HubXet
from fusefs.sources.hub.treepages import Listing
from fusefs.sources.tree.treesource import CHUNKSUMS
from fusefs.values.chunks import Blob, Chunk, ChunkList
from fusefs.values.digest import Digest
from fusefs.values.hubname import HubName

if TYPE_CHECKING:
    from fusefs.artifacts.hubtree import HubFile, HubTree
    from fusefs.net.circuit import Circuits
    from fusefs.sources.base import Body
    from fusefs.sources.hub.hubtrees import KnownTree
    from fusefs.values.hubendpoint import HubEndpoint
    from fusefs.values.names import Name
    from fusefs.values.settings import Settings
    from fusefs.values.voucher import Voucher

log = logging.getLogger(__name__)

_FRESH = 120.0
"""Seconds for which an interrupted listing may go on: a branch leads elsewhere when somebody pushes to it."""


class HubSource:
    """A Source, a Remote and a Learner.

    Attributes:
        label: the host of the Hub.
        host: as its origin is called in messages.
    """

    def __init__(self, hub: HubEndpoint, settings: Settings, circuits: Circuits | None = None) -> None:
        """Make one; nothing is connected yet.

        Raises:
            SourceError: its host cannot be part of a URL.
        """
        self._client = HubClient(hub, settings, circuits)
        self.label, self.host = self._client.label, self._client.host
        self._files = HubFiles(self._client)
        self._xet = HubXet(self._client, self._files, settings)
        self._trees = HubTrees()
        self._timeout = settings.timeout
        self._begun: dict[HubName, Listing] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def manifest(self, name: Name) -> bytes:
        """See `Source.manifest`: the document of the tree."""
        self._check_open()
        tree = self._listed(_of_hub(name))
        document = tree.document()
        digest = Digest.of(document)
        if name.digest not in (None, digest) and name.digest == Digest.of(earlier := tree.without_xet().document()):
            document, digest = earlier, name.digest
        if name.digest not in (None, digest):
            raise ModelNotFound(
                f"{name.short} is another one by now: at commit {tree.commit} its document has the digest {digest}",
                source=self.label,
            )
        self.learn(name, digest, document)
        return document

    def learn(self, name: Name, digest: Digest, document: bytes) -> None:
        """See `Learner.learn`."""
        self._trees.learn(name, digest, document)

    def chunk_list(self, name: Name, blob: Blob) -> ChunkList | None:
        """See `Source.chunk_list`: what is beside it as `<file>.chunksums`, else what the Xet store proves."""
        self._check_open()
        known = self._known(name)
        file = known.by_blob.get(blob)
        beside = known.by_path.get(file.path + CHUNKSUMS) if file is not None else None
        if file is None:
            return None
        if beside is None or not 0 < beside.blob.size <= MAX_LIST_SIZE:
            return self._xet.chunk_list(_of_hub(name), known.tree.commit, file)
        raw = self._whole(_of_hub(name), known, beside)
        if not beside.blob.digest.matches(raw):
            log.warning("%s: the chunk list %s is not used: it is not what the listing says", self.label, beside.path)
            return None
        chunks = ChunkList.parse(blob.size, [raw])
        self._xet.has_list(file)
        return chunks

    def evidence_voucher(self, name: Name, blob: Blob) -> Voucher | None:
        """See `Evidencing.evidence_voucher`."""
        known = self._trees.get(name)
        file = None if known is None else known.by_blob.get(blob)
        return self._xet.voucher(_of_hub(name), file) if file is not None and file.xet else None

    def open_range(self, name: Name, blob: Blob, chunk: Chunk) -> Body:
        """See `Source.open_range`."""
        self._check_open()
        if chunk.end >= blob.size:
            raise SourceError(f"bytes {chunk} lie behind the end of a blob of {blob.size}", source=self.label)
        known = self._known(name)
        file = known.by_blob.get(blob)
        if file is None:
            raise NotFound(f"{name.short} has no file {blob.digest} of {blob.size} bytes", source=self.label)
        return self._xet.open(_of_hub(name), known.tree.commit, file, chunk)

    def close(self) -> None:
        """See `Source.close`."""
        self._closed.set()
        self._xet.close()
        self._client.close()

    @property
    def ignores_range(self) -> bool:
        """See `Remote.ignores_range`."""
        return bool(self._files.ignoring)

    def refresh(self) -> None:
        """See `Remote.refresh`.  Trees stay: a commit is the same for ever."""
        self._client.refresh()
        self._files.forget()
        self._xet.refresh()

    def in_flight(self) -> list[str]:
        """See `Remote.in_flight`."""
        return self._client.transport.in_flight()

    def _listed(self, name: HubName) -> HubTree:
        """What a name has now; a listing that the Hub interrupted a moment ago goes on."""
        with self._lock:
            listing = self._begun.get(name)
            if listing is None or time.monotonic() - listing.began > _FRESH:
                listing = self._begun[name] = Listing(self._client, name)
        try:
            tree = listing.tree(self._timeout)
        except FusefsError as exc:
            if exc.temporary:
                raise
            self._forget(name)
            raise
        self._forget(name)
        return tree

    def _forget(self, name: HubName) -> None:
        with self._lock:
            self._begun.pop(name, None)

    def _known(self, name: Name) -> KnownTree:
        """What a name leads to; a listing is asked for only where the document came from nowhere yet."""
        found = self._trees.get(name)
        if found is None:
            self.manifest(name)
            found = self._trees.get(name)
        assert found is not None
        return found

    def _whole(self, name: HubName, known: KnownTree, file: HubFile) -> bytes:
        data = bytearray(file.blob.size)
        off = 0
        with closing(self._files.open(name, known.tree.commit, file, Chunk(0, file.blob.size - 1))) as body:
            while got := body.readinto(memoryview(data)[off:]):
                off += got
        return bytes(data[:off])

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise Cancelled("the source is closed")


def _of_hub(name: Name) -> HubName:
    assert isinstance(name, HubName)
    return name
