"""Inputs that are almost right: what a parser is not made for is found beside what it is made for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from tests.fuzz.target import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fuzz.target import Target

_HOSTILE = (
    *NUMBERS,
    b"\0",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\r\n",
    "\u202e".encode(),
    b"\\ud800",
    b"[" * 3000,
    b'{"a":' * 1500,
    b"(" * 200,
    b" " * 500,
    b"\xff" * 8,
    (2**63).to_bytes(8, "little"),
    (2**63).to_bytes(8, "big"),
)


@st.composite
def mutated(draw: st.DrawFn, target: Target) -> bytes:
    """A seed of `target` that was changed in up to four places, or any bytes at all."""
    seeds = list(target.seeds())
    data = draw(st.sampled_from(seeds) | st.binary(max_size=200))
    for _ in range(draw(st.integers(0, 4))):
        data = _changed(draw, data, seeds, target.words)
    return data


def _changed(draw: st.DrawFn, data: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    at = draw(st.integers(0, len(data)))
    stop = min(len(data), at + draw(st.integers(0, 40)))
    match draw(st.sampled_from(("flip", "insert", "replace", "cut", "truncate", "double", "splice", "number"))):
        case "flip" if at < len(data):
            return data[:at] + bytes([data[at] ^ 1 << draw(st.integers(0, 7))]) + data[at + 1 :]
        case "insert":
            return data[:at] + draw(st.sampled_from((*_HOSTILE, *words)) | st.binary(max_size=9)) + data[at:]
        case "replace":
            return data[:at] + draw(st.sampled_from((*_HOSTILE, *words))) + data[stop:]
        case "cut":
            return data[:at] + data[stop:]
        case "truncate":
            return data[:at]
        case "double":
            return data[:at] + data[at:stop] * draw(st.integers(2, 20)) + data[stop:]
        case "splice":
            other = draw(st.sampled_from(seeds))
            return data[:at] + other[draw(st.integers(0, len(other))) :]
        case "number":
            return _with_number(draw, data, at)
        case _:
            return data


def _with_number(draw: st.DrawFn, data: bytes, at: int) -> bytes:
    """The next run of digits from `at` on becomes a number at some edge."""
    digits = b"0123456789"
    while at < len(data) and data[at] not in digits:
        at += 1
    stop = at
    while stop < len(data) and data[stop] in digits:
        stop += 1
    return data[:at] + draw(st.sampled_from(NUMBERS)) + data[stop:]
