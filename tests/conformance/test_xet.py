"""Xet, against the library of the Hub: hashes, and xorbs of all packings that it writes."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

import hf_xet
import pytest

from fusefs.values.chunks import Chunk
from fusefs.xet.merkle import Node, fold
from fusefs.xet.windowproof import WindowProof
from fusefs.xet.xethash import chunk_hash, file_hash, hash_text, parse_hash
from fusefs.xet.xorb import unpacked_chunks
from tests.hub.proofs import proof_of, subtree

RNG = random.Random(3)
SIZE = 600_000
FILES = {
    "random": RNG.randbytes(SIZE),
    "text": " ".join(RNG.choices(["tensor", "model", "weight", "layer", "the", "of"], k=SIZE // 5)).encode(),
    "floats": struct.pack(f"<{SIZE // 4}f", *(RNG.gauss(0, 0.02) for _ in range(SIZE // 4))),
    "odd": struct.pack("<20001f", *(RNG.gauss(0, 0.02) for _ in range(20_001))) + b"xyz",
    "small": b"hello",
}
"""What packs in different manners, in one xorb each.  No chunk comes twice, so that the xorb is the file."""


@dataclass(frozen=True)
class Written:
    """What `hf_xet` made of a file.

    Attributes:
        hash: of the file.
        xorb: the hash of its one xorb.
        packed: that xorb, without its footer.
        packings: of each of its chunks.
    """

    hash: str
    xorb: str
    packed: bytes
    packings: tuple[int, ...]


@lru_cache
def written(data: bytes) -> Written:
    """Upload a file to a folder."""
    with TemporaryDirectory(prefix="fusefs-xet-") as folder:
        commit = hf_xet.XetSession().new_upload_commit(endpoint=f"local://{folder}")
        upload = commit.start_upload_bytes(data)
        commit.wait_to_finish()
        (path,) = (one for one in Path(folder).rglob("default.*") if one.suffix != ".tagset")
        stored, packings, end = path.read_bytes(), [], 0
    while stored[end : end + 7] != b"XETBLOB":
        packings.append(stored[end + 4])
        end += 8 + int.from_bytes(stored[end + 1 : end + 4], "little")
    name = path.name.removeprefix("default.")
    return Written(upload.result().xet_info.hash, name, stored[:end], tuple(packings))


def nodes_of(data: bytes) -> list[Node]:
    """The chunks that `hf_xet` cut a file into."""
    found = written(data)
    chunks = unpacked_chunks([found.packed], len(found.packings))
    return [Node(chunk_hash(chunk), len(chunk)) for chunk in chunks]


def test_the_files_are_packed_in_every_manner() -> None:
    """Else the next test shows less than it seems to."""
    assert {packing for data in FILES.values() for packing in written(data).packings} == {0, 1, 2}


@pytest.mark.parametrize("name", FILES)
def test_what_hf_xet_packs_is_unpacked_and_has_the_hashes_that_it_gives(name: str) -> None:
    found, root = written(FILES[name]), fold(nodes_of(FILES[name]))
    assert b"".join(unpacked_chunks([found.packed], len(found.packings))) == FILES[name]
    assert hash_text(root.hash) == found.xorb
    assert hash_text(file_hash(root.hash)) == found.hash


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_hashed_as_hf_xet_does(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(FILES[name])
    (found,) = hf_xet.hash_files([str(tmp_path / "file")])
    assert found.hash == hash_text(file_hash(fold(nodes_of(FILES[name])).hash))


REFERENCE = "632c7c6407922b27399c403f13b43a3f19c910aec07e3aca2f96d452098a5880"
"""What @huggingface/xetchunk-wasm 0.2.0 makes of the gaps below, as sha256 of the JSON."""


def test_gaps_are_folded_as_the_hubs_own_library_folds_them() -> None:
    """So that the proofs of tests are those of the Hub."""
    gaps = []
    for count in (1, 2, 3, 9, 10, 50, 300, 2000):
        chunks = [Node(chunk_hash(b"%d" % index), 1 + index * 37 % 1000) for index in range(count)]
        for first in sorted({count // 3, count // 2}):
            stop = min(count, first + count // 5 + 1)
            before = subtree(chunks[:first], at_start=True, at_end=False)
            gaps.append([before, subtree(chunks[stop:], at_start=False, at_end=True)])
    text = json.dumps(gaps, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == REFERENCE


def prove(nodes: list[Node], start: int, end: int, file: str) -> None:
    """Ask for a proof of a range and hold it against the hash of the file."""
    size, ends = sum(node.size for node in nodes), [0, *accumulate(node.size for node in nodes)]
    raw = json.dumps(proof_of(nodes, [(start, end + 1)])).encode()
    proof = WindowProof.parse(raw, size, Chunk(start, end))
    window = nodes[ends.index(proof.window.start) : ends.index(proof.window.stop)]
    proof.verify(window, parse_hash(file))


@pytest.mark.parametrize("name", FILES)
def test_p1_a_window_of_what_hf_xet_wrote_is_proved(name: str) -> None:
    data = FILES[name]
    prove(nodes_of(data), len(data) // 3, len(data) // 3, written(data).hash)


@pytest.mark.slow
def test_p1_windows_of_a_larger_file_are_proved() -> None:
    """Some 370 chunks, whose tree has four levels."""
    data = RNG.randbytes(24_000_000)
    nodes, file = nodes_of(data), written(data).hash
    assert fold(nodes).level >= 4
    for start in range(0, len(data), 1 << 20):
        prove(nodes, start, min(start + (2 << 20), len(data)) - 1, file)
