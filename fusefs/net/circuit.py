"""Circuit: what one host has made of the requests to it, so that a dead one is not found dead by each request anew.

Closed, requests pass.  After several failures of the transport in a row, by whichever requests, it opens: requests are
refused at once (`HostResting`), and whoever has no other source waits.  Open, it lets one request through after each
rest; the first body that comes closes it, another failure doubles the rest.  The rest is short against `--timeout`
and a probe that nobody answers holds the others back for a part of it only, so nobody fails because of the circuit who
would not have failed of the host.

A Retry-After speaks for the host, too: until then all requests to it are refused.  One that nobody could wait out, or
longer than `LONGEST_ASKED`, is left to the request that it answers, or a single bad answer could end all reads for a
year.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from fusefs.errors import HostResting, StallTimeout
from fusefs.net.clock import SystemClock

if TYPE_CHECKING:
    from fusefs.errors import SourceError
    from fusefs.net.clock import Clock
    from fusefs.net.origin import WebOrigin
    from fusefs.values.settings import Settings

log = logging.getLogger(__name__)

FAILURES = 3
"""In a row, before the circuit opens: a broken connection is an accident, and so may be a second one."""

FAILURES_OF_SEVERAL = 2
"""The same where another source can be asked: there a wait gains nothing."""

_FIRST_REST, _LONGEST_REST = 0.5, 5.0
LONGEST_ASKED = 300.0
"""Seconds for which one answer can have a host left alone, however large `--timeout` is."""

_LOOK = 0.25
"""Seconds after which those who wait for the one request that was let through look again."""

_WORTH_A_LINE = 5.0
"""Seconds of trouble before a person is told; a server that restarts is quicker."""

_MAX_CIRCUITS = 256
"""A hostile registry can redirect to any number of hosts."""


class Circuit:
    """One origin, for all threads."""

    def __init__(self, host: str, settings: Settings, clock: Clock, *, several: bool) -> None:
        self.host = host
        self._clock = clock
        self._several = several
        self._limit = FAILURES_OF_SEVERAL if several else FAILURES
        self._longest = min(_LONGEST_REST, settings.timeout / 8)
        self._probe_time = min(settings.stall, settings.timeout / 4)
        self._patience = min(settings.timeout / 2, LONGEST_ASKED)
        self._lock = threading.Lock()
        self._said = False
        self._until = 0.0
        self._asked = ""
        self._failures = 0
        self._reason = self._blamed = ""
        self._since = self._next = 0.0
        self._rest = _FIRST_REST
        self._probing = False

    def enter(self) -> None:
        """A request is about to be made; `worked`, `failed` or `left` tells what became of it.

        Raises:
            HostResting: it must not be made now.
        """
        with self._lock:
            if not self._until and not self._reason:
                return
            now = self._clock.now()
            if now < self._until:
                raise HostResting(self._asked, source=self.host, retry_after=self._until - now, asked=True)
            if not self._reason:
                return
            if now < self._next:
                wait = min(_LOOK, self._next - now) if self._probing else self._next - now
                # The cause comes first, whatever was to blame: which of several tries a person is told of is chance.
                text = f"{self._reason}; nothing is asked for a moment, after {self._failures} failures"
                raise HostResting(text, source=self._blamed, retry_after=wait, asked=False)
            self._probing = True
            self._next = now + self._probe_time

    def worked(self) -> None:
        """Bytes of a body came."""
        with self._lock:
            if self._said:
                log.info("%s answers again.", self.host)
            self._said = False
            if self._failures:
                self._close()

    def left(self) -> None:
        """It was given up for reasons of our own, which say nothing of the host."""
        with self._lock:
            if self._probing:
                self._probing = False
                self._next = self._clock.now()

    def failed(self, error: SourceError) -> None:
        """The transport failed."""
        with self._lock:
            now = self._clock.now()
            if not self._failures:
                self._since = now
            self._failures += 1
            # Silence has cost a whole stall time already; where others can be asked, it is not paid for again.
            if self._failures < self._limit and not (self._several and isinstance(error, StallTimeout)):
                return
            # Requests that were on their way when it opened say nothing new.
            if self._probing or not self._reason:
                self._rest = min(self._longest, 2 * self._rest if self._reason else _FIRST_REST)
                self._next = now + self._rest / 2 + self._clock.jitter(self._rest / 2)
                self._probing = False
            self._reason = str(error).removeprefix(f"{self.host}: ")
            self._blamed = self.host if error.source in ("", self.host) else ""  # else the reason names it, as a proxy
            if not self._said and now - self._since >= _WORTH_A_LINE:
                self._said = True
                log.warning("%s is in trouble, and is asked only now and then: %s", self.host, self._reason)

    def rest(self, seconds: float, reason: str) -> None:
        """The host asks to be left alone for `seconds`."""
        with self._lock:
            if 0 < seconds <= self._patience:
                self._until = max(self._until, self._clock.now() + seconds)
                self._asked = reason.removeprefix(f"{self.host}: ")

    def forget(self) -> None:
        """Whatever it was, it may be over."""
        with self._lock:
            self._until = 0.0
            self._close()

    @property
    def trouble(self) -> str:
        """Why the host rests; empty when it does not."""
        with self._lock:
            return self._asked if self._clock.now() < self._until else self._reason

    def _close(self) -> None:
        self._failures = 0
        self._reason = ""
        self._since = self._next = 0.0
        self._rest = _FIRST_REST
        self._probing = False


class Untold(Circuit):
    """For a transport whose maker keeps no account of hosts: nothing is counted, nothing refused."""

    def __init__(self) -> None:
        self.host = ""

    def enter(self) -> None:
        """Always."""

    def worked(self) -> None:
        """Well."""

    def left(self) -> None:
        """Well."""

    def failed(self, error: SourceError) -> None:
        """Well."""

    def rest(self, seconds: float, reason: str) -> None:
        """For this request alone."""


class Circuits:
    """The circuits of all hosts that this process has asked."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None, several: bool = False) -> None:
        """Make one; `several`: what these hosts have can be had elsewhere, too."""
        self._settings = settings
        self._clock = clock or SystemClock()
        self._several = several
        self._circuits: dict[WebOrigin, Circuit] = {}
        self._lock = threading.Lock()

    def of(self, origin: WebOrigin) -> Circuit:
        """The circuit of one origin."""
        with self._lock:
            circuit = self._circuits.get(origin)
            if circuit is None:
                if len(self._circuits) >= _MAX_CIRCUITS:
                    self._circuits.clear()
                circuit = Circuit(str(origin), self._settings, self._clock, several=self._several)
                self._circuits[origin] = circuit
            return circuit

    def troubled(self) -> dict[str, str]:
        """Each host that rests, and why."""
        with self._lock:
            circuits = list(self._circuits.values())
        return {circuit.host: trouble for circuit in circuits if (trouble := circuit.trouble)}

    def forget(self) -> None:
        """Ask every host again at once."""
        with self._lock:
            circuits = list(self._circuits.values())
        for circuit in circuits:
            circuit.forget()
