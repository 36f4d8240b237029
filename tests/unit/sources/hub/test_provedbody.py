"""Ranges of a file in the Xet store: right bytes with their proof, few bytes too much, and no other byte accepted."""

from __future__ import annotations

import random
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pytest

from fusefs.errors import DigestMismatch, FusefsError, NoEvidence, SourceError
from fusefs.sources.base import Evidenced
from fusefs.sources.hub import provedbody
from fusefs.values.chunks import Chunk
from fusefs.values.settings import MIB
from tests.hub.contents import noise
from tests.hub.damage import confused, flipped
from tests.hub.origin import edited
from tests.hub.scriptedhub import ScriptedHub
from tests.hub.xetopening import DATA, WORD, fill, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hub.xetopening import Opened

SIZE = len(DATA)


@pytest.fixture(scope="module")
def scripted() -> Iterator[Opened]:
    with ScriptedHub() as hub, opened(hub, hub.add("org/m", {"w.safetensors": DATA})) as one:
        yield one


@pytest.fixture
def one(scripted: Opened) -> Iterator[Opened]:
    """The file, at a server that behaves and a client that knows nothing."""
    hub = scripted.hub
    yield scripted
    hub.release()
    hub.clear_faults()
    hub.cas.version, hub.cas.proofs, hub.cas.to_the_end, hub.cas.whole_terms = 2, True, False, False
    scripted.files.refresh()


def test_p1_every_range_of_chunks_is_read_with_its_proof(one: Opened) -> None:
    one.read(0, SIZE)
    for start in range(0, SIZE, MIB):
        one.read(start, min(start + MIB, SIZE), piece=10_000)
    one.read(2 * MIB, 5 * MIB, piece=77_777)
    assert one.hub.count("token") == 1
    assert not one.hub.storage.authorizations, "what a signed URL leads to is shown no token"


def test_a_range_costs_few_bytes_more_than_it_has(one: Opened) -> None:
    one.read(0, MIB)  # the token
    before = {kind: one.hub.sent(kind) for kind in ("xorb", "proof", "reconstruction")}
    one.read(MIB, 5 * MIB)
    cost = sum(one.hub.sent(kind) - had for kind, had in before.items())
    assert cost < 1.15 * 4 * MIB, "a tensor of a few MiB"


def test_chunks_behind_the_first_share_proofs(one: Opened) -> None:
    before = one.hub.count("proof"), one.hub.count("reconstruction")
    one.read(0, SIZE)
    assert (one.hub.count("proof"), one.hub.count("reconstruction")) == (before[0] + 3, before[1] + 1)


def test_a_range_that_begins_amid_a_chunk_proves_all_of_it(one: Opened) -> None:
    """So a stream that broke is gone on with: what came before is proved with the rest."""
    start = 3 * MIB + 333_333
    body = one.files.proved(one.file, Chunk(start, 5 * MIB - 1), WORD)
    assert isinstance(body, Evidenced)
    with closing(body):
        rest = fill(body, 4 * MIB - start)
        chunk = Chunk(3 * MIB, 4 * MIB - 1)
        wrong = bytes([DATA[3 * MIB] ^ 1]) + DATA[3 * MIB + 1 : start]
        with pytest.raises(DigestMismatch):
            body.evidence().check(chunk, [wrong, rest])
    one.files.refresh()
    body = one.files.proved(one.file, Chunk(start, 5 * MIB - 1), WORD)
    assert body is not None
    with closing(body):
        rest = fill(body, 4 * MIB - start)
        body.evidence().check(chunk, [DATA[3 * MIB : start], rest])
        last = fill(body, MIB)
        body.evidence().check(Chunk(4 * MIB, 5 * MIB - 1), [last])


def test_a_chunk_that_nobody_has_proved_does_not_break_the_next_proof(one: Opened) -> None:
    """A chunk whose digest is known needs no proof, but a window behind it may reach into it."""
    one.read(0, SIZE, skip=frozenset({0, 2, 3}))
    one.read(MIB, 4 * MIB, skip=frozenset({0}))


def test_what_is_read_ahead_for_a_proof_and_finds_no_room_is_read_again(
    one: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provedbody, "_MOST_HELD", 300_000)
    one.read(0, SIZE)
    monkeypatch.setattr(provedbody, "_MOST_HELD", 0)
    one.read(0, 3 * MIB)


@pytest.mark.parametrize("piece", [1 << 20, 50_000])
def test_p1_no_other_byte_is_accepted(one: Opened, piece: int) -> None:
    found = random.Random(piece)
    for _ in range(12):
        start = MIB * found.randrange(7)
        one.hub.change("xorb", partial(flipped, found=found), times=1)
        try:
            one.read(start, min(SIZE, start + MIB * found.randrange(1, 4)), piece=piece)
        except (DigestMismatch, SourceError):
            continue
        # In a header that is not looked at, or beside the range and asked for again; what was read was right.
    one.hub.clear_faults()
    one.read(0, SIZE)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_p1_whatever_a_lying_server_sends_it_is_refused_or_right(one: Opened, seed: int) -> None:
    found = random.Random(seed)
    for kind in ("xorb", "proof", "reconstruction"):
        damage = edited(partial(confused, found=found)) if kind == "reconstruction" else partial(flipped, found=found)
        one.hub.change(kind, damage, times=found.randrange(1, 3))
        one.files.refresh()
        start = MIB * found.randrange(7)
        try:
            one.read(start, min(SIZE, start + MIB * found.randrange(1, 8)), piece=found.randrange(1000, 1 << 20))
        except AssertionError:
            assert one.files.proved(one.file, Chunk(0, 0), WORD) is None, "not a wrong byte: no evidence"
        except FusefsError:
            pass
        one.hub.clear_faults()


def test_p1_a_proof_of_another_file_proves_nothing(one: Opened) -> None:
    """Bytes and proof that fit each other, of a file of the same size."""
    other = noise(SIZE, 9)
    packed = one.hub.add("org/other", {"w.safetensors": other}).commits
    stored = next(iter(packed.values())).files["w.safetensors"].packed
    assert stored is not None
    hub = one.hub
    right = hub.cas._files[next(iter(hub.cas._files))]
    hub.cas._files[right.hash] = stored
    try:
        for _ in range(2):
            with pytest.raises((DigestMismatch, NoEvidence)):
                one.read(0, MIB)
    finally:
        hub.cas._files[right.hash] = right


# Where nothing can be proved


def test_a_server_without_proofs_gives_no_list(one: Opened) -> None:
    one.hub.cas.proofs = False
    assert one.files.chunk_list(one.file, WORD) is None
    assert one.files.proved(one.file, Chunk(0, MIB - 1), WORD) is None
    with closing(one.files.open(one.file, Chunk(123_456, 5_000_000))) as body:
        assert not isinstance(body, Evidenced)
        assert fill(body, 5_000_001 - 123_456) == DATA[123_456:5_000_001]
    one.hub.cas.proofs = True
    assert one.files.chunk_list(one.file, WORD) is None, "it is remembered"
    one.files.refresh()
    chunks = one.files.chunk_list(one.file, WORD)
    assert chunks is not None
    assert (chunks.voucher, len(chunks), chunks[0].size) == (WORD, 7, MIB)


@pytest.mark.parametrize("status", [400, 404, 501])
def test_one_that_refuses_to_prove_gives_none_either(one: Opened, status: int) -> None:
    one.hub.fault("status", "proof", status=status)
    assert one.files.chunk_list(one.file, WORD) is None


def test_trouble_is_no_refusal(one: Opened) -> None:
    one.hub.fault("status", "proof", status=503)
    with pytest.raises(SourceError, match="content server of the Hub responded with status 503"):
        one.files.chunk_list(one.file, WORD)
    assert one.files.chunk_list(one.file, WORD) is not None


def test_a_proof_that_was_damaged_on_its_way_is_asked_for_again(one: Opened) -> None:
    one.hub.change("proof", lambda body: body[:-1], times=1)
    assert one.files.chunk_list(one.file, WORD) is not None
    one.files.refresh()
    one.hub.change("proof", edited(lambda document: document | {"hashRanges": "opaque"}))
    assert one.files.chunk_list(one.file, WORD) is None


def test_a_window_that_is_much_larger_than_the_range_is_not_read(one: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provedbody, "MOST_BEYOND", 2 * MIB)
    one.hub.cas.to_the_end = True
    before = one.hub.sent("xorb")
    assert one.files.proved(one.file, Chunk(MIB, 2 * MIB - 1), WORD) is None
    assert one.hub.sent("xorb") == before


def test_a_window_that_goes_on_for_a_while_is_read(one: Opened) -> None:
    one.hub.cas.to_the_end = True
    one.read(MIB, 2 * MIB)
    one.read(0, 4 * MIB)


def test_p1_proofs_that_never_fit_are_given_up_and_those_that_once_did_are_not(one: Opened) -> None:
    """Until one has fitted, the way in which they are read here may be wrong as well as the bytes."""

    def wrong(body: bytes) -> bytes:
        return body[: len(body) // 2] + bytes([body[len(body) // 2] ^ 1]) + body[len(body) // 2 + 1 :]

    with ScriptedHub() as hub, opened(hub, hub.add("org/m", {"w.safetensors": DATA})) as fresh:
        hub.change("xorb", wrong)
        with pytest.raises(DigestMismatch):
            fresh.read(0, MIB)
        with pytest.raises(NoEvidence):
            fresh.read(0, MIB)
        assert fresh.files.proved(fresh.file, Chunk(0, MIB - 1), WORD) is None
    one.read(0, MIB)
    one.hub.change("xorb", wrong)
    for _ in range(4):
        with pytest.raises(DigestMismatch):
            one.read(0, MIB)
