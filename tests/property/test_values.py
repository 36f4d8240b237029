"""Values against naive models, and parsers against anything at all."""

from __future__ import annotations

import json
import random
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fusefs.artifacts.imageindex import choose_from_index
from fusefs.artifacts.manifest import Manifest
from fusefs.errors import FusefsError, InvalidChunk, InvalidChunkList, InvalidManifest
from fusefs.values.chunks import Chunk, ChunkList
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from fusefs.values.settings import parse_seconds, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

digests = st.binary(min_size=32, max_size=32).map(Digest.from_raw)


@st.composite
def chunk_lists(draw: st.DrawFn) -> ChunkList:
    """Any true chunk list of up to 40 chunks."""
    sizes = draw(st.lists(st.integers(1, 5000), max_size=40))
    pairs, off = [], 0
    for size in sizes:
        pairs.append((draw(digests), Chunk(off, off + size - 1)))
        off += size
    return ChunkList.from_pairs(off, pairs)


def cut(text: bytes, seed: int) -> list[bytes]:
    """`text` in pieces of any size."""
    rng = random.Random(seed)
    pieces = []
    while text:
        count = rng.randint(1, 100)
        pieces.append(text[:count])
        text = text[count:]
    return pieces


@given(chunk_lists(), st.randoms(use_true_random=False), st.integers(0, 1000))
def test_the_text_form_goes_back_to_the_same_list_in_any_order_and_any_pieces(
    chunks: ChunkList, rng: random.Random, seed: int
) -> None:
    lines = list(chunks.format())
    rng.shuffle(lines)
    text = "".join(lines).encode()
    assert ChunkList.parse(chunks.size, text) == chunks
    assert ChunkList.parse(chunks.size, cut(text, seed)) == chunks
    assert ChunkList.parse(chunks.size, text.replace(b" ", b"\t\n ").replace(b"sha256:", b"sha256-")) == chunks


@given(chunk_lists(), st.integers(-10, 250_000), st.integers(-10, 250_000))
def test_covering_is_what_a_naive_look_at_every_chunk_says(chunks: ChunkList, off: int, size: int) -> None:
    naive = [i for i, c in enumerate(chunks) if off >= 0 and range(max(off, c.start), min(off + size, c.stop))]
    assert list(chunks.covering(off, size)) == naive


@given(chunk_lists().filter(lambda chunks: chunks.size > 0), st.data())
def test_f5_a_list_with_one_chunk_too_few_or_too_many_or_moved_is_refused(
    chunks: ChunkList, data: st.DataObject
) -> None:
    pairs = [(chunks.digest(i), chunk) for i, chunk in enumerate(chunks)]
    i = data.draw(st.integers(0, len(pairs) - 1))
    digest, chunk = pairs[i]
    change = data.draw(st.sampled_from(["drop", "double", "later", "earlier", "longer"]))
    if change == "drop":
        del pairs[i]
    elif change == "double":
        pairs.append(pairs[i])
    elif change == "later":
        pairs[i] = (digest, Chunk(chunk.start + 1, chunk.end + 1))
    elif change == "earlier" and chunk.start:
        pairs[i] = (digest, Chunk(chunk.start - 1, chunk.end - 1))
    else:
        pairs[i] = (digest, Chunk(chunk.start, chunk.end + 1))
    with pytest.raises(InvalidChunkList):
        ChunkList.from_pairs(chunks.size, pairs)


@given(chunk_lists())
def test_every_byte_is_in_exactly_one_chunk(chunks: ChunkList) -> None:
    assert sum(chunk.size for chunk in chunks) == chunks.size
    for i, chunk in enumerate(chunks):
        assert list(chunks.covering(chunk.start, chunk.size)) == [i]
        assert chunks.index_of(chunk) == i
    assert ChunkList.from_packed(chunks.size, *chunks.packed()) == chunks


@given(st.integers(0, 100_000), st.integers(1, 5000))
def test_uniform_chunks_are_a_partition(size: int, chunk_size: int) -> None:
    chunks = ChunkList.uniform(size, chunk_size)
    assert sum(chunk.size for chunk in chunks) == size
    assert all(chunk.size == chunk_size for chunk in list(chunks)[:-1])


@given(st.binary(max_size=300), st.integers(-1, 1000))
@example(b"\x1c\x1d\x85\xa0", 0)
@example(b"sha256:" + b"\xd9\xa1" * 32 + b" 0-0", 1)
def test_any_bytes_as_chunksums_give_a_list_or_an_error_of_ours(text: bytes, size: int) -> None:
    try:
        chunks = ChunkList.parse(size, text)
    except FusefsError:
        return
    assert "".join(chunks.format()).encode().split() != [] or size == 0


def parsed_word_by_word(size: int, text: bytes) -> ChunkList:
    """What `ChunkList.parse` must give and say: no word is looked at together with others."""
    words = iter(word.decode("ascii", "replace") for word in text.split())

    def parsed() -> Iterator[tuple[Digest, Chunk]]:
        for word in words:
            digest = Digest.parse(word)
            span = next(words, None)
            if span is None:
                raise InvalidChunk("missing chunk range after the last digest")
            yield digest, Chunk.parse(span)

    return ChunkList.from_pairs(size, parsed())


def outcome_of(parse: Callable[[int, bytes], ChunkList], size: int, text: bytes) -> ChunkList | tuple[type, str]:
    try:
        return parse(size, text)
    except FusefsError as exc:
        return type(exc), str(exc)


_odd_words = st.sampled_from(
    [
        *(str(Digest.of(b"")) + more for more in ("", "0", " ")),
        str(Digest.of(b"")).upper(),
        "SHA256:" + Digest.of(b"").hex,
        Digest.of(b"").file_name,
        "sha256:" + Digest.of(b"").hex.upper(),
        "sha256:" + "sha256:" + "0" * 57,  # with a neighbour of 71 digits: right together, wrong each
        "0" * 71,
        "sha256:" + "\u0663" * 32,
        *("0-", "-3", "0--3", "0-3-5", "3", "-", "00-3", "0-03", "+0-3", "0_0-3", "0.0-3", "1e0-3", "0-3,", ",0-3"),
        *("3-0", "0-0", "4-4", "0-99999999999999999999", f"0-{1 << 64}", f"{(1 << 64) - 1}-0", "0-" + "0" * 20 + "3"),
        "x" * 128,
        "",
        "\x0b",
        "\x1c",
        "\xa0",
    ]
)


@given(
    chunk_lists(), st.lists(st.tuples(st.integers(0, 90), st.booleans(), _odd_words), max_size=3), st.integers(0, 99)
)
def test_words_read_together_are_what_they_are_one_by_one(
    chunks: ChunkList, changes: list[tuple[int, bool, str]], seed: int
) -> None:
    """The same list, or the same error with the same words, wherever the odd word stands and however it is cut."""
    words = "".join(chunks.format()).split()
    for at, instead, odd in changes:
        words[at : at + instead] = [odd]
    text = " ".join(words).encode()
    expected = outcome_of(parsed_word_by_word, chunks.size, text)
    assert outcome_of(ChunkList.parse, chunks.size, text) == expected
    assert outcome_of(lambda size, text: ChunkList.parse(size, cut(text, seed)), chunks.size, text) == expected


@given(
    st.lists(st.sampled_from([str(Digest.of(b"")), "sha256:", "0-1", "2-3", "0-0", "1-0", "-", "x", "0-" + "9" * 30]))
)
def test_any_words_as_chunksums_give_a_list_or_an_error_of_ours(words: list[str]) -> None:
    try:
        chunks = ChunkList.parse(4, " ".join(words).encode())
    except FusefsError:
        return
    assert [str(chunk) for chunk in chunks] == ["0-1", "2-3"]


@given(st.binary(max_size=300))
def test_any_bytes_as_a_manifest_give_one_or_an_error_of_ours(raw: bytes) -> None:
    for parse in (Manifest.parse, partial(choose_from_index, architecture="amd64")):
        try:
            parse(raw)
        except InvalidManifest:
            continue


_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(str(Digest.of(b""))),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["digest", "size", "name", "annotations", "mediaType", "platform"]), inner)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["layers", "config", "manifests", "schemaVersion", "mediaType"]), _values))
def test_any_json_as_a_manifest_gives_one_or_an_error_of_ours(document: dict[str, Any]) -> None:
    try:
        manifest = Manifest.parse(json.dumps(document).encode())
    except InvalidManifest:
        return
    assert manifest.layers
    assert all(blob.size >= 0 for blob in manifest.blobs())


@given(st.text(max_size=200))
@example("\ud800")
def test_any_text_as_a_name_gives_one_or_an_error_of_ours(text: str) -> None:
    try:
        name = Name.parse(text)
    except FusefsError as exc:
        assert "\n" not in str(exc)  # noqa: PT017  # most texts are none; the claim is about those that are not
        return
    assert Name.parse(str(name)) == name
    for part in name.path:
        assert part not in {"", ".", ".."}
        assert not set(part) & set("/\\\0 \n")


_parts = st.text("ab_-.:/@ %", max_size=6)


@given(st.lists(_parts, min_size=1, max_size=4), st.sampled_from(["", "http://", "https+insecure://", "x://", "://"]))
def test_any_parts_of_a_name_give_one_or_an_error_of_ours(parts: list[str], scheme: str) -> None:
    try:
        name = Name.parse(scheme + "/".join(parts))
    except FusefsError:
        return
    assert Name.parse(str(name)) == name
    assert Name.from_path(*name.path).key == name.key


@given(st.text(max_size=100), st.sampled_from([Digest.parse, Chunk.parse, parse_size, parse_seconds]))
def test_any_text_as_a_small_value_gives_one_or_an_error_of_ours(text: str, parse: Callable[[str], object]) -> None:
    try:
        value = parse(text)
    except FusefsError:
        return
    assert value == parse(text)


@given(digests)
def test_a_digest_goes_back_from_every_form(digest: Digest) -> None:
    assert Digest.parse(str(digest)) == Digest.parse(digest.file_name) == Digest.from_raw(digest.raw) == digest
    assert Digest.parse(f"sha256:{digest.hex.upper()}") == digest


@given(st.integers(1, 1 << 50))
def test_a_number_of_bytes_is_that_number(size: int) -> None:
    assert parse_size(str(size)) == size
