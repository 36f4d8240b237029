"""The spill: bounded, least recently used goes first, and a chunk never stands for another's."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fusefs.cache.memory.spill import Spill

if TYPE_CHECKING:
    import pytest


def test_p8_memory_is_bounded_and_the_least_recently_used_goes_first() -> None:
    spill = Spill(250)
    for index in range(2):
        spill.put("a", index, bytes(100))
    assert spill.get("a", 0) is not None
    spill.put("a", 2, bytes(100))
    assert spill.used == 200
    assert [("a", index) in spill for index in range(3)] == [True, False, True]


def test_one_chunk_is_kept_however_large() -> None:
    spill = Spill(250)
    spill.put("a", 0, bytes(100))
    spill.put("a", 1, bytes(1000))
    assert len(spill) == 1
    assert spill.used == 1000
    spill.put("a", 2, bytes(10))
    assert spill.used == 10


def test_the_same_chunk_again_counts_once() -> None:
    spill = Spill(250)
    spill.put("a", 0, bytes(100))
    spill.put("a", 0, b"new" * 10)
    assert spill.used == 30
    assert spill.get("a", 0) == b"new" * 10


def test_owners_are_kept_apart_and_forgotten_one_by_one() -> None:
    spill = Spill(250)
    one, two = object(), object()
    spill.put(one, 0, b"one")
    spill.put(two, 0, b"two")
    assert (spill.get(one, 0), spill.get(two, 0), spill.get(one, 1)) == (b"one", b"two", None)
    spill.forget(one)
    assert (spill.get(one, 0), spill.get(two, 0)) == (None, b"two")
    assert spill.used == 3


def test_p8_it_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    spill = Spill(250)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            spill.warn(OSError("the disk is full"))
    assert [record.getMessage()[:16] for record in caplog.records] == ["the disk is full"]


def test_p8_it_is_told_once_that_the_disk_is_well_again_and_not_while_it_is_just_full(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    spill = Spill(100)
    for _ in range(3):
        spill.warn(OSError("the disk is full"))
        for _ in range(99):
            spill.well()
    assert len(caplog.records) == 1
    for _ in range(200):
        spill.well()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    spill.warn(OSError("the disk is full"))
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"]
