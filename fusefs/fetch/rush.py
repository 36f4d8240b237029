"""Rush: small files are being fetched, one after the other, and what can wait does.

To seal a blob takes locks, a hash and two syncs of the disk, as much as to fetch a small one.  No reader waits for it,
but the reader of the next file waits for the core and the disk that it takes.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

_CALM = 0.25
"""Seconds without a small file on its way after which the rush is over."""

_LONGEST = 5.0
"""Seconds that one blob waits at most: sealed later is fine, never is not."""

_MOST = 32
"""Blobs that wait at most: each stays open meanwhile."""


class Rush:
    """Of one fetcher; lives on the event loop.  At most `most` blobs wait for its end."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = min(most, _MOST)
        self._under_way = 0
        self._calm_at = 0.0
        self._waiting = 0
        self._ended: trio.Event | None = None  # of those who wait, one looks, and tells the others

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """While this lasts a small file is on its way."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._calm_at = trio.current_time() + _CALM

    async def over(self) -> None:
        """Wait until no small file has been on its way for a moment, if the caller is one of few who wait."""
        if self._waiting >= self._most:
            return
        self._waiting += 1
        try:
            if self._ended is not None:
                await self._ended.wait()
            else:
                await self._watch()
        finally:
            self._waiting -= 1

    async def _watch(self) -> None:
        ended = self._ended = trio.Event()
        try:
            with trio.move_on_after(_LONGEST):
                while self._under_way or trio.current_time() < self._calm_at:  # noqa: ASYNC110  # its end is a time
                    await trio.sleep(_CALM)
        finally:
            self._ended = None
            ended.set()
