"""Standing: for which blobs one source has been caught with wrong content, or gives them as a whole alone."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from fusefs.net.clock import SystemClock

if TYPE_CHECKING:
    from fusefs.net.clock import Clock
    from fusefs.values.digest import Digest

log = logging.getLogger(__name__)

ASIDE = 3600.0
"""Seconds that a source stays aside for a blob: one that was repaired comes back without anybody's doing."""

WHOLE = 60.0
"""Seconds for which a mirror is known to give a blob as a whole alone: by then it may have what it was filling."""

_MAX_BLOBS = 4096


class Standing:
    """Of one source, for all threads."""

    def __init__(self, label: str, clock: Clock | None = None) -> None:
        self._label = label
        self._clock = clock or SystemClock()
        self._until: dict[Digest, float] = {}
        self._whole: dict[Digest, float] = {}
        self._reason = ""
        self._lock = threading.Lock()

    def set_aside(self, digest: Digest, reason: str) -> None:
        """Its bytes, or its list, of this blob were proved wrong."""
        with self._lock:
            known = self._aside(digest)
            if len(self._until) >= _MAX_BLOBS:
                self._until.clear()
            self._until[digest] = self._clock.now() + ASIDE
            self._reason = f"{reason} of {digest.short}"
        if not known:
            log.warning("%s is blocked for %s: %s.", self._label, digest, reason)

    def aside(self, digest: Digest) -> bool:
        """Whether it must not be asked for this blob."""
        with self._lock:
            return self._aside(digest)

    def set_whole(self, digest: Digest) -> None:
        """It gave all of this blob where a part was asked for."""
        with self._lock:
            if len(self._whole) >= _MAX_BLOBS:
                self._whole.clear()
            self._whole[digest] = self._clock.now() + WHOLE

    def whole(self, digest: Digest) -> bool:
        """Whether it did that a short time ago."""
        with self._lock:
            return self._clock.now() < self._whole.get(digest, 0.0)

    def forgive(self, digest: Digest | None = None) -> None:
        """It may be asked again, for one blob or for all."""
        with self._lock:
            if digest is None:
                self._until.clear()
            else:
                self._until.pop(digest, None)

    @property
    def blobs(self) -> int:
        """For how many blobs it is aside."""
        with self._lock:
            return sum(self._aside(digest) for digest in self._until)

    @property
    def reason(self) -> str:
        """Why, the last time; empty when it is not aside for any."""
        return self._reason if self.blobs else ""

    def _aside(self, digest: Digest) -> bool:
        until = self._until.get(digest)
        return until is not None and self._clock.now() < until
