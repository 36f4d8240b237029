"""Counters and rates."""

from __future__ import annotations

import threading

import pytest

from fusefs.values.counters import Counters, Rate


def test_counters_start_at_zero_under_the_names_of_status() -> None:
    counts = Counters().snapshot()
    assert set(counts.values()) == {0}
    assert counts.keys() >= {
        "bytes_fetched",
        "bytes_served",
        "requests",
        "retries",
        "chunks_verified",
        "chunks_rejected",
        "read_errors",
    }


def test_adding_counts() -> None:
    counters = Counters()
    counters.add("requests")
    counters.add("bytes_fetched", 10)
    counters.add("bytes_fetched", 5)
    assert (counters.requests, counters.bytes_fetched) == (1, 15)
    assert counters.snapshot()["bytes_fetched"] == 15


def test_an_unknown_counter_is_an_error() -> None:
    with pytest.raises(AttributeError):
        Counters().add("unknown")


def test_no_count_is_lost_between_threads() -> None:
    counters = Counters()

    def work() -> None:
        for _ in range(2000):
            counters.add("requests")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.requests == 16_000


def test_a_steady_stream_has_its_rate() -> None:
    rate = Rate(window=2.0)
    for step in range(200):
        rate.add(100, step * 0.1)
    assert rate.value == pytest.approx(1000, rel=0.01)


def test_the_rate_falls_when_nothing_comes() -> None:
    rate = Rate(window=2.0)
    for step in range(200):
        rate.add(100, step * 0.1)
    before = rate.value
    assert rate.at(20.9) < before
    assert rate.at(1000.0) == pytest.approx(0.0, abs=1e-6)


def test_many_additions_at_one_moment_count_together() -> None:
    rate = Rate(window=2.0)
    rate.add(0, 0.0)
    for _ in range(10):
        rate.add(100, 2.0)
    rate.add(0, 4.0)
    assert rate.value > 0


def test_a_clock_that_stands_still_or_goes_back_divides_by_nothing() -> None:
    rate = Rate()
    for now in (5.0, 5.0, 4.0, 5.0):
        rate.add(100, now)
    assert rate.at(5.0) == 0.0
