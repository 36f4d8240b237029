"""Whatever is claimed, what it costs is bounded: bytes of memory, bytes that are read, and steps."""

from __future__ import annotations

import struct
import tracemalloc
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fusefs.artifacts.imageindex import is_index
from fusefs.artifacts.manifest import MAX_MANIFEST_SIZE, Manifest
from fusefs.errors import FusefsError, InvalidInput
from fusefs.formats.header import MAX_HEADER, read_header
from fusefs.serve.byteranges import requested_range
from fusefs.sources.registry.challenges import challenges_of
from fusefs.sources.registry.responses import describe, retry_after
from fusefs.values import report
from fusefs.values.chunklimits import MAX_BLOB_SIZE
from fusefs.values.chunkpack import unpack
from fusefs.values.chunks import Blob, ChunkList
from fusefs.values.chunksums import LONGEST_LINE
from fusefs.values.digest import Digest
from fusefs.values.trace import MAX_PACKED_SIZE, Trace
from fusefs.values.trace import pack as pack_trace
from fusefs.values.trace import unpack as unpack_trace
from tests.headers import ARRAY, STRING, key, tensor
from tests.headers import gguf as written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1 << 20
HUGE = 2**63


def filled(begin: bytes, middle: bytes, size: int = MAX_MANIFEST_SIZE) -> bytes:
    """As much of `middle` as there is room for behind `begin`."""
    return begin + middle * ((size - len(begin)) // len(middle))


def lists(count: int) -> bytes:
    """A pinned list that claims `count` chunks and has none."""
    return struct.pack("<16s32sQQHH", b"fusefs-chunks 1\n", bytes(32), 5000, count, 1, 0)


WORST: dict[str, tuple[Callable[[bytes], object], bytes, int]] = {
    "manifest, platform": (Manifest.parse, filled(b'{"layers":[{"digest":"","platform":{"a":[', b"[],"), 8),
    "manifest, layers": (Manifest.parse, filled(b'{"layers":[', b'{"digest":""},'), 8),
    "manifest, fewer layers": (Manifest.parse, filled(b'{"layers":[', b'{"digest":"%b"},' % (b"a" * 60)), 90),
    "manifest, annotations": (Manifest.parse, filled(b'{"layers":[{"digest":"","annotations":{', b'"a":"",'), 8),
    "manifest, unknown": (Manifest.parse, filled(b'{"x":[', b"[],"), 8),
    "index, entries": (is_index, filled(b'{"manifests":[', b'{"digest":""},'), 8),
    "chunksums, a word": (lambda raw: ChunkList.parse(5000, raw), b"a" * (8 * MIB), 2),
    "chunksums, short words": (lambda raw: ChunkList.parse(5000, raw), b"a " * (4 * MIB), 12),
    "packed list, count": (lambda raw: unpack(raw, 5000), lists(HUGE), 1),
    "packed list, most": (lambda raw: unpack(raw, 5000), lists(2**64 - 1), 1),
    "gguf, counts": (lambda raw: read_header(raw, 2**40), b"GGUF\3\0\0\0" + struct.pack("<QQ", HUGE, HUGE), 1),
    "gguf, strings": (
        lambda raw: read_header(raw, 2**40),
        written([key(b"k", ARRAY, struct.pack("<IQ", STRING, HUGE))]).ljust(MIB, b"\0"),
        1,
    ),
    "gguf, a string": (lambda raw: read_header(raw, 2**40), written([key(b"k", STRING, struct.pack("<Q", HUGE))]), 1),
    "gguf, shape": (
        lambda raw: read_header(raw, 2**40),
        written(tensors=[tensor([HUGE] * 8, 0, 0)]).ljust(999, b"\0"),
        1,
    ),
    "safetensors, length": (lambda raw: read_header(raw, 2**40), b"\xff" * 8 + b"{" * 100, 1),
    "safetensors, braces": (
        lambda raw: read_header(raw, 2**40),
        (MAX_HEADER - 8).to_bytes(8, "little") + b'{"":' + b"{}," * ((MAX_HEADER - 12) // 3),
        MAX_HEADER // MIB + 8,
    ),
    "error document": (describe, b'{"errors":[' + b"[]," * 20_000, 8),
    "retry-after": (lambda raw: retry_after(raw.decode()), b"9" * MIB, 4),
    "report": (report.decode, b'{"mountpoint":"x","counters":{"a":' + b"9" * MIB, 4),
}


@pytest.mark.parametrize("name", WORST)
def test_p10_no_claim_takes_memory(name: str) -> None:
    """The worst that fits the limit of its kind, and what it may take beyond its own text."""
    parse, raw, mib = WORST[name]
    said = ""
    tracemalloc.start()
    try:
        try:
            parse(raw)
        except FusefsError as exc:
            said = str(exc)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= mib * MIB, f"{peak / MIB:.1f} MiB"
    assert len(said) < 1000  # no error quotes all of it


@pytest.mark.parametrize(
    "piece", [b"\n" * 65536, (b"sha256:" + b"0" * 64 + b" 0-0\n") * 800, b"x" * 65536, b"0-0 " * 99]
)
@pytest.mark.parametrize("size", [1, 5000, pytest.param(MAX_BLOB_SIZE, marks=pytest.mark.slow)])
def test_p10_a_list_without_end_is_not_read_to_its_end(piece: bytes, size: int) -> None:
    """By the bytes that are taken: the least of what a list of that blob may have, and an error long before memory."""
    taken, most = 0, LONGEST_LINE * (min(size, 1 << 21) + 256) + 2 * len(piece)

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += len(piece)
            assert taken <= most, "it is read on and on"
            yield piece

    with pytest.raises(InvalidInput):
        ChunkList.parse(size, endless())


def test_p10_a_start_longer_than_any_that_is_kept_is_refused() -> None:
    blob = Blob(Digest.of(b""), MAX_BLOB_SIZE)
    most = Trace.of((2 * i, 2 * i + 1) for i in range(MAX_PACKED_SIZE))
    assert len(pack_trace(blob, most)) == MAX_PACKED_SIZE
    assert unpack_trace(blob, pack_trace(blob, most)) == most
    with pytest.raises(InvalidInput):
        pack_trace(blob, Trace((*most.ranges, (MAX_BLOB_SIZE - 1, MAX_BLOB_SIZE))))


_REPEATED = st.builds(
    lambda begin, again, end: (begin + again * (100_000 // max(1, len(again))) + end)[:100_000],
    st.sampled_from(["", "bytes", "bytes=", "bytes=0", "Bearer ", 'Bearer a="', "Basic ", "Mon, 01 Jan "]),
    st.sampled_from(
        [" ", "\t", ",", "0", "a", "a ", '"', '\\"', "\\", "=", 'a="', "a=", "-", "(", ":", "+", "/", " ,"]
    ),
    st.sampled_from(["", "x", "\n", '"', "-"]),
)


@given(_REPEATED)
@example("bytes=" + " " * 100_000 + "x")
@example("Bearer " + "a" * 100_000)
@settings(deadline=timedelta(seconds=10))
def test_p10_no_header_takes_the_square_of_its_length(header: str) -> None:
    """The one test with a clock: a header of 100,000 characters takes milliseconds, and its square half a minute."""
    requested_range(header, 1000)
    for _ in range(40):  # of a challenge 8192 characters are looked at
        challenges_of([header])
    retry_after(header)
    describe(header.encode())
