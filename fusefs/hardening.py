"""Hardening: what the daemon gives up, because somebody who got into it would need it, and the limits it runs under."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38  # linux/prctl.h


def keep_memory_private() -> None:
    """No core dumps, and no other process of this user may look into our memory, where tokens and keys are.

    Source: prctl(2), PR_SET_DUMPABLE; getrlimit(2), RLIMIT_CORE.  /proc/self stays usable: the kernel lets a process
    look at itself.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)


def allow_descriptors() -> None:
    """Raise the soft limit of open files to the hard one: a blob takes about three, and a model may have hundreds.

    The soft limit is 1024 for the sake of select(2) alone, which nothing here uses.  Source: getrlimit(2).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # above fs.nr_open: what we have must do
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def gain_no_privileges() -> bool:
    """From now on no program that we start gets more rights than we have; False when that would be in the way.

    An ordinary user's mount is taken away by fusermount3, which is set-user-id root: without that the mount would stay
    behind, dead.  So it is root alone who can do without.  Source: prctl(2), PR_SET_NO_NEW_PRIVS.
    """
    if os.geteuid() != 0:
        return False
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    return True


def _prctl(option: int, value: int) -> None:
    """Both options are as old as Linux 3.5 and need no rights, so a failure is told."""
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    if libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
