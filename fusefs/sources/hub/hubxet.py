"""HubXet: which way the bytes of a file of the Hub come: chunk by chunk with proofs out of the Xet store, or as it is.

What nobody proves by its parts comes as any file on a web server does, from where the Hub sends us on to, and from the
store's own chunks where that fails, or where the file is larger than the Hub gives that way.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from fusefs.errors import SourceError
from fusefs.sources.hub.casaccess import ask_access
from fusefs.sources.hub.xetfile import XetFile
from fusefs.sources.hub.xetfiles import XetFiles
from fusefs.values.voucher import Proof, Voucher, registry_of
from fusefs.xet.xethash import parse_hash

if TYPE_CHECKING:
    from fusefs.artifacts.hubtree import HubFile
    from fusefs.sources.base import Body
    from fusefs.sources.hub.hubclient import HubClient
    from fusefs.sources.hub.hubfiles import HubFiles
    from fusefs.values.chunks import Chunk, ChunkList
    from fusefs.values.digest import Digest
    from fusefs.values.hubname import HubName
    from fusefs.values.settings import Settings

_LARGEST_PLAIN = 50_000_000_000
"""Bytes of a file that the Hub gives as it is.  Source: huggingface_hub, `constants.MAX_HTTP_DOWNLOAD_SIZE`."""

_SHOWN = 32
"""Digits of a hash of Xet: nobody finds two files whose hashes begin so."""


class HubXet:
    """Of one Hub.  Blocking; from any thread."""

    def __init__(self, client: HubClient, plain: HubFiles, settings: Settings) -> None:
        self._plain = plain
        self._files = XetFiles(client.transport, partial(ask_access, client), settings, client.label)
        self._listed: set[Digest] = set()
        self._lock = threading.Lock()

    def has_list(self, file: HubFile) -> None:
        """Somebody has the digests of its chunks: nobody asks for evidence."""
        with self._lock:
            self._listed.add(file.blob.digest)

    def chunk_list(self, name: HubName, commit: str, file: HubFile) -> ChunkList | None:
        """The list of a file whose parts the store proves; None where it does not.

        Raises:
            SourceError, Cancelled: it cannot be known now.
        """
        with self._lock:
            self._listed.discard(file.blob.digest)
        if not file.xet:
            return None
        return self._files.chunk_list(_stored(name, commit, file), self.voucher(name, file))

    def voucher(self, name: HubName, file: HubFile) -> Voucher:
        """Whose word it is that a file with this sha256 has this hash of Xet; all evidence comes down to that.

        The hash is part of it.  Whoever uploads files tells the Hub both hashes.  Should one of them get it to believe
        that of other bytes, then what was accepted for his repository never counts for others with the same sha256.
        """
        return Voucher(Proof.REGISTRY, f"{registry_of(name)} Xet {file.xet[:_SHOWN]}")

    def open(self, name: HubName, commit: str, file: HubFile, chunk: Chunk) -> Body:
        """Begin to read a range, which lies inside of the file; see `Source.open_range`.

        Raises:
            SourceError, Cancelled: it cannot be had.
        """
        if not file.xet:
            return self._plain.open(name, commit, file, chunk)
        stored = _stored(name, commit, file)
        if file.blob.digest not in self._listed:
            body = self._files.proved(stored, chunk, self.voucher(name, file))
            if body is not None:
                return body
        if file.blob.size > _LARGEST_PLAIN:
            return self._files.open(stored, chunk)
        try:
            return self._plain.open(name, commit, file, chunk)
        except SourceError:
            try:
                return self._files.open(stored, chunk)
            except SourceError:  # the error of the ordinary way says more
                pass
            raise

    def refresh(self) -> None:
        """See `Remote.refresh`."""
        self._files.refresh()

    def close(self) -> None:
        """Make no more requests; those under way end with the client.  Idempotent."""
        self._files.close()


def _stored(name: HubName, commit: str, file: HubFile) -> XetFile:
    return XetFile(parse_hash(file.xet), file.blob.size, replace(name.at(commit), digest=None))
