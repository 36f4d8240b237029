"""Use: who has something to do with an open blob, so that it is not closed under him."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator


class Use:
    """Of one blob; on the event loop.

    A task that is started for a blob is counted by whoever starts it: until it runs, nothing else would tell of it.

    Attributes:
        handles: how many have the file open in the mount.
        waiting: the deadlines of readers that wait for chunks of it.
    """

    def __init__(self) -> None:
        self.handles = 0
        self._held = 0
        self.waiting: set[trio.CancelScope] = set()

    def __bool__(self) -> bool:
        """Whether a task or a thread is at work on it; those who have the file open may be doing nothing."""
        return self._held > 0

    def hold(self) -> None:
        """A task or a thread begins, until `let_go`."""
        self._held += 1

    def let_go(self) -> None:
        """It is done."""
        self._held -= 1

    @contextlib.contextmanager
    def lasting(self) -> Iterator[None]:
        """Hold it for the block."""
        self.hold()
        try:
            yield
        finally:
            self.let_go()

    def progress(self, timeout: float) -> None:
        """Those who wait for a chunk have had what stands before it, and wait `timeout` seconds from now on."""
        for scope in self.waiting:
            scope.deadline = trio.current_time() + timeout
