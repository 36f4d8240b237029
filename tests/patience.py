"""Waiting for what another thread or process does, with guards against hangs that no busy machine trips.

A guard tells what ends from what hangs.  It measures nothing: what must be fast is shown by counts or by an order of
events.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

HANGS = 60.0
"""Seconds after which something counts as hanging: a hundred times what it takes, and far less than the default of
`--timeout`."""


def eventually(what: str, holds: Callable[[], bool], seconds: float = HANGS) -> None:
    """Wait for what happens elsewhere in its own time (sealing, ending), and fail when it does not."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def patiently(read: Callable[[], T], seconds: float = HANGS) -> T:
    """What a read gives that may fail for a moment: a short `--timeout` is soon over on a busy machine."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return read()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def takes_at_most(seconds: float = HANGS) -> Iterator[None]:
    """Fail when the block takes longer, which is how a hang shows that something ends at last."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < seconds, f"took {took:.1f} s"
