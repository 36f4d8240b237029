"""Patience: how long one call goes on trying, and how long it waits between two tries.

What may be tried again says so itself (`temporary`).  The wait before try *n* is drawn evenly from 0 to
0.1 s x 2^n, at most 15 s (full jitter: many readers that failed together do not come back together), or longer when
the server names a time.  Every call ends: a call that yields nothing is over after `timeout`.  An answer that is wrong
in the same way `_SETTLED` times running is the server's last word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.errors import Cancelled, FusefsError, HostResting, StallTimeout, WrongResponse
from fusefs.values import metrics

if TYPE_CHECKING:
    import threading

    from fusefs.net.clock import Clock
    from fusefs.values.counters import Counters

_FIRST, _LONGEST = 0.1, 15.0
_SETTLED = 6


class Patience:
    """Of one call; used by one thread."""

    def __init__(
        self, clock: Clock, counters: Counters, timeout: float, stopped: threading.Event, *, brief: bool = False
    ) -> None:
        """Make one; the time begins.

        Args:
            clock: the time.
            counters: `retries` are counted.
            timeout: seconds without success after which there is no next try.
            stopped: set when nobody wants the call any more.
            brief: another source is asked next, so one quick try more is all.
        """
        self._clock = clock
        self._timeout = timeout
        self._counters = counters
        self._stopped = stopped
        self._brief = brief
        self._deadline = clock.now() + timeout
        self._tries = 0
        self._last = ""
        self._same = 0

    def renew(self) -> None:
        """Something was gained, and somebody waits for more: the time begins anew."""
        self._deadline = self._clock.now() + self._timeout
        self._tries = 0
        self._last = ""
        self._same = 0

    def pause(self, error: FusefsError) -> None:
        """Wait before the next try after `error`.

        Raises:
            FusefsError: `error` itself, when there is no next try.
            Cancelled: while it waited.
        """
        if self._stopped.is_set():
            raise Cancelled("the source is closed") from error
        if isinstance(error, HostResting):
            self._rest(error)
        else:
            self._back_off(error)
        if self._stopped.is_set():
            raise Cancelled("the source is closed") from error

    def _rest(self, error: HostResting) -> None:
        """Nothing was tried, so this is no retry.  Nobody gives up early, but for a rest that the host asked for."""
        left = self._deadline - self._clock.now()
        if self._brief or left <= 0 or (error.asked and error.retry_after >= left):
            raise error
        self._clock.wait(self._stopped, min(error.retry_after, left))

    def _back_off(self, error: FusefsError) -> None:
        self._same = self._same + 1 if str(error) == self._last else 1
        self._last = str(error)
        if not error.temporary or (isinstance(error, WrongResponse) and self._same >= _SETTLED):
            raise error
        asked = getattr(error, "retry_after", None) or 0.0
        if self._brief and (self._tries or asked or isinstance(error, StallTimeout)):
            raise error
        seconds = max(self._clock.jitter(min(_LONGEST, _FIRST * 2 ** min(self._tries, 20))), asked)
        if self._clock.now() + seconds >= self._deadline:
            raise error
        self._tries += 1
        self._counters.add(metrics.RETRIES)
        self._clock.wait(self._stopped, seconds)
