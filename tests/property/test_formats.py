"""Headers of model files: whatever the bytes are, the answer is bounded and inside the file."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.numpy import save

from fusefs.errors import InvalidHeader
from fusefs.formats.extents import Extents
from fusefs.formats.header import MAX_HEADER, read_header
from tests.headers import ARRAY, BIG, LITTLE, STRING, UINT32, entry, key, pairs, safetensors, string, strings, tensor
from tests.headers import gguf as written

if TYPE_CHECKING:
    from collections.abc import Callable


def small_gguf(order: str) -> bytes:
    one = (32).to_bytes(4, "little" if order == LITTLE else "big")
    header = written(
        [
            key(b"general.alignment", UINT32, one, order),
            key(b"tokens", ARRAY, strings([b"a", b"bcd", b""], order), order),
            key(b"general.name", STRING, string(b"tiny", order), order),
        ],
        [tensor([4, 2], 0, 0, order), tensor([32, 3], 2, 32, order), tensor([5], 77, 96, order)],
        order=order,
    )
    return header.ljust(-(-len(header) // 32) * 32 + 128, b"\x01")


FILES = {
    "gguf": small_gguf(LITTLE),
    "gguf, big-endian": small_gguf(BIG),
    "safetensors": save({"a": np.ones((3, 4)), "b": np.ones(5, dtype=np.uint8)}, {"format": "np"}),
}

sizes = st.one_of(st.integers(-2, 300), st.integers(0, 2**44), st.integers(-(2**70), 2**70))


def check(prefix: bytes, size: int) -> Extents | int | None:
    """Ask, and hold the answer to what is promised; None for InvalidHeader."""
    try:
        answer = read_header(prefix, size)
    except InvalidHeader:
        return None
    if isinstance(answer, int):
        assert min(len(prefix), size) < answer <= min(size, MAX_HEADER)
        return answer
    assert 0 <= answer.header <= size
    before = answer.header
    for number, (start, stop) in enumerate(pairs(answer)):
        assert before <= start < stop <= size
        assert answer.at(start) == answer.at(stop - 1) == number
        assert answer.at(start - 1) == (number - 1 if start == before and number else None)
        before = stop
    assert answer.at(before) is None
    return answer


@given(st.binary(max_size=400), sizes)
@example(b"GGUF" + b"\x03\0\0\0" + b"\xff" * 16, 2**40)
def test_any_bytes_give_a_bounded_answer(data: bytes, size: int) -> None:
    for begin in (b"", b"GGUF\x03\0\0\0", b"GGUF\0\0\0\x03", b"FUGG\x02\0\0\0", b"\x40\0\0\0\0\0\0\0{"):
        check(begin + data, size)


@pytest.mark.parametrize("name", FILES)
@given(st.lists(st.tuples(st.integers(0, 2**16), st.binary(max_size=9)), min_size=1, max_size=4), st.booleans())
def test_a_damaged_header_gives_a_bounded_answer(name: str, edits: list[tuple[int, bytes]], insert: bool) -> None:
    damaged = bytearray(FILES[name])
    for off, data in edits:
        off %= len(damaged)
        damaged[off : off if insert else off + len(data)] = data
    for size in (len(damaged), len(FILES[name]), 2**40):
        check(bytes(damaged), size)


@pytest.mark.parametrize("name", FILES)
@given(st.data())
def test_numbers_at_the_edge_in_any_field_give_a_bounded_answer(name: str, data: st.DataObject) -> None:
    width = data.draw(st.sampled_from((4, 8)))
    edges = [edge for bits in (0, 8, 21, 31, 32, 62, 63, 64) for edge in (2**bits - 1, 2**bits, 2**bits + 1)]
    value = data.draw(st.sampled_from([edge for edge in edges if edge < 2 ** (8 * width)]))
    off = data.draw(st.integers(0, len(FILES[name]) - width))
    order = data.draw(st.sampled_from(("little", "big")))
    damaged = bytearray(FILES[name])
    damaged[off : off + width] = value.to_bytes(width, order)
    for size in (len(damaged), 2**40):
        check(bytes(damaged), size)


@pytest.mark.parametrize("name", FILES)
def test_a_header_cut_at_any_byte_asks_for_more_and_then_gives_the_same_extents(name: str) -> None:
    file = FILES[name]
    whole = check(file, len(file))
    assert isinstance(whole, Extents)
    assert len(whole) in (2, 3)
    answers = [check(file[:have], len(file)) for have in range(len(file))]
    assert all(answer == whole or isinstance(answer, int) for answer in answers)
    assert sum(isinstance(answer, int) for answer in answers) > 60


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_in_its_header_is_refused_by_the_last_byte_that_it_has(name: str) -> None:
    file = FILES[name]
    whole = check(file, len(file))
    assert isinstance(whole, Extents)
    for size in range(whole.header - 32):
        assert check(file[:size], size) is None


@st.composite
def safetensors_files(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, int]]]:
    """A header with tensors in any order, and where they lie behind it."""
    places, off = [], 0
    for gap, size in draw(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 2**30)), max_size=12)):
        places.append((off + gap, off + gap + size))
        off += gap + size
    shuffled = draw(st.permutations(places))
    header = safetensors({str(number): entry(*place) for number, place in enumerate(shuffled)})
    return header, places


@given(safetensors_files(), st.integers(0, 50))
def test_every_honest_safetensors_header_is_read(file: tuple[bytes, list[tuple[int, int]]], more: int) -> None:
    header, places = file
    size = len(header) + (places[-1][1] if places else 0)
    extents = check(header, size + more)
    assert isinstance(extents, Extents)
    assert pairs(extents) == [(len(header) + start, len(header) + stop) for start, stop in places]
    assert not places or check(header, size - 1) is None


@given(st.lists(st.integers(1, 2**20), max_size=12), st.sampled_from((LITTLE, BIG)), st.randoms(use_true_random=False))
def test_every_honest_gguf_header_is_read(counts: list[int], order: str, rng: random.Random) -> None:
    """Tensors of 32-bit numbers, each at the next multiple of 32 behind the one before, listed in any order."""
    places, off = [], 0
    for count in counts:
        places.append((off, off + 4 * count))
        off = -(-(off + 4 * count) // 32) * 32
    shuffled = rng.sample(places, len(places))
    header = written(tensors=[tensor([(b - a) // 4], 0, a, order) for a, b in shuffled], order=order)
    data = -(-len(header) // 32) * 32
    extents = check(header, data + off)
    assert isinstance(extents, Extents)
    assert pairs(extents) == [(data + start, data + stop) for start, stop in places]


@given(st.binary(max_size=2000), st.integers(0, 2**40))
def test_coming_back_with_what_is_wanted_ends(data: bytes, size: int) -> None:
    """The rest of the file is zeros, which any header goes on through for as long as it may."""
    file: Callable[[int], bytes] = lambda have: (b"GGUF\x03\0\0\0" + data)[:have].ljust(have, b"\0")  # noqa: E731
    have = 0
    for _ in range(60):
        answer = check(file(have), size)
        if not isinstance(answer, int):
            return
        have = answer
    pytest.fail("sixty tries")
