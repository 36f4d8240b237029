"""Failover: whose turn it is, how long to go on, and who is blocked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusefs.errors import DigestMismatch, FusefsError, InvalidChunkList, NotFound, RangeIgnored, SourceError
from fusefs.sources.bound import BoundSource
from fusefs.sources.distrust import WHOLE
from fusefs.sources.failover import Failover
from fusefs.sources.retry import Retrying
from fusefs.values.counters import Counters
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from fusefs.values.voucher import Proof
from tests.fake_source import FakeSource
from tests.reading import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterable

NAME = Name.parse("http://h/library/m:latest")
PINNED = Name.parse(f"http://h/library/m@{Digest.of(b'm')}")
BLOB = Digest.of(b"blob")
WRONG = DigestMismatch("a chunk", expected="x", actual="y")
TROUBLE = SourceError("busy", temporary=True)


class Far(FakeSource):
    """A FakeSource behind a network."""

    host = "far"

    def refresh(self) -> None:
        pass

    def in_flight(self) -> list[str]:
        return []


def source_of(label: str, clock: FakeClock, *, proof: Proof = Proof.REGISTRY, several: bool = True) -> BoundSource:
    far = Far(label)
    retrying = Retrying(far, timeout=60, counters=Counters(), clock=clock, several=several, proof=proof)
    return BoundSource(retrying, NAME)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def three(clock: FakeClock) -> Failover:
    return Failover([source_of(label, clock) for label in "abc"])


def asked(failover: Failover, answers: dict[str, FusefsError], *, digest: Digest | None = None) -> list[str]:
    """One round in which each source fails as it should, and one that should not ends it."""
    labels = []
    turns = failover.turns(digest)
    for source in turns.round():
        labels.append(source.label)
        if source.label not in answers:
            break
        turns.failed(answers[source.label])
    return labels


def test_the_next_source_is_asked_at_once(three: Failover) -> None:
    assert asked(three, {"a": TROUBLE, "b": NotFound("no")}) == ["a", "b", "c"]


@pytest.mark.parametrize("error", [WRONG, InvalidChunkList("no"), RangeIgnored("all of it")])
def test_content_that_is_wrong_is_asked_for_once_more(three: Failover, error: FusefsError) -> None:
    assert asked(three, {"a": error}) == ["a", "a", "b"]


def test_who_is_right_the_second_time_has_not_failed(three: Failover) -> None:
    turns, told = three.turns(), []
    for source in turns.round():
        told.append(source.label)
        if told == ["a"]:
            turns.failed(WRONG)
    assert told == ["a", "a", "b", "c"]
    assert turns.errors == []


@pytest.mark.logs("is blocked for")
def test_a_source_that_had_a_chunk_wrong_twice_is_blocked_when_another_has_it_right(three: Failover) -> None:
    turns = three.turns(BLOB)
    for source in turns.round():
        if source.label == "a":
            turns.wrong(4)
            turns.failed(WRONG)
        else:
            turns.right(4)
            break
    assert asked(three, {"b": TROUBLE, "c": TROUBLE}, digest=BLOB) == ["b", "c"]
    assert asked(three, {}, digest=Digest.of(b"another")) == ["a"], "for that blob alone"


def test_nobody_is_blocked_while_nobody_is_right(three: Failover) -> None:
    turns = three.turns(BLOB)
    for _ in turns.round():
        turns.wrong(4)
        turns.failed(WRONG)
    assert asked(three, {}, digest=BLOB) == ["a"]


@pytest.mark.logs("is blocked for")
def test_all_are_asked_when_all_are_blocked(three: Failover) -> None:
    for source in three:
        assert source.standing is not None
        source.standing.set_aside(BLOB, "wrong bytes")
    assert asked(three, {}, digest=BLOB) == ["a"]


@pytest.fixture
def mirrored(clock: FakeClock) -> Failover:
    mirrors = [source_of(label, clock, proof=Proof.NONE) for label in "mn"]
    return Failover([*mirrors, source_of("r", clock)])


def put_off(failover: Failover, *whole: str, entire: bool = False) -> list[str]:
    """One round for a part of BLOB in which `whole` give all of it, and the others nothing; a stream is taken."""
    labels, turns = [], failover.turns(BLOB, entire=lambda: entire)
    for source in turns.round():
        labels.append(source.label)
        if source.label not in whole:
            turns.failed(TROUBLE)
        elif not turns.put_off():
            break
    return labels


def test_a_mirror_that_gives_whole_blobs_alone_is_asked_for_a_part_when_nobody_else_has_it(
    mirrored: Failover, clock: FakeClock
) -> None:
    assert put_off(mirrored, "m") == ["m", "n", "r", "m"]
    assert put_off(mirrored, "m") == ["n", "r", "m"], "it is known"
    assert put_off(mirrored, "m", entire=True) == ["m"], "who wants all of it takes the stream"
    assert asked(mirrored, {"m": TROUBLE}, digest=Digest.of(b"another")) == ["m", "n"], "for that blob alone"
    clock.time += WHOLE
    assert put_off(mirrored) == ["m", "n", "r"], "it may have the blob by now"


def test_a_registry_that_ignores_range_is_not_put_off(mirrored: Failover) -> None:
    assert put_off(mirrored, "r") == ["m", "n", "r"]


def test_the_word_of_the_registry_counts_though_such_a_mirror_was_asked_after_it(mirrored: Failover) -> None:
    answers: dict[str, FusefsError] = {"n": TROUBLE, "r": NotFound("no")}
    turns = mirrored.turns(BLOB, entire=lambda: False)
    for source in turns.round():
        if source.label != "m" or not turns.put_off():
            turns.failed(answers.get(source.label, TROUBLE))
    assert turns.errors == [TROUBLE, TROUBLE, answers["r"]]


def rounds(failover: Failover, errors: Iterable[FusefsError]) -> list[str]:
    left, labels = list(errors), []
    turns = failover.turns()
    for source in turns.rounds(failover.patience()):
        labels.append(source.label)
        if not left:
            break
        turns.failed(left.pop(0))
    return labels


def test_trouble_at_all_of_them_is_waited_out(three: Failover, clock: FakeClock) -> None:
    assert rounds(three, [TROUBLE] * 7) == list("abcabcab")
    assert len(clock.waits) == 2


@pytest.mark.parametrize("last", [NotFound("no"), WRONG])
def test_the_last_word_is_final(three: Failover, last: FusefsError) -> None:
    with pytest.raises(type(last)):
        rounds(three, [TROUBLE, TROUBLE, *[last] * 2])


def test_trouble_at_one_is_worth_waiting_for_though_the_last_cannot_help(three: Failover) -> None:
    assert rounds(three, [TROUBLE, NotFound("no"), SourceError("refused")]) == list("abca")


def test_a_source_that_is_alone_has_had_its_patience(clock: FakeClock) -> None:
    with pytest.raises(SourceError, match="busy"):
        rounds(Failover([source_of("a", clock, several=False)]), [TROUBLE])


def test_a_mirror_gives_bytes_and_no_word(clock: FakeClock) -> None:
    mirror, registry = source_of("m", clock, proof=Proof.NONE), source_of("r", clock)
    both = Failover([mirror, registry])
    assert [source.label for source in both.that_decide()] == ["r"]
    assert both.mirrored
    assert not both.that_decide().mirrored
    assert both.label == "m r"


def test_a_source_is_there_once_for_a_name() -> None:
    source, failover = FakeSource(), Failover()
    for name in (NAME, NAME, PINNED):
        failover = failover.plus(BoundSource(source, name))
    assert [one.pinned for one in failover] == ["", PINNED.short]
    first, second = failover
    assert list(failover.rotated()) == [second, first]
    assert list(failover.without(second)) == [first]
