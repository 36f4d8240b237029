"""The concurrency limit: as many as fill the link, whatever the link is like."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from fusefs.prefetch.concurrency import FEWEST, FIRST, ConcurrencyLimit
from fusefs.values.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Callable


def run(limit: ConcurrencyLimit, rate: Callable[[int], float], *, seconds: float, begin: float = 0.0) -> list[int]:
    """The limit after each MiB that arrived at the rate (bytes a second) that so many requests give."""
    chance = random.Random(1)
    now, seen = begin, []
    while now < begin + seconds:
        now += MIB / rate(limit.allowed) * chance.uniform(0.7, 1.3)
        limit.landed(MIB, now)
        seen.append(limit.allowed)
    return seen


def test_a_link_that_two_requests_fill_gets_no_more_than_that_for_long() -> None:
    limit = ConcurrencyLimit(6)
    seen = run(limit, lambda allowed: 120e6, seconds=60)
    late = seen[len(seen) // 2 :]
    assert max(late) <= FIRST
    assert late.count(FEWEST) > 0.8 * len(late)


def test_connections_of_a_fixed_rate_get_all_requests_within_seconds() -> None:
    limit = ConcurrencyLimit(6)
    run(limit, lambda allowed: 20e6 * allowed, seconds=5)
    assert limit.allowed == 6
    seen = run(limit, lambda allowed: 20e6 * allowed, seconds=60, begin=5)
    assert seen.count(6) > 0.9 * len(seen)


def test_a_link_that_four_requests_fill_gets_four_most_of_the_time() -> None:
    limit = ConcurrencyLimit(6)
    seen = run(limit, lambda allowed: min(allowed, 4) * 30e6, seconds=60)
    late = seen[len(seen) // 2 :]
    assert late.count(4) > 0.8 * len(late)


def test_a_link_that_becomes_slower_is_not_held_against_the_number() -> None:
    limit = ConcurrencyLimit(6)
    run(limit, lambda allowed: 20e6 * allowed, seconds=10)
    seen = run(limit, lambda allowed: 5e6 * allowed, seconds=120, begin=10)
    assert seen.count(6) > 0.7 * len(seen)


def test_a_trickle_of_reads_changes_nothing() -> None:
    limit = ConcurrencyLimit(6)
    for second in range(100):
        limit.landed(MIB, float(second))
        limit.starved()
    assert limit.allowed == FIRST


@pytest.mark.parametrize("most", [0, 1, 2, 6])
def test_there_is_always_one_request_and_never_one_too_many(most: int) -> None:
    limit = ConcurrencyLimit(most)
    seen = run(limit, lambda allowed: 10e6 * allowed, seconds=30)
    assert min(seen) >= 1
    assert max(seen) <= max(1, most)


def test_without_the_policy_the_limit_stays() -> None:
    limit = ConcurrencyLimit(6, steady=True)
    assert set(run(limit, lambda allowed: 20e6 * allowed, seconds=10)) == {FIRST}


def test_prefetch_has_half_while_somebody_waits_elsewhere_and_all_of_it_again_afterwards() -> None:
    limit = ConcurrencyLimit(6)
    run(limit, lambda allowed: 20e6 * allowed, seconds=10)
    assert limit.allowed == 6
    limit.give_way(10.0)
    assert limit.allowed == 3
    limit.give_way(10.9)
    assert set(run(limit, lambda allowed: 20e6 * allowed, seconds=0.9, begin=10.9)) == {3}, (
        "each time anew, but no less"
    )
    seen = run(limit, lambda allowed: 20e6 * allowed, seconds=20, begin=12.0)
    assert seen[1] == 6, "at once"
    assert seen.count(6) > 0.9 * len(seen), "and what arrived meanwhile is not held against it"


def test_there_is_always_one_request_left() -> None:
    limit = ConcurrencyLimit(1)
    limit.give_way(1.0)
    assert limit.allowed == 1
