"""XetFiles: files in Xet's store as a source needs them: their chunk lists, and bytes with their evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.errors import NoEvidence
from fusefs.sources.hub.ahead import Ahead
from fusefs.sources.hub.cas import Cas
from fusefs.sources.hub.castokens import CasTokens
from fusefs.sources.hub.provability import Provability
from fusefs.sources.hub.provedbody import ProvedBody, XetPlace, proof_of
from fusefs.sources.hub.xetbody import XetBody
from fusefs.sources.hub.xetstream import XetStream
from fusefs.values.chunks import Chunk, ChunkList

if TYPE_CHECKING:
    from fusefs.net.transport import Transport
    from fusefs.sources.hub.castokens import AskAccess
    from fusefs.sources.hub.xetfile import XetFile
    from fusefs.values.settings import Settings
    from fusefs.values.voucher import Voucher


class XetFiles:
    """Those of one Hub.  Blocking; from any thread."""

    def __init__(self, transport: Transport, ask: AskAccess, settings: Settings, label: str) -> None:
        """Make them.

        Args:
            transport: whose owner closes it.
            ask: for tokens, of the Hub.
            settings: how many requests may be in flight, and which files are one chunk.
            label: what to call the content servers in messages: the Hub.
        """
        self._cas = Cas(transport, CasTokens(ask), label)
        self._ahead = Ahead(2 * settings.connections)
        self._provability = Provability(label)
        self._single = settings.single_chunk_limit

    def chunk_list(self, file: XetFile, voucher: Voucher) -> ChunkList | None:
        """An evidenced list; None where parts of the file cannot be proved, so that all of it has to be.

        Whether they can one proof says, that of the file's front: who opens it reads there first.

        Raises:
            SourceError, Cancelled: it cannot be known now.
        """
        if file.size <= self._single:
            return None
        try:
            self._provability.check(file)
            proof_of(self._cas, file, Chunk(0, min(file.unit, file.size) - 1))
        except NoEvidence as exc:
            self._provability.impossible(file, exc)
            return None
        return ChunkList.evidenced(file.size, file.unit, voucher)

    def proved(self, file: XetFile, chunk: Chunk, voucher: Voucher) -> ProvedBody | None:
        """Begin to read a range of a file whose parts are to be proved; None where they cannot be.

        Args:
            file: of which.
            chunk: the range, which lies inside.
            voucher: whose word the hash of Xet is.

        Raises:
            SourceError, Cancelled: it cannot be had now.
        """
        if file.size <= self._single:
            return None
        try:
            self._provability.check(file)
            return ProvedBody(XetPlace(self._cas, self._ahead, self._provability, file, voucher), chunk)
        except NoEvidence:
            return None  # who needs evidence will miss it

    def open(self, file: XetFile, chunk: Chunk) -> XetBody:
        """Begin to read a range of a file, which lies inside, for whoever proves it otherwise.

        Raises:
            SourceError, Cancelled: it cannot be had.
        """
        stream = XetStream(self._cas, file, chunk, self._ahead)
        stream.begin()
        return XetBody(stream, chunk)

    def refresh(self) -> None:
        """Forget tokens, and what was found to be impossible."""
        self._cas.refresh()
        self._provability.refresh()

    def close(self) -> None:
        """Make no more requests; those under way end with the transport.  Idempotent."""
        self._ahead.close()
