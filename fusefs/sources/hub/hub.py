"""HubSource: a Hugging Face Hub as a Source.

Its document is made of the listing of a tree (`fusefs.artifacts.hubtree`), its blobs are the files in it: what the Hub
keeps in git by git's hash, all else by sha256.  `tree` and `file` say what else is known of them, for who proves parts.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from fusefs.artifacts.hubtree import HubFile, HubTree
from fusefs.artifacts.listedfile import MAX_LIST_SIZE
from fusefs.errors import Cancelled, InvalidManifest, ModelNotFound, NotFound, SourceError
from fusefs.sources.hub.hubclient import HubClient
from fusefs.sources.hub.hubfiles import HubFiles
from fusefs.sources.hub.hublisting import list_tree
from fusefs.sources.tree.treesource import CHUNKSUMS
from fusefs.values.chunks import Blob, Chunk, ChunkList
from fusefs.values.digest import Digest
from fusefs.values.hubname import HubName

if TYPE_CHECKING:
    from fusefs.net.circuit import Circuits
    from fusefs.sources.base import Body
    from fusefs.values.hubendpoint import HubEndpoint
    from fusefs.values.names import Name
    from fusefs.values.settings import Settings

log = logging.getLogger(__name__)


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
        self._timeout = settings.timeout
        self._trees: dict[HubName, tuple[HubTree, dict[Blob, HubFile]]] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def manifest(self, name: Name) -> bytes:
        """See `Source.manifest`: the document of the tree."""
        self._check_open()
        name = _of_hub(name)
        tree = list_tree(self._client, name, self._timeout)
        document = tree.document()
        if name.digest is not None and not name.digest.matches(document):
            raise ModelNotFound(
                f"{name.short} is another one by now: at commit {tree.commit} its document has the digest "
                f"{Digest.of(document)}",
                source=self.label,
            )
        self._know(name, document, tree)
        return document

    def learn(self, name: Name, document: bytes) -> None:
        """See `Learner.learn`."""
        try:
            self._know(_of_hub(name), document, HubTree.parse(document))
        except InvalidManifest as exc:
            log.debug("%s: its document is none of a tree: %s", name, exc)

    def chunk_list(self, name: Name, blob: Blob) -> ChunkList | None:
        """See `Source.chunk_list`: that of a file is beside it in the repository, as `<file>.chunksums`."""
        self._check_open()
        tree, files = self._tree(_of_hub(name))
        file = files.get(blob)
        if file is None:
            return None
        beside = next((one for one in tree.files if one.path == file.path + CHUNKSUMS), None)
        if beside is None or not 0 < beside.blob.size <= MAX_LIST_SIZE:
            return None
        raw = self._whole(_of_hub(name), tree.commit, beside)
        if not beside.blob.digest.matches(raw):
            log.warning("%s: the chunk list %s is not used: it has another digest", self.label, beside.path)
            return None
        return ChunkList.parse(blob.size, [raw])

    def open_range(self, name: Name, blob: Blob, chunk: Chunk) -> Body:
        """See `Source.open_range`."""
        self._check_open()
        if chunk.end >= blob.size:
            raise SourceError(f"bytes {chunk} lie behind the end of a blob of {blob.size}", source=self.label)
        tree, files = self._tree(_of_hub(name))
        file = files.get(blob)
        if file is None:
            raise NotFound(f"{name.short} has no file {blob.digest} of {blob.size} bytes", source=self.label)
        return self._files.open(_of_hub(name), tree.commit, file, chunk)

    def close(self) -> None:
        """See `Source.close`."""
        self._closed.set()
        self._client.close()

    @property
    def ignores_range(self) -> bool:
        """See `Remote.ignores_range`."""
        return bool(self._files.ignoring)

    def refresh(self) -> None:
        """See `Remote.refresh`.  Trees stay: a commit is the same for ever."""
        self._client.refresh()
        self._files.forget()

    def in_flight(self) -> list[str]:
        """See `Remote.in_flight`."""
        return self._client.transport.in_flight()

    # ---- what is known

    def _know(self, name: HubName, document: bytes, tree: HubTree) -> None:
        files: dict[Blob, HubFile] = {}
        for file in tree.files:
            files.setdefault(file.blob, file)
        with self._lock:
            self._trees[name] = self._trees[replace(name, digest=Digest.of(document))] = tree, files

    def _tree(self, name: HubName) -> tuple[HubTree, dict[Blob, HubFile]]:
        """What a name leads to; a listing is asked for only if the document came from nowhere yet."""
        with self._lock:
            found = self._trees.get(name)
        if found is not None:
            return found
        self.manifest(name)
        return self._trees[name]

    def _whole(self, name: HubName, commit: str, file: HubFile) -> bytes:
        body = self._files.open(name, commit, file, Chunk(0, file.blob.size - 1))
        data = memoryview(bytearray(file.blob.size))
        off = 0
        try:
            while got := body.readinto(data[off:]):
                off += got
        finally:
            body.close()
        return bytes(data[:off])

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise Cancelled("the source is closed")


def _of_hub(name: Name) -> HubName:
    assert isinstance(name, HubName)
    return name
