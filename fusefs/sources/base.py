"""Source: where manifests, chunk lists and bytes come from.  Plain blocking calls, made from worker threads.

Every source (a registry, a local store, a retrying wrapper round either) is this Protocol and passes one conformance
suite.  A source checks the frame of what it gives (status, range, length); whether the *content* is right is checked
by whoever has the digest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from fusefs.values.chunks import Blob, Chunk, ChunkList
    from fusefs.values.digest import Digest
    from fusefs.values.evidence import Evidence
    from fusefs.values.names import Name
    from fusefs.values.voucher import Voucher


class Body(Protocol):
    """The bytes of one range, as they arrive.

    Attributes:
        given: the range.  It is the one that was asked for, or all of the blob: a server may ignore Range, and then its
            answer is one stream from the front, which is worth taking whole (`fusefs.fetch.stream`).
    """

    @property
    def given(self) -> Chunk:
        """See above."""

    def readinto(self, buffer: memoryview) -> int:
        """Fill the front of `buffer` with the next bytes.

        Returns:
            How many; 0 only when `buffer` is empty or the whole range has been read.

        Raises:
            SourceError: the transport failed, the range ended early, or it went on behind its end.
            Cancelled: `close` was called.
        """

    def close(self) -> None:
        """Give the connection back, or drop it when bytes are left.  From any thread: a blocked `readinto` ends."""


@runtime_checkable
class Evidenced(Protocol):
    """What a Body can do besides whose Origin proves ranges that no chunk list has digests of."""

    def evidence(self) -> Evidence:
        """The evidence for the chunks that have been read up to here.  Blocking.

        Raises:
            SourceError: it cannot be had.
        """


class Origin(Protocol):
    """Bytes of blobs from one place, with everything bound in.  Blocking; from any thread.

    Attributes:
        label: what to call it in messages.
    """

    @property
    def label(self) -> str:
        """See above."""

    def open_range(self, blob: Blob, chunk: Chunk) -> Body:
        """Start to read the bytes `chunk` of a blob; see `Body.given`."""


class Index(Protocol):
    """Chunk lists, from wherever they are.  Blocking; from any thread."""

    def chunk_list(self, blob: Blob) -> ChunkList | None:
        """The chunk list of a blob, checked; None when this place keeps none.

        It is complete, or it is evidenced, and the Origin that goes with it has the evidence.
        """


class Source(Protocol):
    """Blocking; every method may be called from many threads at once, and raises SourceError or Cancelled.

    Attributes:
        label: what to call it in messages: a host or a directory, without credentials.
    """

    label: str

    def manifest(self, name: Name) -> bytes:
        """The raw bytes of the manifest; when `name.digest` is set, they match it."""

    def chunk_list(self, name: Name, blob: Blob) -> ChunkList | None:
        """The chunk list of a blob, checked; None when this source keeps none.  See `Index.chunk_list`."""

    def open_range(self, name: Name, blob: Blob, chunk: Chunk) -> Body:
        """Start to read the bytes `chunk` of a blob that belongs to the model `name`; see `Body.given`."""

    def close(self) -> None:
        """Let go of connections, and end what is in flight with Cancelled.  Idempotent."""


@runtime_checkable
class Remote(Protocol):
    """What a Source behind a network can do besides."""

    host: str

    @property
    def ignores_range(self) -> bool:
        """Whether it gave all of a blob where a part was asked for, the last time that it was asked for one."""

    def refresh(self) -> None:
        """Forget tokens, where blobs were found, and what the host cannot do; credential files are read anew."""

    def in_flight(self) -> list[str]:
        """One line a request under way: host, path, bytes so far, age.  No query: a signed URL is a secret."""


@runtime_checkable
class ListKeeper(Protocol):
    """What a Source can do besides that keeps the texts of chunk lists by their digests."""

    def stored_list(self, name: Name, blob: Blob, text: Digest) -> ChunkList | None:
        """The chunk list of a blob whose text has the digest `text`, checked; None when it is not there."""


@runtime_checkable
class Evidencing(Protocol):
    """What a Source can do besides that proves parts of blobs without lists of their digests."""

    def evidence_voucher(self, name: Name, blob: Blob) -> Voucher | None:
        """Whose word its evidence is, for a blob of a model: see `ChunkList.voucher`.  Does not block.

        None where it has no evidence, or has not learned yet what it would be of.
        """


@runtime_checkable
class Learner(Protocol):
    """What a Source can do besides whose blobs are found by what the document of their model says."""

    def learn(self, name: Name, digest: Digest, document: bytes) -> None:
        """The document that a name has, wherever it came from: a cache may have it.  Does not block."""
