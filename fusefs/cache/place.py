"""Place: where the files of one blob lie in the cache directory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fusefs.digest import Digest


@dataclass(frozen=True)
class Place:
    """Paths of one blob below the cache directory `root`.

    `sealed` exists only for a blob that was proved as a whole (P4).  Before that its bytes are `data`; the pinned list
    `chunks` and the chunk map `map` lie beside `data` and stay there after sealing, so that a sealed blob of an
    earlier boot can be hashed again chunk by chunk.  Made once each: they are named for every chunk that is written.
    """

    root: Path
    digest: Digest

    @cached_property
    def folder(self) -> Path:
        """`partial/sha256-<hex>`."""
        return self.root / "partial" / self.digest.file_name

    @cached_property
    def data(self) -> Path:
        """The blob's bytes, full size from the start, with holes where chunks are absent."""
        return self.folder / "data"

    @cached_property
    def chunks(self) -> Path:
        """The pinned chunk list."""
        return self.folder / "chunks"

    @cached_property
    def map(self) -> Path:
        """The chunk map."""
        return self.folder / "map"

    @cached_property
    def sealed(self) -> Path:
        """`blobs/sha256-<hex>`, the final name."""
        return self.root / "blobs" / self.digest.file_name

    @cached_property
    def start(self) -> Path:
        """`starts/sha256-<hex>`, the recorded start, which outlives the blob's bytes."""
        return self.root / "starts" / self.digest.file_name

    @cached_property
    def quarantine(self) -> Path:
        """Where data and list go when the list turns out to have lied."""
        return self.root / "quarantine" / self.digest.file_name
