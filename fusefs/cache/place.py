"""Place: where the files of one blob lie in the cache directory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from fusefs.system.spot import Spot
from fusefs.values.digest import Digest

Root = TypeVar("Root", Spot, Path)


@dataclass(frozen=True)
class Place(Generic[Root]):
    """Names of one blob below the cache directory `root`: spots below a held one, which is what the cache goes by.

    Given the path of a cache they are paths, for who looks at it from outside.

    `sealed` exists only for a blob that was proved as a whole (P4).  Before that its bytes are `data`; the pinned list
    `chunks` and the chunk map `map` lie beside `data` and stay there after sealing, so that a sealed blob of an
    earlier boot can be hashed again chunk by chunk.  Made once each: they are named for every chunk that is written.
    """

    root: Root
    digest: Digest

    @cached_property
    def folder(self) -> Root:
        """`partial/sha256-<hex>`."""
        return self.root / "partial" / self.digest.file_name

    @cached_property
    def data(self) -> Root:
        """The blob's bytes, full size from the start, with holes where chunks are absent."""
        return self.folder / "data"

    @cached_property
    def chunks(self) -> Root:
        """The pinned chunk list."""
        return self.folder / "chunks"

    @cached_property
    def map(self) -> Root:
        """The chunk map."""
        return self.folder / "map"

    @cached_property
    def sealed(self) -> Root:
        """`blobs/sha256-<hex>`, the final name."""
        return self.root / "blobs" / self.digest.file_name

    @cached_property
    def start(self) -> Root:
        """`starts/sha256-<hex>`, the access trace, which outlives the blob's bytes."""
        return self.root / "starts" / self.digest.file_name

    @cached_property
    def quarantine(self) -> Root:
        """Where data and list go when the list turns out to have lied."""
        return self.root / "quarantine" / self.digest.file_name


HeldPlace: TypeAlias = Place[Spot]
"""What the cache goes by."""
