"""Headers of GGUF and safetensors files."""

from __future__ import annotations

from fusefs.errors import InvalidHeader
from fusefs.formats.extents import Extents
from fusefs.formats.header import MAX_HEADER, read_header
from tests.fuzz.target import Target
from tests.headers import ARRAY, BIG, LITTLE, STRING, UINT32, entry, key, pairs, safetensors, string, strings, tensor
from tests.headers import gguf as written


def check_extents(answer: Extents, size: int) -> None:
    """Tensors rise, do not overlap and lie in the file."""
    assert 0 <= answer.header <= size
    before = answer.header
    for number, (begin, stop) in enumerate(pairs(answer)):
        assert before <= begin < stop <= size
        assert answer.at(begin) == answer.at(stop - 1) == number
        before = stop


_MOST = 1 << 17
"""Bytes of zeros at most that an input is made longer by; more only takes time."""


def header(data: bytes) -> None:
    """Extents in the file, or a longer prefix that may be asked for; asking again comes to an end."""
    for size in (len(data), 1 << 20, 1 << 44):
        have = len(data)
        for _ in range(60):
            try:
                answer = read_header(data.ljust(min(have, _MOST), b"\0"), size)
            except InvalidHeader:
                break
            if isinstance(answer, Extents):
                check_extents(answer, size)
                break
            assert min(have, size) < answer <= min(size, MAX_HEADER)
            if answer > _MOST:
                break
            have = answer
        else:
            raise AssertionError("sixty tries")


def _gguf_seeds() -> list[bytes]:
    same = written(tensors=[tensor([8], 0, 32), tensor([8], 0, 32)])
    return [_gguf(LITTLE), _gguf(BIG), same, written(), written(version=2, magic=b"FUGG")]


def _gguf(order: str) -> bytes:
    one = (32).to_bytes(4, "little" if order == LITTLE else "big")
    keys = [
        key(b"general.alignment", UINT32, one, order),
        key(b"tokens", ARRAY, strings([b"a", b"bcd", b""], order), order),
        key(b"general.name", STRING, string(b"tiny", order), order),
    ]
    tensors = [tensor([4, 2], 0, 0, order), tensor([32, 3], 2, 32, order), tensor([5], 77, 96, order)]
    return written(keys, tensors, order=order)


def _safetensors_seeds() -> list[bytes]:
    tensors = {"a": entry(0, 10), "b": entry(12, 20), "__metadata__": {"format": "pt"}}
    return [safetensors(tensors), safetensors({}), safetensors(b'{"a":{"data_offsets":[0,1]}}   ')]


_EDGES = tuple(value.to_bytes(8, order) for value in (2**63 - 1, 2**64 - 1, 2**21) for order in ("little", "big"))

TARGETS = (
    Target("gguf", header, _gguf_seeds, (b"GGUF", b"FUGG", b"\x03\0\0\0", b"general.alignment", b"\t\0\0\0", *_EDGES)),
    Target(
        "safetensors", header, _safetensors_seeds, (b'"data_offsets":', b"[0,1]", b"{", b"[[[[", b'"__metadata__":')
    ),
)
