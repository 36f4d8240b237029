"""BoundSource: a source and the model under whose name it is asked, so that nobody above needs a name."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from fusefs.sources.base import Evidencing, ListKeeper
from fusefs.values.voucher import Proof, Voucher, registry_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusefs.sources.backoff import Patience
    from fusefs.sources.base import Body, Remote, Source
    from fusefs.sources.distrust import Standing
    from fusefs.values.chunks import Blob, Chunk, ChunkList
    from fusefs.values.digest import Digest
    from fusefs.values.names import Name

NO_TEXTS: Mapping[Digest, Digest] = MappingProxyType({})


@runtime_checkable
class OneOfSeveral(Protocol):
    """A Source that leaves waiting to whoever asks the others, too (`fusefs.sources.retry`)."""

    remote: Remote | None
    standing: Standing | None
    voucher: Voucher

    def patience(self, longest: float = ..., share: float = ...) -> Patience | None:
        """How long to go on over all of them."""


class BoundSource:
    """An Origin and an Index; see `fusefs.sources.base`.  Two of one source and one name are equal.

    Attributes:
        label: what to call it in messages.
        voucher: what its word on chunk lists and tags is worth; one that is asked alone is the registry.
        decides: its word counts at all; a mirror gives bytes, and never says which are right.
        standing: what it has been caught at; None when it is never blocked.
        several: who says how long to ask it and others in turn; None when it has all the patience that there is.
        remote: the host behind it; None where there is none.
        registry: that of the model.
        pinned: what a person calls the model, where its name pins the digest; else empty.
    """

    def __init__(
        self,
        source: Source,
        name: Name,
        manifest: Digest | None = None,
        texts: Mapping[Digest, Digest] = NO_TEXTS,
    ) -> None:
        """Bind them.

        Args:
            source: who is asked.
            name: of the model.
            manifest: the digest of its manifest, beside which somebody may have put chunk lists.
            texts: of blobs of which the manifest itself names the list: the digest of the list's text.
        """
        self.label = source.label
        self.registry = registry_of(name)
        self.pinned = name.short if name.digest is not None else ""
        self.several = source if isinstance(source, OneOfSeveral) else None
        self.remote = self.several.remote if self.several else None
        self.standing = self.several.standing if self.several else None
        self.voucher = self.several.voucher if self.several else Voucher(Proof.REGISTRY, self.label)
        self.decides = self.voucher.proof > Proof.NONE
        self._source = source
        self._name = name
        self._asked = name if manifest is None else name.pinned(manifest)
        self._texts = texts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BoundSource) and (self._source, self._name) == (other._source, other._name)

    def __hash__(self) -> int:
        return hash((self._source, self._name))

    def under(self, name: Name) -> BoundSource:
        """The same source, to be asked under another name."""
        return BoundSource(self._source, name)

    @property
    def ignores_range(self) -> bool:
        """Whether it gives all of a blob where a part was asked for."""
        return self.remote is not None and self.remote.ignores_range

    def manifest(self) -> bytes:
        """See `Source.manifest`."""
        return self._source.manifest(self._name)

    def chunk_list(self, blob: Blob) -> ChunkList | None:
        """See `Index.chunk_list`."""
        text = self._texts.get(blob.digest)
        chunks = None
        if text is not None and isinstance(self._source, ListKeeper):
            chunks = self._source.stored_list(self._name, blob, text)
        return chunks if chunks is not None else self._source.chunk_list(self._asked, blob)

    def evidence_voucher(self, blob: Blob) -> Voucher | None:
        """See `Evidencing.evidence_voucher`."""
        return self._source.evidence_voucher(self._asked, blob) if isinstance(self._source, Evidencing) else None

    def open_range(self, blob: Blob, chunk: Chunk) -> Body:
        """See `Origin.open_range`."""
        return self._source.open_range(self._name, blob, chunk)
