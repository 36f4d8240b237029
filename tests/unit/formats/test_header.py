from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save

from fusefs.errors import InvalidHeader
from fusefs.formats.extents import Extents
from fusefs.formats.header import MAX_HEADER, read_header
from fusefs.values.chunklimits import MAX_BLOB_SIZE
from tests.headers import gguf, pairs, read_whole, tensor

FILE = save({"a": np.arange(10, dtype=np.uint8), "b": np.arange(20, dtype=np.uint8)})


def test_a_little_is_wanted_to_begin_with_and_never_more_than_the_file_has() -> None:
    assert read_header(b"", 2**40) == 64 << 10
    assert read_header(b"GGU", 2**40) == 64 << 10
    assert read_header(b"", 1000) == 1000
    assert read_header(b"", 10) == 10


@pytest.mark.parametrize("size", [-1, 0, 9, MAX_BLOB_SIZE + 1, 2**70])
def test_a_size_that_no_model_file_has_is_refused(size: int) -> None:
    with pytest.raises(InvalidHeader):
        read_header(b"", size)


@pytest.mark.parametrize(
    "begin",
    [
        b"PK\x03\x04" + bytes(60),  # PyTorch's zip
        b"\x08\x07\x12\x07pytorch" + bytes(60),  # ONNX
        b"\x80\x02}q\x00" + bytes(60),  # a pickle
        b"ggjt" + bytes(60),
        b'{"template": "{{ .Prompt }}", "stop": []}' + bytes(60),
        bytes(64),
        b"\xff" * 64,
    ],
)
def test_other_files_are_refused_by_their_first_bytes(begin: bytes) -> None:
    with pytest.raises(InvalidHeader):
        read_header(begin, 2**32)


def test_more_prefix_than_the_header_needs_changes_nothing() -> None:
    whole = read_header(FILE, len(FILE))
    assert isinstance(whole, Extents)
    assert read_header(FILE[: whole.header], len(FILE)) == whole
    assert read_header(memoryview(FILE + bytes(1000)), len(FILE)) == whole


def test_bytes_behind_the_end_of_the_file_are_not_looked_at() -> None:
    header = gguf(tensors=[tensor([0], 0, 0)])
    assert isinstance(read_header(header, len(header)), Extents)
    with pytest.raises(InvalidHeader):
        read_header(header, len(header) - 1)


def test_a_view_of_a_reused_buffer_is_read_in_place_and_not_kept() -> None:
    buffer = bytearray(b"xx" + FILE)
    extents = read_header(memoryview(buffer)[2:], len(FILE))
    buffer[:] = bytes(len(buffer))
    assert extents == read_header(FILE, len(FILE))
    buffer.clear()  # fails when somebody still holds a view of it


@pytest.mark.parametrize("begin", [gguf([b""])[:30], FILE[:20]])
def test_a_view_is_not_kept_when_more_is_wanted_either(begin: bytes) -> None:
    buffer = bytearray(begin)
    assert isinstance(read_header(memoryview(buffer), len(FILE)), int)
    buffer.clear()


def test_the_largest_file_may_have_tensors_to_its_end() -> None:
    begin = gguf(tensors=[tensor([2**62], 0, MAX_BLOB_SIZE - 192)])
    extents, _ = read_whole(begin, MAX_BLOB_SIZE)
    assert pairs(extents) == [(MAX_BLOB_SIZE - 128, MAX_BLOB_SIZE)]
    assert extents.header == 64 < MAX_HEADER
