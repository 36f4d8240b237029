"""What a server's log says of a download."""

from __future__ import annotations

import pytest

from scripts.benchmarks.flow import in_flight, note_counters
from scripts.benchmarks.results import Report
from scripts.benchmarks.servers import Request, free_ports


def asked(start: float, seconds: float) -> Request:
    return Request(start + seconds, seconds, 100, 0, "/blobs/x")


def test_requests_in_flight_and_the_time_without_any() -> None:
    requests = [asked(10, 2), asked(11, 2), asked(15, 5), asked(16, 1)]
    assert in_flight(requests) == pytest.approx((1.0, 0.2)), "10 s of requests in 10 s, of which 13 to 15 had none"
    assert in_flight([]) == (0.0, 0.0)
    assert in_flight([asked(3, 0)]) == (0.0, 0.0)


def test_a_counter_that_a_version_has_not_is_left_out() -> None:
    report = Report({}, {})
    note_counters(
        report, "B2", "fusefs", [{"retries": 1, "other": "x"}, {"retries": 3}], ("retries", "waited", "other")
    )
    assert [(one.who, one.values) for one in report.series] == [("fusefs: retries", [1, 3])]


def test_free_ports_are_different() -> None:
    assert len(set(free_ports(50))) == 50
