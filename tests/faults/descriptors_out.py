"""Descriptors: a low limit for this process, and none left at all, for as long as a block lasts."""

from __future__ import annotations

import contextlib
import errno
import gc
import itertools
import os
import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def open_now() -> set[int]:
    """The descriptors of this process."""
    return {int(name) for name in os.listdir("/proc/self/fd")}


@contextlib.contextmanager
def at_most(more: int) -> Iterator[None]:
    """This process may open `more` files beyond those that it has."""
    gc.collect()  # what other tests have left would give its descriptors back at any time
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The limit is above the numbers that are given out, and those that are open may lie above it.
    taken = open_now()
    free = (number for number in range(hard) if number not in taken)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(itertools.islice(free, more, None)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Hoard:
    """Every descriptor there is, until some are given back."""

    def __init__(self) -> None:
        self._fds: list[int] = []

    def take_all(self) -> None:
        """From now on there is none left."""
        while True:
            try:
                self._fds.append(os.open(os.devnull, os.O_RDONLY))
            except OSError as exc:
                if exc.errno != errno.EMFILE:
                    raise
                return

    def give(self, count: int = 1 << 20) -> None:
        """Give some back."""
        while self._fds and count:
            os.close(self._fds.pop())
            count -= 1


@contextlib.contextmanager
def hoarding(more: int = 8) -> Iterator[Hoard]:
    """A process that may open `more` files, and a hoard, still empty, to take them all; the block ends that."""
    with at_most(more):
        hoard = Hoard()
        try:
            yield hoard
        finally:
            hoard.give()
