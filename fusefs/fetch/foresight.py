"""Foresight: the prefetch policies of one blob, for the event loop and for the threads that answer reads.

A thread that has answered a read asks the policies itself, and wakes the event loop only where something follows from
it.  The reads of one reader are shown to them a few at a time, as if the kernel had asked for more at once: what they
foresee lies megabytes ahead.  Reads that have to wait are shown at once, after all that were held back.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from fusefs.values.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusefs.formats.extents import Extents
    from fusefs.prefetch.policy import Prefetch
    from fusefs.values.trace import Trace

_TOGETHER = MIB
"""Bytes of reads that are shown together: what the kernel asks for at once where its window is large."""

_FEW = 4
"""Reads that are shown together at most: who reads small pieces is not kept waiting for what they tell."""


class Foresight:
    """Of one blob.  Thread-safe.

    Attributes:
        policies: for a look at one of their attributes; who calls a method does so here.
    """

    def __init__(self, policies: Prefetch) -> None:
        self.policies = policies
        self._lock = threading.Lock()
        self._held: list[tuple[int, int]] = []
        self._bytes = 0
        self._last = -1

    def observe(self, off: int, size: int, rate: float, *, tight: bool = False) -> list[range]:
        """Show a read of [off, off+size) to the policies; see `Prefetch.observe`."""
        with self._lock:
            found = self._show_held(rate, tight=tight) if self._held else []
            self._last = off + size
            return found + self.policies.observe(off, size, rate, tight=tight)

    def answered(self, off: int, size: int, rate: float, *, tight: bool = False) -> list[range]:
        """The same of a read that did not wait: alone where nobody has read near there, else with others."""
        with self._lock:
            near = abs(off - self._last) <= _TOGETHER and self._last >= 0
            self._last = off + size
            if not near:
                found = self._show_held(rate, tight=tight) if self._held else []
                return found + self.policies.observe(off, size, rate, tight=tight)
            self._held.append((off, off + size))
            self._bytes += size
            if self._bytes < _TOGETHER and len(self._held) < _FEW:
                return []
            return self._show_held(rate, tight=tight)

    def _show_held(self, rate: float, *, tight: bool) -> list[range]:
        """Show what was held back, something at least: neighbours as one read."""
        held, self._held, self._bytes = sorted(self._held), [], 0  # threads have them in any order
        found: list[range] = []
        start, stop = held[0]
        for off, end in held[1:]:
            if off <= stop:
                stop = max(stop, end)
            else:
                found += self.policies.observe(start, stop - start, rate, tight=tight)
                start, stop = off, end
        return found + self.policies.observe(start, stop - start, rate, tight=tight)

    def files_known(self, files: Iterable[range]) -> None:
        """See `Prefetch.files_known`."""
        with self._lock:
            self.policies.files_known(files)

    def header_begun(self, file: range) -> None:
        """See `Prefetch.header_begun`."""
        with self._lock:
            self.policies.header_begun(file)

    def header_failed(self, file: range) -> None:
        """See `Prefetch.header_failed`."""
        with self._lock:
            self.policies.header_failed(file)

    def header_read(self, file: range, extents: Extents | None) -> None:
        """See `Prefetch.header_read`."""
        with self._lock:
            self.policies.header_read(file, extents)

    def unsaved_record(self) -> Trace | None:
        """See `Prefetch.unsaved_record`; what was held back is in it."""
        with self._lock:
            if self._held:
                self._show_held(0.0, tight=False)
            return self.policies.unsaved_record()

    def record_saved(self, trace: Trace) -> None:
        """See `Prefetch.record_saved`."""
        with self._lock:
            self.policies.record_saved(trace)
