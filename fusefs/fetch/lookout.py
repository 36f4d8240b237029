"""Lookout: has threads look into the cache for those who ask of blobs that are not open (P6).

Whoever asks waits for a moment, which is far more than a disk needs that is well; then he is told what was seen last,
or that nothing is here.  A look that hangs keeps one thread of four, which are for looking alone, and nobody waits
for it a second time.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from fusefs.errors import FusefsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusefs.fetch.sight import Sight
    from fusefs.fetch.tasks import Tasks

log = logging.getLogger(__name__)

PATIENCE = 0.5
"""Seconds that `stat` waits for the disk at most."""

_AT_ONCE = 64
"""Blobs that one thread looks at in one go: what hangs at one of them keeps the others of its go from being seen."""


class Look:
    """Blobs that are being looked at."""

    def __init__(self) -> None:
        self.since = trio.current_time()
        self.done = trio.Event()


class Lookout:
    """Of one fetcher; lives on the event loop."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._looking: dict[Sight, Look] = {}

    async def look(self, sights: Sequence[Sight], patience: float = PATIENCE) -> None:
        """Have it known how it is now with each of `sights`, as far as the disk says so within `patience` seconds.

        Returns at once when that is known.
        """
        for look in self.begin(sights):
            with trio.move_on_at(look.since + patience):
                await look.done.wait()

    def begin(self, sights: Sequence[Sight]) -> list[Look]:
        """Begin to look at those of `sights` of which it is not known; who needs one of them waits for the same look.

        Returns:
            What is to be waited for.
        """
        stale = [sight for sight in dict.fromkeys(sights) if sight.stale]
        unseen = [sight for sight in stale if sight not in self._looking]
        for i in range(0, len(unseen), _AT_ONCE):
            self._start(unseen[i : i + _AT_ONCE])
        return list(dict.fromkeys(self._looking[sight] for sight in stale))

    def _start(self, sights: list[Sight]) -> None:
        look = Look()
        self._looking.update(dict.fromkeys(sights, look))
        self._tasks.start_soon(self._run, sights, look)

    async def _run(self, sights: list[Sight], look: Look) -> None:
        try:
            await self._tasks.threads.run_look(_look_at, sights)
        except Exception as exc:  # it must not end the mount
            self._tasks.report(exc)
        finally:
            for sight in sights:
                del self._looking[sight]
            look.done.set()


def _look_at(sights: list[Sight]) -> None:
    for sight in sights:
        try:
            sight.look()
        except FusefsError as exc:  # no descriptor: the next one who asks looks again
            log.debug("%s", exc)
