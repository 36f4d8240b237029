"""HashQueue: who is asked for goes first, and nothing that was hashed is hashed again."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from fusefs.offers.hashqueue import HashQueue

if TYPE_CHECKING:
    from collections.abc import Callable

TURNS = 3
"""Turns that a file of the tests takes; a turn is one byte."""


class Script:
    """Files that take some turns, and what was done with them.  `before` is called before each turn."""

    def __init__(self, before: Callable[[str], None] = lambda _: None) -> None:
        self.turns: list[str] = []
        self.begun: list[str] = []
        self.open: set[str] = set()
        self.most_open = 0
        self.before = before

    def start(self, path: Path) -> File | None:
        self.begun.append(path.name)
        if path.name == "known":
            return None
        self.open.add(path.name)
        self.most_open = max(self.most_open, len(self.open))
        return File(self, path.name)


class File:
    def __init__(self, script: Script, name: str) -> None:
        self._script = script
        self._name = name
        self._left = TURNS

    def turn(self) -> tuple[int, bool]:
        self._script.before(self._name)
        self._script.turns.append(self._name)
        self._left -= 1
        return 1, not self._left

    def close(self) -> None:
        self._script.open.remove(self._name)


def put(queue: HashQueue, key: str, *names: str, demanded: bool = False) -> None:
    assert queue.put(key, key.upper(), {Path(name): TURNS for name in names}, demanded=demanded) is not None


def work_until_empty(queue: HashQueue) -> None:
    """One worker, which ends when nothing is left."""
    worker = threading.Thread(target=queue.work_on)
    worker.start()
    assert queue.wait_empty(30)
    queue.stop()
    worker.join(30)
    assert not worker.is_alive()


def test_what_nobody_asked_for_is_hashed_in_order_one_file_after_the_other() -> None:
    script = Script()
    queue = HashQueue(script.start, None)
    put(queue, "m", "a", "b")
    put(queue, "n", "c")
    work_until_empty(queue)
    assert script.turns == [*"aaabbbccc"]
    assert script.most_open == 1
    assert script.open == set()


def test_who_is_asked_for_goes_first_and_what_was_begun_goes_on_where_it_was() -> None:
    def ask(_name: str) -> None:
        if len(script.turns) == 1:
            put(queue, "small", "s", demanded=True)

    script = Script(ask)
    queue = HashQueue(script.start, None)
    put(queue, "large", "a", "b")
    put(queue, "other", "c")
    work_until_empty(queue)
    assert script.turns == [*"aasssabbbccc"]
    assert script.begun == [*"asbc"]


def test_a_model_that_is_queued_already_goes_first_when_somebody_asks_for_it() -> None:
    script = Script()
    queue = HashQueue(script.start, None)
    put(queue, "m", "a")
    put(queue, "n", "b", "c")
    put(queue, "n", "b", "c", demanded=True)
    work_until_empty(queue)
    assert script.turns == [*"bbbcccaaa"]


def test_those_who_are_asked_for_take_turns_and_few_files_are_open() -> None:
    script = Script()
    queue = HashQueue(script.start, None)
    for key in "abcdefghij":
        put(queue, key, key, demanded=True)
    work_until_empty(queue)
    assert script.turns[:4] == [*"abcd"]
    assert script.turns.index("e") > script.turns.index("a", 3)
    assert script.most_open <= 5
    assert sorted(script.turns) == [key for key in "abcdefghij" for _ in range(TURNS)]


def test_a_file_that_needs_no_hashing_counts_as_done() -> None:
    script, told = Script(), list[tuple[str, int, int]]()
    queue = HashQueue(script.start, lambda *args: told.append(args))
    put(queue, "m", "known", "a")
    work_until_empty(queue)
    assert told == [("M", TURNS, 2 * TURNS), *(("M", TURNS + n, 2 * TURNS) for n in (1, 2, 3))]


def test_progress_begins_anew_after_the_queue_was_empty() -> None:
    told = list[tuple[str, int, int]]()
    queue = HashQueue(Script().start, lambda *args: told.append(args))
    worker = threading.Thread(target=queue.work_on)
    worker.start()
    for key in "mn":
        put(queue, key, key)
        assert queue.wait_empty(30)
    queue.stop()
    worker.join(30)
    assert [told[-1], told[2]] == [("N", TURNS, TURNS), ("M", TURNS, TURNS)]


def test_a_watcher_is_told_once_when_the_last_file_of_its_model_is_done() -> None:
    script, told = Script(), list[list[str]]()
    queue = HashQueue(script.start, None)
    group = queue.put("m", "m", {Path("a"): 3, Path("b"): 3}, demanded=True)
    assert group is not None
    assert queue.watch(group, lambda: told.append(list(script.turns)))

    def forgotten() -> None:
        told.append(["forgotten"])

    assert queue.watch(group, forgotten)
    queue.unwatch(group, forgotten)
    put(queue, "n", "c")
    work_until_empty(queue)
    assert told == [[*"aaabbb"]]
    assert not queue.watch(group, forgotten), "it is over"


def test_a_stop_closes_what_is_open_and_wakes_who_waits() -> None:
    """Amid the turn of a file that was asked for, with another one half done."""
    woken = threading.Event()

    def act(name: str) -> None:
        if name == "b":
            queue.stop()
        else:
            put(queue, "n", "b", demanded=True)

    script = Script(act)
    queue = HashQueue(script.start, None)
    group = queue.put("m", "m", {Path("a"): TURNS}, demanded=False)
    assert group is not None
    assert queue.watch(group, woken.set)
    worker = threading.Thread(target=queue.work_on)
    worker.start()
    worker.join(30)
    assert not worker.is_alive()
    assert script.begun == ["a", "b"]
    assert woken.is_set()
    assert script.open == set()
    assert queue.put("o", "o", {Path("c"): 1}, demanded=True) is None
    assert queue.wait_empty(0)
