"""Digest: the sha256 that names a blob, a chunk or a manifest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from fusefs.errors import InvalidDigest

if TYPE_CHECKING:
    from typing_extensions import Buffer

_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A sha256, comparable and hashable.

    Attributes:
        hex: 64 lower-case hexadecimal digits.
    """

    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `sha256:<64 hex>` or `sha256-<64 hex>`; upper-case digits are accepted and made lower-case.

        Raises:
            InvalidDigest: for anything else.
        """
        digits = text[7:].lower()
        if text[:7] not in ("sha256:", "sha256-") or len(digits) != 64 or not _HEX.issuperset(digits):
            shown = text if len(text) <= 80 else text[:80] + "…"
            raise InvalidDigest(f"invalid digest {shown!r}: want sha256: and 64 hexadecimal digits")
        return cls(digits)

    @classmethod
    def of(cls, data: Buffer) -> Self:
        """The digest of `data`."""
        return cls(hashlib.sha256(data).hexdigest())

    @classmethod
    def from_raw(cls, raw: bytes) -> Self:
        """The digest whose 32 bytes are `raw`."""
        return cls(raw.hex())

    @property
    def raw(self) -> bytes:
        """The 32 bytes themselves."""
        return bytes.fromhex(self.hex)

    @property
    def file_name(self) -> str:
        """`sha256-<hex>`, the form in file names (a colon is not allowed everywhere)."""
        return "sha256-" + self.hex

    @property
    def short(self) -> str:
        """The first 12 digits, for logs."""
        return self.hex[:12]

    def __str__(self) -> str:
        return "sha256:" + self.hex
