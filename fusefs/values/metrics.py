"""Metrics: everything that is counted or measured of a mount or a pull, in one table.

A new metric is a line of `METRICS`.  The code that counts it names it, `counters.add(metrics.RETRIES)`, so that mypy
finds a typo.  `fusefs status`, its JSON, and whatever else shows metrics read the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Unit = Literal["", "bytes", "bytes/second", "seconds"]


@dataclass(frozen=True, slots=True, eq=False)  # each is one object, and a key for every read
class Counter:
    """Only rises.

    Attributes:
        name: in JSON, among `counters`.
        unit: of its values; empty for a number of things.
        help: one sentence.
        noted: how `fusefs status` says one, and how several, when there are any; None for what it says always, or
            never.
    """

    name: str
    unit: Unit
    help: str
    noted: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Gauge:
    """Rises and falls.

    Attributes:
        name: in JSON, beside `counters`.
        unit: as of a `Counter`.
        help: one sentence.
    """

    name: str
    unit: Unit
    help: str


Metric: TypeAlias = Counter | Gauge

METRICS: Final[tuple[Metric, ...]] = (
    BYTES_FETCHED := Counter("bytes_fetched", "bytes", "Bytes of chunks that sources sent."),
    BYTES_SERVED := Counter(
        "bytes_served", "bytes", "Bytes that readers of the mount were given, but for what the kernel reads by itself."
    ),
    BYTES_EVICTED := Counter(
        "bytes_evicted", "bytes", "Bytes that left the cache to make room.", ("evicted {}", "evicted {}")
    ),
    REQUESTS := Counter("requests", "", "Requests to sources for bytes of blobs."),
    RETRIES := Counter(
        "retries", "", "Requests that were made again after they had failed.", ("{} retry", "{} retries")
    ),
    CHUNKS_VERIFIED := Counter("chunks_verified", "", "Chunks whose sha256 was the one in their list."),
    CHUNKS_UNPROVED := Counter("chunks_unproved", "", "Chunks that came without a list to compare them with."),
    CHUNKS_REJECTED := Counter(
        "chunks_rejected", "", "Chunks whose sha256 was another.", ("{} chunk rejected", "{} chunks rejected")
    ),
    OPENS_NATIVE := Counter(
        "opens_native",
        "",
        "Opens of files that the kernel reads by itself (passthrough); what is read of them is in no other count.",
        ("{} file opened by passthrough", "{} files opened by passthrough"),
    ),
    READS_WAITED := Counter("reads_waited", "", "Reads of the kernel that waited for chunks to come."),
    READ_ERRORS := Counter("read_errors", "", "Reads that ended in an error.", ("{} read error", "{} read errors")),
    RATE := Gauge("rate", "bytes/second", "Verified bytes that arrive now."),
    IN_FLIGHT := Gauge("in_flight", "", "Requests to sources that are running now."),
    QUEUED := Gauge("queued", "", "Chunks that are wanted and wait for their request."),
    OVERDUE := Gauge("overdue", "", "Reads that should have been answered long ago."),
    UPTIME := Gauge("uptime", "seconds", "Time since the daemon began."),
)

COUNTERS: Final = tuple(metric for metric in METRICS if isinstance(metric, Counter))
GAUGES: Final = tuple(metric for metric in METRICS if isinstance(metric, Gauge))
