"""Pace: the rate of a link, whether or not somebody has used it all the time."""

from __future__ import annotations

import pytest

from fusefs.fetch.pace import Pace


def transfer(pace: Pace, begin: float, *, seconds: int) -> None:
    """One worker that gets 100 bytes each tenth of a second."""
    pace.begin(begin)
    for step in range(1, 10 * seconds + 1):
        pace.add(100, begin + step * 0.1)
    pace.end(begin + seconds)


def test_an_hour_without_a_worker_says_nothing_of_the_link() -> None:
    pace = Pace()
    transfer(pace, 5.0, seconds=3)
    assert pace.at(8.0) == pytest.approx(1000, rel=0.01)
    assert pace.at(3_608.0) == pytest.approx(1000, rel=0.01)
    transfer(pace, 3_608.0, seconds=1)
    assert pace.at(3_609.0) == pytest.approx(1000, rel=0.01)


def test_a_worker_who_waits_counts_as_time() -> None:
    pace = Pace()
    pace.begin(0.0)
    pace.add(1000, 1.0)
    assert pace.at(1.0) == pytest.approx(1000), "the second before its first bytes, too"
    assert pace.at(61.0) == pytest.approx(0, abs=1)


def test_workers_that_overlap_share_the_time() -> None:
    pace = Pace()
    pace.begin(0.0)
    pace.begin(0.5)
    pace.add(500, 1.0)
    pace.end(1.0)
    pace.add(500, 2.0)
    pace.end(2.0)
    assert pace.at(9.0) == pytest.approx(500, rel=0.01)
