"""BoundSource: a source and the model under whose name it is asked, so that nobody above needs a name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from fusefs.values.voucher import Proof, Voucher, registry_of

if TYPE_CHECKING:
    from fusefs.sources.backoff import Patience
    from fusefs.sources.base import Body, Remote, Source
    from fusefs.sources.distrust import Standing
    from fusefs.values.chunks import Blob, Chunk, ChunkList
    from fusefs.values.names import Name


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

    def __init__(self, source: Source, name: Name) -> None:
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
        return self._source.chunk_list(self._name, blob)

    def open_range(self, blob: Blob, chunk: Chunk) -> Body:
        """See `Origin.open_range`."""
        return self._source.open_range(self._name, blob, chunk)
