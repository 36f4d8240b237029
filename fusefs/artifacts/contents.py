"""Contents: what is known of the bytes of a model's layers, beside what its manifest says.

The manifest says what a layer is; which files an archive holds only its bytes say.  Whoever has looked hands it in
here, so that the rooms of this floor stay pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusefs.values.chunks import Blob
    from fusefs.values.digest import Digest
    from fusefs.values.tartable import TarTable


@dataclass(frozen=True, slots=True)
class Opened:
    """A layer that somebody has looked into.

    Attributes:
        blob: where the bytes are: the layer, or what it is decompressed.
        table: its files; None where it is one file.
    """

    blob: Blob
    table: TarTable | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """Of one model.

    Attributes:
        layers: those that were looked into; one that was not is shown as one file, as it is.
        config: the bytes of the config; empty where nobody needs them.
    """

    layers: Mapping[Digest, Opened] = field(default_factory=dict)
    config: bytes = b""
