"""Descriptors: how many files and sockets this process may have open, and whether they have run out.

Running out says nothing of the file, the host or the program that was just being dealt with: who meets it gives back
what he can do without, waits, and tries again.  What can be done without is known elsewhere (`fusefs.fetch.idle`), so
that a shortage is only noted here, by whichever thread meets it.
"""

from __future__ import annotations

import contextlib
import errno
import resource

SHORTAGE = frozenset({errno.EMFILE, errno.ENFILE})
"""The limit of this process; the limit of the machine."""

_ENOUGH = 1 << 16
"""More are never counted on: the kernel lets a process have about as many mappings (vm.max_map_count)."""


class Limit:
    """What this process was given.

    Attributes:
        given: the soft limit of open files, before it was raised; 0 for as it is now.
    """

    given = 0


def raise_limit() -> None:
    """Raise the soft limit of open files to the hard one: a blob takes about three, and a model may have hundreds.

    The soft limit is 1024 for the sake of select(2) alone, which nothing here uses.  Source: getrlimit(2).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # above fs.nr_open: what we have must do
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            Limit.given = soft


def restore_limit() -> None:
    """As it was given to us, for another program: it may use select(2), or close all numbers up to the limit."""
    if Limit.given:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (Limit.given, hard))


def limit() -> int:
    """How many there may be, at most `_ENOUGH`."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _ENOUGH if soft == resource.RLIM_INFINITY else min(soft, _ENOUGH)


def ran_out(exc: BaseException | None) -> bool:
    """Whether an error, or what it came from, is that there was no descriptor left; then it is noted."""
    for _ in range(8):
        if exc is None:
            return False
        if isinstance(exc, OSError) and exc.errno in SHORTAGE:
            Shortages.seen += 1
            return True
        exc = exc.__cause__ or exc.__context__
    return False


class Shortages:
    """What this process has noted.

    Attributes:
        seen: how often there was no descriptor left; whoever looks now and then sees it grow.
    """

    seen = 0
