"""What bounds a read on a machine that is not here."""

from __future__ import annotations

from scripts.benchmarks.results import Report
from scripts.benchmarks.scaling import GIBIT, Parts, lines
from scripts.benchmarks.threads import ENDED, LOOP, OTHERS, WORKERS


def test_the_slowest_of_loop_cores_and_link_bounds_a_read() -> None:
    parts = Parts(serial=0.25, parallel=1.75)
    assert parts.bound(1, 100) == (0.5, "cores")
    assert parts.bound(64, 100) == (4.0, "event loop")
    rate, what = parts.bound(64, 10)
    assert (rate, what) == (1 / (GIBIT / 10), "link")


def test_the_parts_come_from_what_was_measured_and_never_from_the_page() -> None:
    report = Report({}, {})
    assert list(lines(report)) == ["Not measured yet: row B13 of `scripts/bench` has the parts."]
    for kind, value in ((LOOP, 1.0), (WORKERS, 2.0), (OTHERS, 0.5), (ENDED, 0.25)):
        report.raw("B13", f"fusefs mount: CPU of the {kind}", "s/GiB", [value])
    report.raw("B13", "curl", "CPU s/GB", [9.0])
    assert Parts.of(report) == Parts(1.0, 2.75)
    table = list(lines(report))
    assert table[0] == "Serial part (event loop): 1.00 s/GiB. Parallel part: 2.75 s/GiB."
    assert table[-1] == "| 64 | 1.00 GiB/s (event loop) | 1.00 GiB/s (event loop) | 1.00 GiB/s (event loop) |"
