"""Digest: the hash that names a blob or a manifest, with its algorithm.

Blobs are named by whoever publishes them, so their algorithm is theirs to choose.  Chunks are named by chunk lists
alone: their digests are always sha256, as raw bytes.
Source: OCI image-spec 1.1, descriptor.md, "Digests"; git's object format for `git-sha1`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from fusefs.errors import InvalidDigest

if TYPE_CHECKING:
    from typing_extensions import Buffer

SHA256, SHA512, GIT_SHA1 = "sha256", "sha512", "git-sha1"

_DIGITS = {SHA256: 64, SHA512: 128, GIT_SHA1: 40}
"""Hexadecimal digits of each algorithm that a blob can be named by."""

_HEX = frozenset("0123456789abcdef")


class Hasher(Protocol):
    """What hashlib's objects can do."""

    def update(self, data: Buffer, /) -> None:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """Of all bytes so far."""


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A digest, comparable and hashable.

    Attributes:
        algorithm: `sha256`, `sha512` or `git-sha1`.
        hex: lower-case hexadecimal digits, as many as the algorithm has.
    """

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `sha256:<64 hex>` or `sha256-<64 hex>`; upper-case digits are accepted and made lower-case.

        Other algorithms are no text that a person or a registry writes here: a source that has them makes the digest.

        Raises:
            InvalidDigest: for anything else.
        """
        digits = text[7:].lower()
        if text[:7] not in ("sha256:", "sha256-") or not _fits(SHA256, digits):
            shown = text if len(text) <= 80 else text[:80] + "…"
            raise InvalidDigest(f"invalid digest {shown!r}: want sha256: and 64 hexadecimal digits")
        return cls(SHA256, digits)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `str` gives, of any algorithm: in documents that fusefs has written itself.

        Raises:
            InvalidDigest: for anything else.
        """
        algorithm, _, digits = text.partition(":")
        if algorithm not in _DIGITS or not _fits(algorithm, digits):
            raise InvalidDigest(f"invalid digest {text[:80]!r}")
        return cls(algorithm, digits)

    @classmethod
    def from_file_name(cls, name: str) -> Self:
        """Read what `file_name` gives, of any algorithm.

        Raises:
            InvalidDigest: for anything else.
        """
        algorithm, _, digits = name.rpartition("-")
        if algorithm not in _DIGITS or not _fits(algorithm, digits):
            raise InvalidDigest(f"invalid digest {name[:80]!r} in a file name")
        return cls(algorithm, digits)

    @classmethod
    def of(cls, data: Buffer) -> Self:
        """The sha256 of `data`."""
        return cls(SHA256, hashlib.sha256(data).hexdigest())

    @classmethod
    def from_raw(cls, raw: bytes) -> Self:
        """The sha256 whose 32 bytes are `raw`."""
        return cls(SHA256, raw.hex())

    def hasher(self, size: int) -> Hasher:
        """A hash object of this algorithm, to be fed with the content.

        Args:
            size: bytes of the content; git hashes it in front of them.
        """
        if self.algorithm == GIT_SHA1:
            return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        return hashlib.new(self.algorithm)

    def matches(self, data: Buffer) -> bool:
        """Whether it is the digest of `data`."""
        view = memoryview(data).cast("B")
        hasher = self.hasher(len(view))
        hasher.update(view)
        return hasher.hexdigest() == self.hex

    @property
    def is_sha256(self) -> bool:
        """Whether it can be the digest of a chunk, too."""
        return self.algorithm == SHA256

    @property
    def raw(self) -> bytes:
        """The bytes themselves; 32 of a sha256."""
        return bytes.fromhex(self.hex)

    @property
    def key(self) -> bytes:
        """32 bytes that stand for it where a format has room for no more; of a sha256 its own."""
        return self.raw if self.is_sha256 else hashlib.sha256(str(self).encode()).digest()

    @property
    def file_name(self) -> str:
        """`<algorithm>-<hex>`, the form in file names (a colon is not allowed everywhere)."""
        return f"{self.algorithm}-{self.hex}"

    @property
    def short(self) -> str:
        """The first 12 digits, for logs."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def _fits(algorithm: str, digits: str) -> bool:
    return len(digits) == _DIGITS[algorithm] and _HEX.issuperset(digits)
