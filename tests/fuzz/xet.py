"""Xet: ranges of xorbs, reconstructions, proofs of windows."""

from __future__ import annotations

import json

from fusefs.errors import DigestMismatch, InvalidXet
from fusefs.values.chunks import Chunk
from fusefs.xet.merkle import Node, fold
from fusefs.xet.reconstruction import Reconstruction
from fusefs.xet.windowproof import WindowProof
from fusefs.xet.xethash import chunk_hash, file_hash, hash_text
from fusefs.xet.xorb import HEADER_SIZE, MAX_CHUNK, unpacked_chunks
from tests.fuzz.target import NUMBERS, Target
from tests.hub.packed import header, packed_chunk
from tests.hub.proofs import proof_of

_CHUNKS = [b"%d" % seed * (1 + seed % 7) for seed in range(40)]
_NODES = [Node(chunk_hash(chunk), len(chunk)) for chunk in _CHUNKS]
_SIZE, _FILE = sum(map(len, _CHUNKS)), file_hash(fold(_NODES).hash)
_ASKED = Chunk(_SIZE // 2, _SIZE // 2 + 9)
_XORB = hash_text(fold(_NODES).hash)


def xorb(data: bytes) -> None:
    """Chunks of the lengths of their headers, the same in whichever pieces they come; or one line."""
    found: list[list[bytes] | str] = []
    for pieces in ([data], [data[start : start + 5] for start in range(0, len(data), 5)]):
        try:
            found.append([bytes(chunk) for chunk in unpacked_chunks(pieces, 3)])
        except InvalidXet as exc:
            assert str(exc).isprintable()
            found.append("")
    whole, cut = found
    assert whole == cut
    if isinstance(whole, list):
        end = 0
        for chunk in whole:
            assert len(chunk) == int.from_bytes(data[end + 5 : end + 8], "little") <= MAX_CHUNK
            end += HEADER_SIZE + int.from_bytes(data[end + 1 : end + 4], "little")
        assert end == len(data)


def reconstruction(data: bytes) -> None:
    """Terms that give what was asked for, each within a range that can be asked for; or one line."""
    try:
        found = Reconstruction.parse(data, 1000)
    except InvalidXet as exc:
        assert str(exc).isprintable()
        return
    assert sum(term.size for term in found.terms) - found.skip >= 1000
    assert 0 <= found.skip < found.terms[0].size
    for term in found.terms:
        assert term.fetch.first <= term.first < term.stop <= term.fetch.stop
        assert term.stop - term.first <= term.size <= (term.stop - term.first) * MAX_CHUNK
        assert len(term.fetch.xorb) == 32
        assert term.fetch.url


def window_proof(data: bytes) -> None:
    """A window round what was asked for, and whatever proves is right; or one line."""
    try:
        found = WindowProof.parse(data, _SIZE, _ASKED)
    except InvalidXet as exc:
        assert str(exc).isprintable()
        return
    window = found.window
    assert window.start <= _ASKED.start <= _ASKED.end <= window.end < _SIZE
    assert sum(node.size for node in (*found.before, *found.after)) == _SIZE - window.size
    first, start = 0, 0
    while start < window.start:
        start += len(_CHUNKS[first])
        first += 1
    stop, end = first, start
    while end < window.stop:
        end += len(_CHUNKS[stop])
        stop += 1
    right = _NODES[first:stop]
    wrong = [Node(chunk_hash(b"a lie"), end - start), *right[1:]]
    for nodes in (right, wrong):
        try:
            found.verify(nodes, _FILE)
        except DigestMismatch:
            continue
        assert nodes is right
        assert (start, end) == (window.start, window.stop)


def _xorbs() -> list[bytes]:
    chunks = [b"abcdefg" * 30, bytes(500), bytes(range(99))]
    ranges = ((0, 0, 0), (1, 1, 1), (2, 2, 2), (2, 0, 1))
    return [
        *(b"".join(map(packed_chunk, chunks, packings)) for packings in ranges),
        packed_chunk(b"x", 0) * 2 + header(1, 300, 400),
        packed_chunk(b"x", 0) * 3 + b"XETBLOB",
    ]


def _reconstructions() -> list[bytes]:
    terms = [
        {"hash": _XORB, "range": {"start": first, "end": first + 4}, "unpacked_length": 600} for first in (2, 4, 10)
    ]
    chunks, part = {"start": 2, "end": 14}, {"start": 100, "end": 2999}
    v1 = {"fetch_info": {_XORB: [{"range": chunks, "url": "https://h/x", "url_range": part}]}}
    v2 = {"xorbs": {_XORB: [{"url": "https://h/x?s", "ranges": [{"chunks": chunks, "bytes": part}]}]}}
    return [json.dumps({"offset_into_first_range": 7, "terms": terms, **one}).encode() for one in (v1, v2)]


def _proofs() -> list[bytes]:
    wider = (_ASKED.start // 2, _ASKED.stop + 20)
    asked = ((_ASKED.start, _ASKED.stop), wider, (0, _SIZE), (0, _ASKED.stop), (_ASKED.start, _SIZE))
    return [json.dumps(proof_of(_NODES, [one], settled=False)).encode() for one in asked]


_WORDS = (_XORB.encode(), b"*" * 64, b'"start":', b'"end":', b"null", b"1e3", b"-", *NUMBERS)

TARGETS = (
    Target(
        "xorb",
        xorb,
        _xorbs,
        (packed_chunk(b"abcd" * 9, 1), packed_chunk(b"abcd" * 9, 2), b"\x04\x22\x4d\x18", header(2, 9, 1 << 17)),
    ),
    Target("reconstruction", reconstruction, _reconstructions, (b'"xorbs":', b'"fetch_info":', *_WORDS)),
    Target(
        "window-proof",
        window_proof,
        _proofs,
        (b'"levels":', b"[0,0],", b'"hashRanges":', b'"dirtyByteRange":', *_WORDS),
        1 << 14,
    ),
)
