"""Counters and rates."""

from __future__ import annotations

import re
import threading

import pytest

from fusefs.values import metrics
from fusefs.values.counters import Counters, Rate
from fusefs.values.report import MountReport


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
    counters.add(metrics.REQUESTS)
    counters.add(metrics.BYTES_FETCHED, 10)
    counters.add(metrics.BYTES_FETCHED, 5)
    assert (counters[metrics.REQUESTS], counters[metrics.BYTES_FETCHED]) == (1, 15)
    assert counters.snapshot()["bytes_fetched"] == 15


def test_what_is_not_in_the_table_is_not_counted() -> None:
    with pytest.raises(KeyError):
        Counters().add(metrics.Counter("unknown", "", "In no table."))


def test_a_metric_that_is_kept_elsewhere_is_read_there() -> None:
    counters, evicted, rates = Counters(), [0], [2.5]
    counters.watch(metrics.BYTES_EVICTED, lambda: evicted[0])
    counters.watch(metrics.RATE, lambda: rates[0])
    evicted[0] = 7
    assert counters.snapshot()["bytes_evicted"] == 7
    assert counters.gauges() == {"rate": 2.5}, "those that nobody measures are left out"


def test_the_table_names_each_metric_once_and_says_what_it_is() -> None:
    names = [metric.name for metric in metrics.METRICS]
    assert len(names) == len(set(names))
    assert all(re.fullmatch("[a-z_]+", name) for name in names), "for Prometheus, too"
    assert all(metric.help.endswith(".") for metric in metrics.METRICS)


def test_the_report_of_a_mount_has_a_field_for_every_gauge() -> None:
    assert {gauge.name for gauge in metrics.GAUGES} <= set(MountReport.__struct_fields__)


def test_no_count_is_lost_between_threads() -> None:
    counters = Counters()

    def work() -> None:
        for _ in range(2000):
            counters.add(metrics.REQUESTS)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters[metrics.REQUESTS] == 16_000


def test_a_steady_stream_has_its_rate() -> None:
    rate = Rate(window=2.0)
    for step in range(200):
        rate.add(100, step * 0.1)
    assert rate.value == pytest.approx(1000, rel=0.01)


def test_the_first_bytes_have_their_rate_at_once() -> None:
    rate = Rate(window=2.0)
    rate.add(0, 7.0)
    for step in range(1, 4):
        rate.add(100, 7 + step * 0.1)
    assert rate.value == pytest.approx(1000, rel=0.01), "nobody waits for a window to pass"


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
