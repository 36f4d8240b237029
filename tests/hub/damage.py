"""Damage to what a content server sends: a bit of bytes, or the meaning of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from random import Random


def flipped(body: bytes, found: Random) -> bytes:
    """One bit is another."""
    place = found.randrange(len(body))
    return body[:place] + bytes([body[place] ^ 1 << found.randrange(8)]) + body[place + 1 :]


def confused(document: dict[str, Any], found: Random) -> None:
    """Something in a reconstruction (version 2) is another; its URLs stay, for they lead to hosts."""
    terms, (xorb, *_) = document["terms"], document["xorbs"].values()
    term, part = found.choice(terms), found.choice(found.choice(xorb)["ranges"])
    off = found.choice([-100_000, -1, 1, 100_000])
    match found.randrange(7):
        case 0:
            document["offset_into_first_range"] += off
        case 1:
            term["unpacked_length"] += off
        case 2:
            term["range"][found.choice(["start", "end"])] += off
        case 3:
            part["bytes"][found.choice(["start", "end"])] += off
        case 4:
            part["chunks"][found.choice(["start", "end"])] += off
        case 5:
            found.shuffle(terms)
        case 6:
            terms[:] = terms[: len(terms) // 2] if found.random() < 0.5 else terms * 2
