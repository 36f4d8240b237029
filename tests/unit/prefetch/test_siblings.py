"""Siblings: which small files follow the one that was read, and how many of them at most."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from fusefs.prefetch.siblings import MOST_AHEAD, MOST_FILES, SMALL, Siblings
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest
from fusefs.values.snapshot import File, Slice

if TYPE_CHECKING:
    from collections.abc import Iterator


def file(path: str, size: int = 100) -> File:
    """A file whose path alone makes its blob another one."""
    return File(path, Slice.whole(Blob(Digest.of(path.encode()), size)))


def blob(path: str, size: int = 100) -> Blob:
    """That blob."""
    return Blob(Digest.of(path.encode()), size)


def model(*paths: str) -> Siblings:
    """A model of small files."""
    return Siblings([file(path) for path in paths])


def test_the_first_read_brings_those_that_follow_as_they_are_walked_and_then_the_first_ones() -> None:
    siblings = model("b/one", "b/c/two", "config.json", "b/zebra", "tokenizer.json", "a")
    assert siblings.missed(blob("tokenizer.json")) == [
        blob(path) for path in ("b/one", "b/zebra", "b/c/two", "a", "config.json")
    ]


def test_each_is_brought_once() -> None:
    siblings = model("a", "b", "c")
    assert len(siblings.missed(blob("a"))) == 2
    assert siblings.missed(blob("c")) == [], "it was on its way, and came too late"
    assert siblings.opened(blob("b")) == []


def test_only_what_is_small_and_proved_by_its_own_digest_is_brought() -> None:
    files = [file("a"), file("b", SMALL + 1), file("c", SMALL), file("empty", 0), File("inline", b"bytes")]
    siblings = Siblings(files)
    assert siblings.missed(blob("b", SMALL + 1)) == [], "the weights say nothing of small files"
    assert siblings.missed(blob("a")) == [blob("c", SMALL)]
    assert Siblings(files, largest=99).missed(blob("a")) == [], "a list of chunks is needed, which is a request more"


def test_what_git_names_is_brought_too() -> None:
    """A repository of the Hub has its configuration and its tokenizer so."""
    named = Blob(Digest("git-sha1", "ab" * 20), 7)
    assert Siblings([file("a"), File("b", Slice.whole(named))]).missed(blob("a")) == [named]


def test_two_paths_of_one_blob_are_one() -> None:
    same = blob("same")
    siblings = Siblings([file("a"), File("b", Slice.whole(same)), File("c", Slice.whole(same))])
    assert siblings.missed(blob("a")) == [same]


def test_what_is_read_elsewhere_is_left_out() -> None:
    here = blob("b")
    siblings = Siblings([file("a"), file("b"), file("c")], elsewhere={here.digest})
    assert siblings.missed(blob("a")) == [blob("c")]
    assert siblings.missed(here) == []


@pytest.mark.slow
def test_one_read_of_twenty_thousand_files_brings_a_few_and_only_who_reads_on_gets_more() -> None:
    names = [f"{i:05}" for i in range(20_000)]
    siblings = model(*names)
    assert siblings.missed(blob(names[100])) == [blob(name) for name in names[101 : 101 + MOST_FILES]]
    assert siblings.opened(blob(names[9_000])) == [], "to open one that was not brought proves nothing"
    assert siblings.missed(blob(names[9_000])) == [], "nobody has followed up what is ahead"
    assert siblings.opened(blob(names[101])) == [blob(names[101 + MOST_FILES])]
    assert siblings.opened(blob(names[101])) == [], "the same one once more is no news"


def test_who_reads_in_any_order_never_has_more_than_a_window_ahead() -> None:
    names = [f"{i:05}" for i in range(5_000)]
    siblings, ahead = model(*names), set[Blob]()
    for name in random.Random(1).sample(names, 1_000):
        one = blob(name)
        ahead.update(siblings.opened(one) if one in ahead else siblings.missed(one))
        ahead.discard(one)
        assert len(ahead) <= MOST_FILES


def test_who_reads_in_order_misses_the_first_file_alone() -> None:
    names = [f"{i:05}" for i in range(1_000)]
    siblings, ahead, missed = model(*names), set[Blob](), 0
    for one in map(blob, names):
        missed += one not in ahead
        ahead.update(siblings.opened(one) if one in ahead else siblings.missed(one))
    assert missed == 1


def test_the_bytes_ahead_are_bounded_too() -> None:
    files = [file(f"{i:03}", SMALL) for i in range(100)]
    first = Siblings(files).missed(blob("000", SMALL))
    assert sum(one.size for one in first) == MOST_AHEAD
    assert len(Siblings(files, most=3 * SMALL + 1).missed(blob("000", SMALL))) == 3
    assert Siblings(files, most=0).missed(blob("000", SMALL)) == [], "reading ahead is off"


def test_what_the_cache_has_lost_is_brought_again() -> None:
    siblings = model("a", "b", "c")
    first = siblings.missed(blob("a"))
    for one in first:
        siblings.opened(one)
    assert siblings.missed(blob("a")) == first


def test_nothing_is_looked_at_before_the_first_read() -> None:
    """A mount of a thousand models must not sort the files of all of them."""

    looked: list[File] = []

    def files() -> Iterator[File]:
        looked.append(file("a"))
        yield looked[-1]

    siblings = Siblings(files())
    assert siblings.opened(blob("a")) == []
    assert not looked
    assert siblings.missed(blob("a")) == []
    assert looked
