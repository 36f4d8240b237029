"""Target: one thing that reads bytes which somebody else chose, and what must hold whatever they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class Target:
    """What to feed.

    Attributes:
        name: for a person and for the command line.
        check: takes any bytes, and raises when a promise does not hold of them.
        seeds: inputs that mean something, from which others are made by changing them.
        words: what is worth putting into an input.
        longest: bytes of an input at most; room for what is read, and not for a thousand times that.
    """

    name: str
    check: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]
    words: tuple[bytes, ...] = ()
    longest: int = 4096


NUMBERS = (b"0", b"-1", b"18446744073709551615", b"18446744073709551616", b"9223372036854775807", b"9" * 30, b"1e999")
"""Numbers at the edges of what they may be kept in."""


def split(data: bytes, parts: int) -> list[bytes]:
    """`data` as that many inputs, at NUL bytes; the last has what is left, and those that are missing are empty."""
    found = data.split(b"\0", parts - 1)
    return [*found, *[b""] * (parts - len(found))]


def joined(*parts: bytes) -> bytes:
    """What `split` takes apart again."""
    return b"\0".join(parts)
