"""Flow: what a server and a daemon say of a download.  A link that is not full is either not asked, or not answered.

A request ends for the server when the kernel has its last byte: what then lies in socket buffers is on its way still.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.benchmarks.threads import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scripts.benchmarks.results import Report
    from scripts.benchmarks.servers import Request

MIB = 1 << 20


def in_flight(requests: Iterable[Request]) -> tuple[float, float]:
    """How many requests were in flight on average, and for which part of the time there was none.

    From the first request's beginning to the last one's end; (0, 0) of no requests.
    """
    spans = sorted((request.ended - request.seconds, request.ended) for request in requests)
    if not spans:
        return 0.0, 0.0
    idle, reach = 0.0, spans[0][0]
    for start, stop in spans:
        idle += max(0.0, start - reach)
        reach = max(reach, stop)
    whole = reach - spans[0][0]
    if not whole:
        return 0.0, 0.0
    return sum(stop - start for start, stop in spans) / whole, idle / whole


def note_requests(report: Report, row: str, who: str, runs: Sequence[Sequence[Request]]) -> None:
    """Raw figures of what was asked for in each run."""
    flows = [in_flight(asked) for asked in runs]
    each = [sum(one.sent for one in asked) / max(1, len(asked)) / MIB for asked in runs]
    report.raw(row, f"{who}: requests", "", [len(asked) for asked in runs])
    report.raw(row, f"{who}: size of a request", "MiB", each)
    report.raw(row, f"{who}: requests in flight", "", [mean for mean, _ in flows])
    report.raw(row, f"{who}: part of the time without a request", "", [idle for _, idle in flows])


def note_threads(report: Report, row: str, who: str, spent: Sequence[Mapping[str, float]], per: float) -> None:
    """Raw figures of the daemon's CPU by kind of thread, divided by the GiB that were read."""
    for kind in KINDS:
        report.raw(row, f"{who}: CPU of the {kind}", "s/GiB", [one[kind] / per for one in spent])


def note_counters(
    report: Report, row: str, who: str, runs: Sequence[Mapping[str, object]], names: Iterable[str]
) -> None:
    """Raw figures of what the daemon counted; a counter that this fusefs has not is left out."""
    for name in names:
        found = [value for counters in runs if isinstance(value := counters.get(name), (int, float))]
        if found:
            report.raw(row, f"{who}: {name}", "", found)
