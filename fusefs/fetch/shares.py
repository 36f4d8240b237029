"""Shares: who may start another worker.  Pure policy: hosts, blobs and times in, yes or no out.

A worker is a thread, and blocking transport keeps it for as long as a server is silent: up to `--timeout`.  So that
nobody's silence is another's
    each host has `connections` workers of its own, whatever other hosts do;
    a worker that has had no byte for `SILENT` seconds leaves its place at its host to the host's other blobs, but not
    to its own: it would only lose more of them to the same silence;
    how many there are has a limit all the same, within which a host, or a blob of a host, with no worker at all comes
    before those that have some.

How many of a host's workers prefetch may have is `ConcurrencyLimit`'s to say, where their bytes fill the link.  Small
requests are bounded by the delay of an answer instead, so of them there are as many as have little to send together.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from functools import partial
from typing import TYPE_CHECKING

from fusefs.fetch.pulse import Pulse
from fusefs.prefetch.concurrency import ConcurrencyLimit
from fusefs.values.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusefs.fetch.flight import Flight

RESERVED = 2
"""Workers of a host that prefetch must leave free for demand reads."""

LIGHT = 1 * MIB
"""Bytes of small requests that prefetch may have in flight together beyond its limit: 8 ms at 1 Gbit/s."""

SILENT = 2.0
"""Seconds without a byte: longer than an honest registry takes to answer, redirect and TLS included."""

_MOST_OF_HOST = 8
"""Times `connections`: threads that one host may hold, nearly all of them silent.  64 by default, a few MiB."""

_MOST = 32
"""Times `connections`: threads of all hosts, but one that each host has in any case."""


class Worker:
    """One worker that runs.

    Attributes:
        host: whom it asks.
        blob: for what.
        prefetch: no reader waited for it when it started.
        light: bytes that it asks for, where these are few; else 0.
        limit: how many requests prefetch may have in flight at its host.
        pulse: beats when bytes come.
    """

    __slots__ = ("_heard", "_since", "blob", "host", "light", "limit", "prefetch", "pulse")

    def __init__(
        self, host: str, blob: object, now: float, limit: ConcurrencyLimit, *, prefetch: bool, light: int = 0
    ) -> None:
        self.host = host
        self.blob = blob
        self.prefetch = prefetch
        self.light = light
        self.limit = limit
        self.pulse = Pulse()
        self._heard = 0
        self._since = now

    def silent_at(self, now: float) -> float:
        """When it will have been silent for too long, unless bytes come; the past when it has been."""
        beats = self.pulse.beats
        if beats != self._heard:
            self._heard, self._since = beats, now
        return self._since + SILENT


class _Host:
    def __init__(self, connections: int, *, steady: bool) -> None:
        self.workers: set[Worker] = set()
        self.limit = ConcurrencyLimit(connections - RESERVED, steady=steady)
        self.prefetching = 0
        self.heavy: Counter[object] = Counter()  # of those, by blob, who asks for much
        self.light = 0  # bytes that the others ask for
        self.blobs: Counter[object] = Counter()
        self.silent: Counter[object] = Counter()
        self.silent_prefetch = 0


class Shares:
    """The workers of one dispatcher, at most `connections` a host that get bytes.

    Attributes:
        running: workers that run now.
    """

    def __init__(self, connections: int, *, steady: bool = False) -> None:
        self.running = 0
        self._connections = connections
        self._hosts: defaultdict[str, _Host] = defaultdict(partial(_Host, connections, steady=steady))

    def look(self, now: float) -> float:
        """See who is silent by now; the next time at which somebody may be, infinite when nobody can."""
        soonest = math.inf
        for host in self._hosts.values():
            host.silent.clear()
            host.silent_prefetch = 0
            for worker in host.workers:
                if (when := worker.silent_at(now)) <= now:
                    host.silent[worker.blob] += 1
                    host.silent_prefetch += worker.prefetch
                else:
                    soonest = min(soonest, when)
        return soonest

    def may_start(self, host: str, blob: object, *, prefetch: bool, asks: float = math.inf) -> bool:
        """Whether a worker for `blob` may start at `host`, as things were at the last `look`.

        Args:
            host: whom it asks.
            blob: for what.
            prefetch: no reader waits for it.
            asks: for how many bytes at most.
        """
        at = self._hosts[host]
        size = len(at.workers)
        if prefetch:
            allowed = at.limit.allowed if at.light + asks > LIGHT else self._connections - RESERVED
            if at.prefetching - (0 if at.silent[blob] else at.silent_prefetch) >= max(allowed, at.limit.allowed):
                return False
        if size and self.running >= _MOST * self._connections:
            return False
        if size < self._connections:
            return True
        most = _MOST_OF_HOST * self._connections
        if prefetch or at.blobs[blob]:
            most //= 2
        return not at.silent[blob] and size < most and size - at.silent.total() < self._connections

    def begin(self, host: str, blob: object, now: float, *, prefetch: bool, asks: float = math.inf) -> Worker:
        """A worker starts; arguments as in `may_start`."""
        at = self._hosts[host]
        light = int(asks) if asks <= LIGHT else 0
        worker = Worker(host, blob, now, at.limit, prefetch=prefetch, light=light)
        if prefetch and light:
            at.light += light
        elif prefetch:
            at.heavy[blob] += 1
        at.workers.add(worker)
        at.blobs[blob] += 1
        at.prefetching += prefetch
        self.running += 1
        return worker

    def give_way(self, host: str, blob: object, now: float) -> None:
        """Somebody waits for what nobody has foreseen: what is prefetched of other blobs has less of the host."""
        at = self._hosts[host]
        if len(at.heavy) > (blob in at.heavy):
            at.limit.give_way(now)

    def end(self, worker: Worker) -> None:
        """A worker has ended."""
        at = self._hosts[worker.host]
        at.workers.discard(worker)
        at.blobs[worker.blob] -= 1
        if not at.blobs[worker.blob]:
            del at.blobs[worker.blob]
        if worker.prefetch:
            at.prefetching -= 1
            at.light -= worker.light
            if not worker.light:
                at.heavy[worker.blob] -= 1
                if not at.heavy[worker.blob]:
                    del at.heavy[worker.blob]
        self.running -= 1

    def idle(self, waiting: Iterable[Flight]) -> None:
        """Nothing more starts now; hosts for which no flight is `waiting` have less to prefetch than they may."""
        busy = set()
        for flight in waiting:
            busy.add(flight.host)
        for name, host in self._hosts.items():
            if name not in busy and host.prefetching < host.limit.allowed:
                host.limit.starved()
