"""Proofs of windows: any window of any file proves, and whatever is changed in it does not."""

from __future__ import annotations

import copy
import json
import random
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.errors import DigestMismatch, InvalidInput, InvalidXet
from fusefs.values.chunks import Chunk
from fusefs.xet.merkle import Node, fold
from fusefs.xet.windowproof import MAX_PROOF, WindowProof
from fusefs.xet.xethash import chunk_hash, file_hash
from tests.hub.proofs import proof_of, subtree

if TYPE_CHECKING:
    from collections.abc import Sequence

CHUNKS = [Node(chunk_hash(b"%d" % seed), 1 + seed * 37 % 1000) for seed in range(300)]
CUT = next(node for node in CHUNKS if not node.hash[24] & 3)
UNCUT = next(node for node in CHUNKS if node.hash[24] & 3)


def hash_of(chunks: Sequence[Node]) -> bytes:
    return file_hash(fold(chunks).hash)


def size_of(chunks: Sequence[Node]) -> int:
    return sum(chunk.size for chunk in chunks)


def answer(chunks: Sequence[Node], first: int, stop: int) -> dict[str, Any]:
    """What proves exactly these chunks; the server would choose the window."""
    start = size_of(chunks[:first])
    return {
        "totalChunks": len(chunks),
        "fileSize": size_of(chunks),
        "windows": [{"dirtyByteRange": [start, start + size_of(chunks[first:stop])]}],
        "hashRanges": [
            subtree(chunks[:first], at_start=True, at_end=False),
            subtree(chunks[stop:], at_start=False, at_end=True),
        ],
        "gapVerification": [],
    }


def parsed(document: dict[str, Any], size: int) -> WindowProof:
    """With a question that any window answers."""
    start, stop = document["windows"][0]["dirtyByteRange"]
    return WindowProof.parse(json.dumps(document).encode(), size, Chunk(start, stop - 1))


KINDS = {
    "ordinary": CHUNKS,
    "no cuts": [UNCUT],
    "cuts only": [CUT],
    "few kinds": [CUT, UNCUT, UNCUT],
    "rare cuts": [CUT, *[UNCUT] * 8],
}


@st.composite
def files(draw: st.DrawFn) -> list[Node]:
    """Chunks of a file; of one that repeats itself, too."""
    kind = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    return random.Random(draw(st.integers(0, 1 << 32))).choices(kind, k=draw(st.integers(1, 400)))


@given(files(), st.data())
def test_p1_any_window_of_any_file_is_proved(chunks: list[Node], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(chunks) - 1))
    stop = data.draw(st.integers(first + 1, len(chunks)))
    proof = parsed(answer(chunks, first, stop), size_of(chunks))
    proof.verify(chunks[first:stop], hash_of(chunks))


@pytest.mark.parametrize("kind", KINDS)
def test_p1_every_window_of_a_small_file_is_proved(kind: str) -> None:
    chunks = random.Random(5).choices(KINDS[kind], k=24)
    for first in range(len(chunks)):
        for stop in range(first + 1, len(chunks) + 1):
            parsed(answer(chunks, first, stop), size_of(chunks)).verify(chunks[first:stop], hash_of(chunks))


@given(files(), st.data(), st.booleans())
def test_p1_the_window_that_a_server_chooses_is_proved(chunks: list[Node], data: st.DataObject, settled: bool) -> None:
    size, ends = size_of(chunks), list(accumulate(chunk.size for chunk in chunks))
    start = data.draw(st.integers(0, size - 1))
    stop = data.draw(st.integers(start + 1, size))
    raw = json.dumps(proof_of(chunks, [(start, stop)], settled=settled)).encode()
    proof = WindowProof.parse(raw, size, Chunk(start, stop - 1))
    first = [0, *ends].index(proof.window.start)
    proof.verify(chunks[first : ends.index(proof.window.stop) + 1], hash_of(chunks))


def test_a_proof_has_few_nodes_for_a_large_file() -> None:
    """As many as some levels have, of a file of 600 MiB."""
    rng = random.Random(2)
    chunks = [Node(rng.randbytes(32), 64 << 10) for _ in range(10_000)]
    document = answer(chunks, 4_000, 4_256)
    assert sum(len(gap["nodes"]) for gap in document["hashRanges"]) < 400
    parsed(document, size_of(chunks)).verify(chunks[4_000:4_256], hash_of(chunks))


def _change(draw: st.DrawFn, document: dict[str, Any], chunks: list[Node]) -> None:
    """Do one thing that a liar might."""
    gaps = [gap for gap in document["hashRanges"] if gap]
    if bool(gaps) and draw(st.booleans()):
        _change_gap(draw, gaps[draw(st.integers(0, len(gaps) - 1))])
    elif draw(st.booleans()):
        _change_chunks(draw, chunks, document["windows"][0]["dirtyByteRange"])
    elif draw(st.booleans()):
        document["hashRanges"] = draw(st.permutations([*document["hashRanges"], None]))[:2]
    else:
        by = draw(st.integers(-2000, 2000))
        document["windows"][0]["dirtyByteRange"] = [one + by for one in document["windows"][0]["dirtyByteRange"]]


def _change_chunks(draw: st.DrawFn, chunks: list[Node], window: list[int]) -> None:
    index = draw(st.integers(0, len(chunks) - 1))
    match draw(st.sampled_from(("hash", "order", "lose", "repeat", "size"))):
        case "hash":
            chunks[index] = chunks[index]._replace(hash=chunk_hash(draw(st.binary(max_size=4))))
        case "order":
            chunks.insert(draw(st.integers(0, len(chunks) - 1)), chunks.pop(index))
        case "lose" if len(chunks) > 1:
            window[1] -= chunks.pop(index).size * draw(st.booleans())
        case "repeat":
            chunks.insert(index, chunks[index])
            window[1] += chunks[index].size * draw(st.booleans())
        case "size":
            chunks[index] = chunks[index]._replace(size=chunks[index].size + 1)
            window[draw(st.integers(0, 1))] += draw(st.sampled_from((-1, 0, 1)))


def _change_gap(draw: st.DrawFn, gap: dict[str, Any]) -> None:
    level = draw(st.integers(0, len(gap["levels"]) - 1))
    match draw(st.sampled_from(("node", "nodes", "flat", "levels"))):
        case "node":
            node = gap["nodes"][draw(st.integers(0, len(gap["nodes"]) - 1))]
            node["size"] += draw(st.sampled_from((-1, 0, 0, 1)))
            node["hash"] = draw(st.sampled_from((node["hash"], node["hash"][::-1], "0" * 64)))
        case "nodes":
            gap["nodes"] = draw(st.permutations(gap["nodes"])) if draw(st.booleans()) else gap["nodes"] * 2
        case "flat":
            gap["levels"] = [[len(gap["nodes"]), 0]]
        case "levels":
            turned = [pair[::-1] for pair in gap["levels"]]
            shorter = [*gap["levels"][:level], *gap["levels"][level + 1 :]]
            others = turned, shorter or turned, gap["levels"][::-1], [[0, 0], *gap["levels"]]
            gap["levels"] = draw(st.sampled_from(others))


@st.composite
def lies(draw: st.DrawFn) -> tuple[list[Node], int, dict[str, Any], list[Node]]:
    """A file, where its window begins, an answer of which something was changed, and chunks likewise."""
    chunks = draw(files())
    first = draw(st.integers(0, len(chunks) - 1))
    stop = draw(st.integers(first + 1, min(len(chunks), first + 20)))
    document, window = copy.deepcopy(answer(chunks, first, stop)), chunks[first:stop]
    for _ in range(draw(st.integers(1, 3))):
        _change(draw, document, window)
    return chunks, first, document, window


@given(lies())
def test_p1_whatever_is_changed_only_the_right_chunks_at_their_place_are_proved(
    lie: tuple[list[Node], int, dict[str, Any], list[Node]],
) -> None:
    chunks, _, document, window = lie
    try:
        proof = parsed(document, size_of(chunks))
        proof.verify(window, hash_of(chunks))
    except (InvalidInput, DigestMismatch):  # of Chunk as well: the changed window may be none that can be asked for
        return
    first = [0, *accumulate(chunk.size for chunk in chunks)].index(proof.window.start)
    assert window == chunks[first : first + len(window)]


def test_p1_a_changed_byte_is_refused_with_both_hashes() -> None:
    proof = parsed(answer(CHUNKS, 100, 110), size_of(CHUNKS))
    wrong = [CHUNKS[100]._replace(hash=chunk_hash(b"another")), *CHUNKS[101:110]]
    with pytest.raises(DigestMismatch) as refused:
        proof.verify(wrong, hash_of(CHUNKS))
    assert refused.value.expected != refused.value.actual
    with pytest.raises(DigestMismatch, match="bytes"):
        proof.verify(CHUNKS[100:109], hash_of(CHUNKS))
    proof.verify(CHUNKS[100:110], hash_of(CHUNKS))


def test_p1_a_proof_for_another_file_is_refused() -> None:
    """Of the same size, with the same window in the same place."""
    other = [*CHUNKS[:5], CHUNKS[6]._replace(size=CHUNKS[5].size), *CHUNKS[6:]]
    for mine, theirs in ((CHUNKS, other), (other, CHUNKS)):
        proof = parsed(answer(theirs, 100, 110), size_of(theirs))
        with pytest.raises(DigestMismatch):
            proof.verify(mine[100:110], hash_of(mine))


def test_p1_a_root_that_stands_for_everything_proves_no_window() -> None:
    """The whole tree as one node of a gap: the window would have to be empty, or there is a node too many."""
    document = answer(CHUNKS, 100, 110)
    root = subtree(CHUNKS, at_start=True, at_end=True)
    for gaps in ([root, None], [None, root], [root, root]):
        with pytest.raises((InvalidXet, DigestMismatch)):
            parsed({**document, "hashRanges": gaps}, size_of(CHUNKS)).verify(CHUNKS[100:110], hash_of(CHUNKS))


GOOD = answer(CHUNKS, 100, 110)
SIZE, WINDOW = GOOD["fileSize"], GOOD["windows"][0]["dirtyByteRange"]
GAP = GOOD["hashRanges"][0]


def gap(**changed: object) -> dict[str, object]:
    """The answer with another gap in front of the window."""
    return {"hashRanges": [{**GAP, **changed}, GOOD["hashRanges"][1]]}


@pytest.mark.parametrize(("first", "stop"), [(101, 110), (100, 109), (0, 100), (110, 300)])
def test_p1_a_proof_of_another_window_is_refused(first: int, stop: int) -> None:
    """It is right, and says nothing of some of the bytes that were asked for."""
    raw = json.dumps(answer(CHUNKS, first, stop)).encode()
    with pytest.raises(InvalidXet, match="without"):
        WindowProof.parse(raw, SIZE, Chunk(WINDOW[0], WINDOW[1] - 1))


WRONG = {
    "another size": {"fileSize": SIZE + 1},
    "a size below zero": {"fileSize": -1},
    "a size that is text": {"fileSize": str(SIZE)},
    "a size that is a float": {"fileSize": float(SIZE)},
    "no chunks": {"totalChunks": 0},
    "no window": {"windows": []},
    "two windows": {"windows": GOOD["windows"] * 2, "hashRanges": [None, None, None]},
    "a window of three": {"windows": [{"dirtyByteRange": [*WINDOW, 1]}]},
    "a window without what was asked": {"windows": [{"dirtyByteRange": [WINDOW[0] + 1, WINDOW[1]]}]},
    "a window too short": {"windows": [{"dirtyByteRange": [WINDOW[0], WINDOW[1] - 1]}]},
    "a window turned round": {"windows": [{"dirtyByteRange": WINDOW[::-1]}]},
    "a window behind the end": {"windows": [{"dirtyByteRange": [WINDOW[0], SIZE + 1]}]},
    "a larger window than its gaps leave": {"windows": [{"dirtyByteRange": [0, SIZE]}]},
    "one gap": {"hashRanges": GOOD["hashRanges"][:1]},
    "three gaps": {"hashRanges": [*GOOD["hashRanges"], None]},
    "no gaps": {"hashRanges": [None, None]},
    "gaps turned round": {"hashRanges": GOOD["hashRanges"][::-1]},
    "no nodes": gap(nodes=[]),
    "more nodes than levels say": gap(nodes=[*GAP["nodes"], GAP["nodes"][0]]),
    "fewer nodes than levels say": gap(nodes=GAP["nodes"][1:]),
    "a count below zero": gap(levels=[[-1, len(GAP["nodes"]) + 1]]),
    "a count beyond all": gap(levels=[[10**18, 0]]),
    "counts that add up to more": gap(levels=[[30_000, 30_000]] * 20),
    "too many levels": gap(levels=[*[[0, 0]] * 30, *GAP["levels"]]),
    "a level of three": gap(levels=[[1, 2, 3]]),
    "a node of no bytes": gap(nodes=[{**GAP["nodes"][0], "size": 0}, *GAP["nodes"][1:]]),
    "a node of more bytes than a file has": gap(nodes=[{**GAP["nodes"][0], "size": 1 << 63}, *GAP["nodes"][1:]]),
    "a node without a hash": gap(nodes=[{"size": 1}, *GAP["nodes"][1:]]),
    "a node with no hash": gap(nodes=[{"hash": "*" * 64, "size": GAP["nodes"][0]["size"]}, *GAP["nodes"][1:]]),
}


@pytest.mark.parametrize("name", WRONG)
def test_p10_what_is_no_proof_of_the_window_is_refused(name: str) -> None:
    asked = Chunk(WINDOW[0], WINDOW[1] - 1)
    WindowProof.parse(json.dumps(GOOD).encode(), SIZE, asked)
    with pytest.raises(InvalidXet) as refused:
        WindowProof.parse(json.dumps({**GOOD, **WRONG[name]}).encode(), SIZE, asked)
    assert str(refused.value).isprintable()


NO_ANSWERS = {
    "more bytes than are read": json.dumps(GOOD).encode() + b" " * MAX_PROOF,
    "nothing": b"",
    "an empty object": b"{}",
    "a list": b"[]",
    "a page": b"<html>",
    "no text": b"\xff",
    "lists in lists": b"[" * 100_000,
    "objects in objects": b'{"a":' * 100_000,
}


@pytest.mark.parametrize("name", NO_ANSWERS)
def test_p10_what_is_no_answer_is_refused(name: str) -> None:
    with pytest.raises(InvalidXet):
        WindowProof.parse(NO_ANSWERS[name], SIZE, Chunk(WINDOW[0], WINDOW[1] - 1))
