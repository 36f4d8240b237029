from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from safetensors import deserialize
from safetensors.numpy import save

from fusefs.errors import InvalidHeader
from fusefs.formats.extents import Extents
from fusefs.formats.header import MAX_HEADER, read_header
from fusefs.formats.safetensors import MAX_OBJECTS
from tests.headers import entry, pairs, read_whole, safetensors


def test_the_extents_are_those_that_the_formats_own_reader_finds() -> None:
    rng = np.random.default_rng(3)
    tensors: dict[str, np.ndarray[Any, Any]] = {
        f"layer.{number}": rng.integers(0, 255, (number + 1, 7), dtype=np.uint8) for number in range(9)
    }
    tensors |= {"wide": rng.random((3, 5)), "half": rng.random(11).astype(np.float16), "scalar": np.array(3.5)}
    file = save(tensors, {"format": "np", "data_offset": "[0, 1]"})
    extents, wanted = read_whole(file)
    theirs = [bytes(found["data"]) for _, found in deserialize(file)]  # type: ignore[no-untyped-call]  # has no types
    assert len(extents) == 12
    assert sorted(theirs) == sorted(file[start:stop] for start, stop in pairs(extents))
    assert extents.header == 8 + int.from_bytes(file[:8], "little")
    assert (extents.starts[0], extents.stops[-1]) == (extents.header, len(file))
    assert wanted == [len(file)]


def test_a_tensor_without_bytes_is_no_extent() -> None:
    file = save({"empty": np.zeros((0, 4), dtype=np.float32), "one": np.ones(1, dtype=np.float32)})
    extents, _ = read_whole(file)
    assert pairs(extents) == [(len(file) - 4, len(file))]


def test_the_length_of_the_header_is_known_after_the_first_try() -> None:
    header = safetensors({f"blk.{number}": entry(number, number + 1) for number in range(5000)})
    size = len(header) + 5000
    assert len(header) > 64 << 10
    extents, wanted = read_whole(header, size)
    assert wanted == [64 << 10, len(header)]
    assert read_header(header[:10], size) == len(header)
    assert len(extents) == 5000


def test_tensors_are_sorted_by_where_they_lie() -> None:
    """The order of names in a JSON object means nothing."""
    header = safetensors({"c": entry(20, 30), "a": entry(0, 4), "b": entry(4, 20)})
    extents, _ = read_whole(header, len(header) + 30)
    assert pairs(extents) == [(len(header) + start, len(header) + stop) for start, stop in [(0, 4), (4, 20), (20, 30)]]


def test_gaps_and_blanks_behind_the_json_pass() -> None:
    text = json.dumps({"a": entry(0, 4), "b": entry(8, 12)}).encode() + b"     "
    header = safetensors(text)
    extents, _ = read_whole(header, len(header) + 20)
    assert pairs(extents) == [(len(header), len(header) + 4), (len(header) + 8, len(header) + 12)]


def test_metadata_is_no_tensor_whatever_it_says() -> None:
    header = safetensors({"__metadata__": {"format": "pt", "config": '{"shape": [1], "}": "{"}'}, "a": entry(0, 4)})
    assert len(read_whole(header, len(header) + 4)[0]) == 1
    header = safetensors({"__metadata__": {}})
    assert len(read_whole(header, len(header) + 4)[0]) == 0


LIES: dict[str, dict[str, Any] | bytes] = {
    "overlap": {"a": entry(0, 10), "b": entry(9, 20)},
    "the same bytes twice": {"a": entry(0, 10), "b": entry(0, 10)},
    "empty within another": {"a": entry(0, 10), "b": entry(5, 5), "c": entry(10, 20)},
    "end before begin": {"a": {"dtype": "U8", "shape": [0], "data_offsets": [10, 0]}},
    "behind the end": {"a": entry(0, 65)},
    "empty behind the end": {"a": entry(2**40, 2**40)},
    "negative": {"a": {"dtype": "U8", "shape": [1], "data_offsets": [-1, 0]}},
    "2^63": {"a": entry(2**63 - 1, 2**63)},
    "2^64": {"a": entry(2**64, 2**64 + 1)},
    "fraction": {"a": {"data_offsets": [0.5, 1]}},
    "three offsets": {"a": {"data_offsets": [0, 1, 2]}},
    "text for offsets": {"a": {"data_offsets": "0"}},
    "number for a tensor": {"a": 3},
    "digits without end": b'{"a": {"data_offsets": [0, ' + b"9" * 100_000 + b"]}}",
    "nested without end": b'{"a": {"shape": ' + b"[" * 100_000,
    "objects without end": b'{"a":' * 100_000,
    "cut short": b'{"a": {"data_offsets": [0, 1]}',
    "no UTF-8": b'{"\xff": {"data_offsets": [0, 1]}}',
    "text behind": b'{"a": {"data_offsets": [0, 1]}} {}',
    "an array": b"[1, 2, 3]",
    "blanks before": b'   {"a": {"data_offsets": [0, 1]}}',
    "too many objects": b"{" + b'"a":{},' * MAX_OBJECTS + b'"a":{}}',
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused(lie: str) -> None:
    header = safetensors(LIES[lie])
    with pytest.raises(InvalidHeader):
        read_whole(header, len(header) + 64)


def test_as_many_objects_as_the_limit_allows_pass() -> None:
    header = safetensors(b"{" + b'"a":{},' * (MAX_OBJECTS - 2) + b'"a":{}}')
    assert isinstance(read_header(header, len(header)), Extents)


@pytest.mark.parametrize("length", [0, 1, 57, MAX_HEADER - 7, 2**63, 2**64 - 1])
def test_a_length_that_cannot_be_is_refused_at_once(length: int) -> None:
    begin = struct.pack("<Q", length) + b'{"'
    with pytest.raises(InvalidHeader):
        read_header(begin, 64 if length == 57 else 2**40)


def test_the_longest_header_is_asked_for() -> None:
    begin = struct.pack("<Q", MAX_HEADER - 8) + b'{"'
    assert read_header(begin, 2**40) == MAX_HEADER
    assert read_header(struct.pack("<Q", 56) + b'{"', 64) == 64
