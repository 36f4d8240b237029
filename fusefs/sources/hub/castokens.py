"""CasTokens: what the content servers (CAS) of Xet are shown, asked of the Hub once for all who need it.

A token is for one repository at one commit and lives for a quarter of an hour.  The Hub counts requests for tokens
among those to its API, so one is kept until shortly before its end, and who needs one that is being asked for waits.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from fusefs.net.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.net.clock import Clock
    from fusefs.sources.hub.casaccess import CasAccess
    from fusefs.values.hubname import HubName

    AskAccess = Callable[[HubName], CasAccess]
    """Asks the Hub for a repository at a commit.  Blocking; raises SourceError or Cancelled."""

_MOST = 64
"""Repositories whose tokens are kept."""


class _Kept:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.access: CasAccess | None = None
        self.until = 0.0


class CasTokens:
    """Of one Hub, by repository and commit.  For any thread."""

    def __init__(self, ask: AskAccess, clock: Clock | None = None) -> None:
        self._ask = ask
        self._clock = clock or SystemClock()
        self._kept: dict[HubName, _Kept] = {}
        self._lock = threading.Lock()

    def get(self, name: HubName) -> CasAccess:
        """One that is good now.  Blocking.

        Raises:
            SourceError: the Hub gives none.
            Cancelled: the source was closed.
        """
        kept = self._of(name)
        with kept.lock:  # over the request: whoever comes meanwhile waits for its answer instead of asking, too
            began = self._clock.now()
            if kept.access is None or began >= kept.until:
                kept.access = None
                kept.access = self._ask(name)
                kept.until = began + kept.access.life
            return kept.access

    def drop(self, name: HubName, access: CasAccess) -> None:
        """The content server does not take it; another one, which somebody may have by now, stays."""
        kept = self._of(name)
        with kept.lock:
            if kept.access is access:
                kept.access = None

    def forget(self) -> None:
        """Ask for all of them anew."""
        with self._lock:
            self._kept.clear()

    def _of(self, name: HubName) -> _Kept:
        with self._lock:
            kept = self._kept.get(name)
            if kept is None:
                if len(self._kept) >= _MOST:
                    self._kept.pop(next(iter(self._kept)))
                kept = self._kept[name] = _Kept()
            return kept
