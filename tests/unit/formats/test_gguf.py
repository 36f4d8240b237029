from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFEndian, GGUFReader, GGUFValueType, GGUFWriter

from fusefs.errors import InvalidHeader
from fusefs.formats import gguf
from fusefs.formats.extents import Extents
from fusefs.formats.header import MAX_HEADER, read_header
from tests.counting import calls
from tests.headers import (
    ARRAY,
    BIG,
    F32,
    LITTLE,
    STRING,
    UINT8,
    UINT32,
    key,
    pairs,
    read_whole,
    string,
    strings,
    tensor,
)
from tests.headers import gguf as written

if TYPE_CHECKING:
    from pathlib import Path

QUANTIZED = (GGMLQuantizationType.Q4_K, GGMLQuantizationType.Q8_0, GGMLQuantizationType.IQ4_NL)

VOCABULARY, MERGES = 150_000, 250_000


def write_model(path: Path, *, alignment: int | None, order: GGUFEndian, vocabulary: int = 50) -> None:
    """A file as the format's own package writes it: every kind of value, plain and quantized tensors."""
    writer = GGUFWriter(path, "llama", endianess=order)
    if alignment:
        writer.add_custom_alignment(alignment)
    writer.add_name("tiny")
    writer.add_bool("llama.flag", True)
    writer.add_float64("llama.wide", 1.5)
    writer.add_int8("llama.small", -3)
    writer.add_uint64("llama.large", 2**63)
    writer.add_token_list([f"token{number}" for number in range(vocabulary)])
    writer.add_token_scores([0.5] * vocabulary)
    writer.add_token_types([1] * vocabulary)
    writer.add_token_merges([f"a{number} b{number}" for number in range(vocabulary)])
    for number in range(5):
        writer.add_tensor(f"blk.{number}.plain", np.ones((3, number + 1), dtype=np.float32))
    for kind in QUANTIZED:
        block, size = GGML_QUANT_SIZES[kind]
        raw = np.zeros((3, 512 // block * size), dtype=np.uint8)
        writer.add_tensor(f"quantized.{kind.name}", raw, raw_dtype=kind)
    writer.add_tensor("half", np.ones(7, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("alignment", [None, 64, 4096])
@pytest.mark.parametrize("order", [GGUFEndian.LITTLE, GGUFEndian.BIG])
def test_the_extents_are_those_that_the_formats_own_reader_finds(
    tmp_path: Path, alignment: int | None, order: GGUFEndian
) -> None:
    path = tmp_path / "model.gguf"
    write_model(path, alignment=alignment, order=order)
    reader = GGUFReader(path)
    theirs = sorted((found.data_offset, found.data_offset + found.n_bytes) for found in reader.tensors)
    ours, _ = read_whole(path.read_bytes())
    assert len(ours) == 9
    assert pairs(ours) == theirs
    assert ours.header == reader.data_offset


def test_the_sizes_of_the_types_are_those_of_the_formats_own_package() -> None:
    """A newer package may know more: those are the unknown types that reach to the next tensor."""
    theirs = {int(kind): sizes for kind, sizes in GGML_QUANT_SIZES.items()}
    shared = theirs.keys() & gguf.TYPES.keys()
    assert len(shared) > 25
    assert {kind: gguf.TYPES[kind] for kind in shared} == {kind: theirs[kind] for kind in shared}


@pytest.mark.parametrize("order", [LITTLE, BIG])
@pytest.mark.parametrize("magic", gguf.MAGICS)
@pytest.mark.parametrize("version", [2, 3])
def test_every_type_of_value_is_stepped_over_in_both_byte_orders(order: str, magic: bytes, version: int) -> None:
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    keys = [key(b"one", kind, bytes(size), order) for kind, size in sizes.items()]
    keys += [
        key(b"many", ARRAY, struct.pack(order + "IQ", kind, 5) + bytes(5 * size), order) for kind, size in sizes.items()
    ]
    keys.append(key(b"text", STRING, string(b"GGUF", order), order))
    keys.append(key(b"texts", ARRAY, strings([b"", b"a", b"bc" * 500], order), order))
    nested = struct.pack(order + "IQ", ARRAY, 3) + strings([b"a", b"bc"], order) * 2
    nested += struct.pack(order + "IQ", ARRAY, 1) + struct.pack(order + "IQ", UINT8, 3) + b"abc"
    keys.append(key(b"nested", ARRAY, nested, order))
    assert {int(kind) for kind in GGUFValueType} == {*sizes, STRING, ARRAY}
    header = written(keys, [tensor([2, 3], F32, 0, order)], order=order, magic=magic, version=version)
    data = -(-len(header) // 32) * 32
    extents, _ = read_whole(header.ljust(data + 24, b"\0"))
    assert pairs(extents) == [(data, data + 24)]


def laid_out(*tensors: bytes, data: int) -> list[tuple[int, int]]:
    """Where these tensors lie behind the header when the file has `data` bytes there."""
    header = written(tensors=tensors)
    begin = -(-len(header) // 32) * 32
    extents, _ = read_whole(header, begin + data)
    assert extents.header == begin
    return [(start - begin, stop - begin) for start, stop in pairs(extents)]


def test_a_tensor_of_unknown_type_reaches_to_the_next_or_to_the_end_of_the_file() -> None:
    unknown = 4  # Q4_2, which was taken out of the format
    assert laid_out(tensor([32], unknown, 0), tensor([4], F32, 96), tensor([32], unknown, 128), data=200) == [
        (0, 96),
        (96, 112),
        (128, 200),
    ]


def test_a_tensor_whose_rows_are_no_whole_blocks_counts_as_unknown() -> None:
    assert laid_out(tensor([33, 2], 2, 0), tensor([4], F32, 96), data=200) == [(0, 96), (96, 112)]
    assert laid_out(tensor([], 2, 0), data=200) == [(0, 200)]


def test_a_scalar_is_one_value() -> None:
    assert laid_out(tensor([], F32, 32), data=200) == [(32, 36)]


def test_tensors_are_sorted_and_one_that_is_too_long_is_cut_where_the_next_begins() -> None:
    """Numbers of types are taken again for other things: the length may be wrong, where the next begins is not."""
    assert laid_out(tensor([4], F32, 64), tensor([400], F32, 0), data=200) == [(0, 64), (64, 80)]
    assert laid_out(tensor([4], F32, 0), tensor([2], F32, 0), data=200) == [(0, 16)]


def test_a_tensor_ends_with_the_file() -> None:
    assert laid_out(tensor([400], F32, 32), data=200) == [(32, 200)]
    assert laid_out(tensor([2**63, 2**63, 2**63, 2**63], F32, 32), data=200) == [(32, 200)]


def test_a_tensor_without_bytes_is_no_extent() -> None:
    """It holds no byte that could be wanted, wherever it says that it lies."""
    assert laid_out(tensor([4], F32, 0), tensor([4, 0], F32, 8), tensor([0], 999, 2**64 - 1), data=200) == [(0, 16)]


@pytest.mark.parametrize("off", [200, 2**63, 2**64 - 1])
def test_a_tensor_that_begins_behind_the_file_is_refused(off: int) -> None:
    with pytest.raises(InvalidHeader, match="in a file of"):
        laid_out(tensor([4], F32, off), data=200)


def test_a_file_of_metadata_alone_may_end_without_padding() -> None:
    header = written([key(b"general.name", STRING, string(b"vocabulary"))])
    extents, _ = read_whole(header)
    assert len(header) % 32
    assert (extents.header, len(extents)) == (len(header), 0)


NAME = string(b"a")

LIES = {
    "version 0": written(version=0),
    "version 1": written(version=1),
    "version 4": written(version=4),
    "alignment 0": written([key(b"general.alignment", UINT32, struct.pack("<I", 0))]),
    "alignment 24": written([key(b"general.alignment", UINT32, struct.pack("<I", 24))]),
    "alignment of another type": written([key(b"general.alignment", 5, struct.pack("<I", 32))]),
    "unknown value type": written([key(b"a", 13, bytes(8))]),
    "array of unknown type": written([key(b"a", ARRAY, struct.pack("<IQ", 13, 1))]),
    "too many tensors": b"GGUF" + struct.pack("<IQQ", 3, gguf.MAX_TENSORS + 1, 0),
    "too many keys": b"GGUF" + struct.pack("<IQQ", 3, 0, gguf.MAX_KEYS + 1),
    "counts that overflow": b"GGUF" + struct.pack("<IQQ", 3, 2**64 - 1, 2**64 - 1),
    "long key": written([string(b"a" * 65536) + bytes(12)]),
    "key of 2^64 bytes": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**64 - 1),
    "long text": written([NAME + struct.pack("<IQ", STRING, MAX_HEADER)]),
    "text of 2^64 bytes": written([NAME + struct.pack("<IQ", STRING, 2**64 - 1)]),
    "texts of 2^64 bytes": written([NAME + struct.pack("<IIQQ", ARRAY, STRING, 2, 2**64 - 1) + bytes(99)]),
    "texts of 2^63 bytes": written([NAME + struct.pack("<IIQQ", ARRAY, STRING, 2, 2**63 - 1) + bytes(99)]),
    "2^64 texts": written([NAME + struct.pack("<IIQ", ARRAY, STRING, 2**64 - 1)]),
    "too many texts": written([NAME + struct.pack("<IIQ", ARRAY, STRING, gguf.MAX_STEPS + 1)]),
    "2^64 numbers": written([NAME + struct.pack("<IIQ", ARRAY, 12, 2**64 - 1)]),
    "2^64 arrays": written([NAME + struct.pack("<IIQ", ARRAY, ARRAY, 2**64 - 1)]),
    "too many arrays": written([NAME + struct.pack("<IIQ", ARRAY, ARRAY, gguf.MAX_STEPS // 16 + 1)]),
    "nested too deep": written([NAME + struct.pack("<I", ARRAY) + struct.pack("<IQ", ARRAY, 1) * 5]),
    "too many dimensions": written(tensors=[NAME + struct.pack("<I", 9) + bytes(200)]),
    "long tensor name": written(tensors=[struct.pack("<Q", 2**40)]),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused_as_soon_as_it_is_seen_however_long_the_file(lie: str) -> None:
    with pytest.raises(InvalidHeader):
        read_header(LIES[lie], 2**40)


def test_a_header_that_does_not_end_in_its_file_is_refused() -> None:
    header = written([key(b"a", STRING, string(b"abc"))], [tensor([4], F32, 0)])
    for size in range(10, len(header)):
        with pytest.raises(InvalidHeader):
            read_whole(header[:size])


def test_strings_that_cannot_fit_the_file_are_refused_by_their_number() -> None:
    header = written([key(b"a", ARRAY, strings([b"a"] * 99))])
    assert isinstance(read_header(header[:100], len(header)), int)
    with pytest.raises(InvalidHeader):
        read_header(header[:100], 600)


def test_a_file_may_end_with_its_last_tensor_info() -> None:
    header = written([key(b"a", UINT8, b"a")] * 50, [tensor([0], F32, 0)] * 50)
    assert len(read_whole(header)[0]) == 0


def test_what_is_still_missing_of_an_array_of_numbers_is_asked_for_at_once() -> None:
    header = written([key(b"scores", ARRAY, struct.pack("<IQ", 6, 10**6) + bytes(4 * 10**6))])
    extents, wanted = read_whole(header, first=1000)
    assert wanted == [len(header)]
    assert extents.header == len(header)


@pytest.mark.slow
def test_the_header_of_a_large_vocabulary_takes_few_tries_and_little_that_lies_behind_it(tmp_path: Path) -> None:
    """What is fetched too much, and each round trip, is what a person waits for who opens a file cold."""
    path = tmp_path / "model.gguf"
    write_model(path, alignment=None, order=GGUFEndian.LITTLE, vocabulary=VOCABULARY)
    file = path.read_bytes()
    size = 2**31
    extents, wanted = read_whole(file, size)
    assert len(wanted) <= 6
    assert wanted[-1] < extents.header + extents.header // 8 + (64 << 10)
    assert read_whole(file, size, first=1 << 20)[0] == extents
    assert extents.header > 5 << 20
    assert (extents.starts[0], extents.stops[-1]) == (extents.header, len(file.rstrip(b"\0")))


def read(header: bytes, size: int = 2**40) -> Extents | int | None:
    try:
        return read_header(header, size)
    except InvalidHeader:
        return None


def large_header(text: bytes) -> bytes:
    """As much vocabulary as the largest of today's models, in texts like `text`."""
    keys = [
        key(b"tokenizer.ggml.tokens", ARRAY, strings([text] * VOCABULARY)),
        key(b"tokenizer.ggml.token_type", ARRAY, struct.pack("<IQ", 5, VOCABULARY) + bytes(4 * VOCABULARY)),
        key(b"tokenizer.ggml.merges", ARRAY, strings([text] * MERGES)),
    ]
    return written(keys, [tensor([4], F32, 32 * number) for number in range(300)])


def test_the_work_grows_with_the_number_of_strings_and_not_with_their_length() -> None:
    short, long = large_header(b"ab"), large_header(b"ab" * 20)
    assert isinstance(read(short), Extents)
    work = calls(lambda: read(short))
    assert VOCABULARY + MERGES < work < VOCABULARY + MERGES + 10_000
    assert calls(lambda: read(long)) == work


@pytest.mark.slow
def test_no_header_makes_more_work_than_its_limits_allow() -> None:
    """The worst of each kind; the limit of strings counts for all arrays together."""
    half = gguf.MAX_STEPS // 2 + 1
    texts = key(b"a", ARRAY, struct.pack("<IQ", STRING, half) + bytes(8 * half))
    many = gguf.MAX_STEPS // 16
    arrays = key(b"a", ARRAY, struct.pack("<IQ", ARRAY, many) + struct.pack("<IQ", UINT8, 0) * many)
    headers = [
        (written([texts, texts]), gguf.MAX_STEPS),
        (written([arrays, arrays]), gguf.MAX_STEPS),
        (written([string(b"") + bytes(5)] * gguf.MAX_KEYS), 20 * gguf.MAX_KEYS),
    ]
    for header, most in headers:
        assert most // 4 < calls(lambda header=header: read(header)) < most  # type: ignore[misc]  # bound now


def test_text_behind_the_header_makes_no_work() -> None:
    header = written([key(b"a", ARRAY, strings([b"ab"] * 10))])
    assert calls(lambda: read(header + bytes(1 << 20))) == calls(lambda: read(header))


def test_a_header_of_many_keys_ends_although_no_guess_is_right() -> None:
    keys: list[Any] = [key(b"a", STRING, string(b"a" * 60))] * 20_000
    header = written(keys)
    _, wanted = read_whole(header, 2**40)
    assert all(later >= first + first // 8 for first, later in itertools.pairwise(wanted))
    assert len(wanted) < 25
