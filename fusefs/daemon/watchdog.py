"""Watchdog: notices reads that nobody answers, and an event loop that stands still, and says so once each time.

A read ends after `--timeout` by itself (P6), so one that is older than twice that is a bug, or a disk that hangs.
systemd is told from the event loop that all is well (`WATCHDOG=1`): when that stands still, systemd restarts us.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import threading
from typing import TYPE_CHECKING

import trio

from fusefs.daemon import background, logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.vfs.reads import Reads

log = logging.getLogger(__name__)

LOOK = 1.0
"""Seconds between two looks."""

SLACK = 30.0
"""Seconds beyond twice the timeout: a chunk may be proved, written and read back by a slow disk after it came."""

STILL = 10.0
"""Seconds after which an event loop that has not run stands still."""

_MOST_REQUESTS = 4
"""Requests under way that a line about a read names."""


class Watchdog:
    """Looks at one mount.

    Args:
        reads: those that are not answered.
        timeout: seconds of `--timeout`.
        requests: one line a request under way.

    Attributes:
        overdue: reads that are past their deadline now.
        complaint: of the last one that was; empty when none is.
    """

    def __init__(self, reads: Reads, timeout: float, requests: Callable[[], list[str]]) -> None:
        self.overdue = 0
        self.complaint = ""
        self._reads = reads
        self._deadline = 2 * timeout + SLACK
        self._requests = requests

    async def run(self) -> None:
        """Look until cancelled."""
        every = interval()
        loop = Heartbeat()
        loop.start()
        told = trio.current_time()
        try:
            while True:
                loop.beat()
                self.look()
                if every is not None and trio.current_time() >= told + every - LOOK:
                    told = trio.current_time()
                    background.notify("WATCHDOG=1", wait=False)
                await trio.sleep(LOOK if every is None else min(LOOK, every / 2))
        finally:
            loop.stop()

    def look(self) -> None:
        """Tell of reads that have become overdue since, in one line, and once that there is none any more."""
        late = self._reads.older_than(self._deadline)
        new = [read for read in late if not read.told]
        if new:
            requests = self._requests()
            self.complaint = (
                f"{len(late)} reads have waited for over {self._deadline:g} s; the oldest is {late[0]}; it waits for "
                + ("; ".join(requests[:_MOST_REQUESTS]) or "no request: the cache's disk, or a bug")
            )
            if not self.overdue:
                log.warning("%s. `kill -USR1 %d` writes more to this log.", self.complaint, os.getpid())
            for read in new:
                read.told = True
        if self.overdue and not late:
            log.info("No read is overdue any more.")
            self.complaint = ""
        self.overdue = len(late)


class Heartbeat:
    """A thread that notices when the event loop stands still, and logs where every thread is.

    It counts its own turns, not the clock's seconds: a process that was stopped for an hour has missed none.
    """

    def __init__(self, still: float = STILL) -> None:
        self._turn = still / 5
        self._beaten = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def beat(self) -> None:
        """The loop runs."""
        self._beaten.set()

    def stop(self) -> None:
        """Watch no more.  Does not wait."""
        self._over.set()

    def _watch(self) -> None:
        missed = 0
        while not self._over.wait(self._turn):
            if self._beaten.is_set():
                self._beaten.clear()
                if missed >= 5:
                    log.info("The event loop runs again.")
                missed = 0
                continue
            missed += 1
            if missed == 5:
                log.warning("The event loop has not run for %g s; every thread's stack follows.", 5 * self._turn)
                faulthandler.dump_traceback(file=logs.descriptor(), all_threads=True)


def interval() -> float | None:
    """Seconds between two words to systemd, half of what it waits; None when it does not ask for any.

    Source: sd_watchdog_enabled(3).
    """
    limit, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not (limit.isascii() and limit.isdecimal() and int(limit)) or pid not in ("", str(os.getpid())):
        return None
    return int(limit) / 2e6
