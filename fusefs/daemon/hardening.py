"""Hardening: what the daemon gives up, because somebody who got into it would need it, and the limits it runs under."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
from pathlib import Path

_PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 4, 24, 38, 47  # linux/prctl.h
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3, _CAP_SETPCAP = 0x20080522, 8  # linux/capability.h


def keep_memory_private() -> None:
    """No core dumps, and no other process of this user may look into our memory, where tokens and keys are.

    Source: prctl(2), PR_SET_DUMPABLE; getrlimit(2), RLIMIT_CORE.  /proc/self stays usable: the kernel lets a process
    look at itself.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)


def gain_no_privileges() -> bool:
    """From now on no program that we start gets more rights than we have; False when that would be in the way.

    An ordinary user's mount is taken away by fusermount3, which is set-user-id root: without that the mount would stay
    behind, dead.  So it is root alone who can do without.  Source: prctl(2), PR_SET_NO_NEW_PRIVS.
    """
    if os.geteuid() != 0:
        return False
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    return True


KEPT = {
    "cap_dac_read_search": 2,
    "cap_sys_admin": 21,
}
"""The capabilities that a daemon of root keeps, by their number in linux/capability.h.

cap_sys_admin mounts and unmounts.  cap_dac_read_search reads stores, certificates and credentials of users whose models
root mounts, and finds mount points in their folders.  What is written (cache, log, socket) belongs to root, as that of
an ordinary user belongs to him, so that neither cap_dac_override nor cap_fowner is needed.
"""


def keep_few_capabilities() -> tuple[str, ...]:
    """Give up for good every capability of root that is not in `KEPT`; the names of those that are left.

    Capabilities belong to a thread and threads inherit them, so this comes before the first one is started.  The
    bounding set keeps programs that we start from getting them back.  An ordinary user has none and may start
    fusermount3, which needs its own.  Source: capabilities(7), capget(2).
    """
    if os.geteuid() != 0:
        return ()
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: bits 0 to 31, then the same for 32 to 63
    _must(libc.capget(header, sets))
    permitted = sets[1] | sets[4] << 32
    left = permitted & sum(1 << number for number in KEPT.values())
    if permitted >> _CAP_SETPCAP & 1:  # in a container it may be missing, and then the bounding set is another's affair
        for number in range(int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1):
            if not left >> number & 1:
                _prctl(_PR_CAPBSET_DROP, number)
    with contextlib.suppress(OSError):  # a kernel before 4.3 has no ambient set
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    low, high = left & 0xFFFFFFFF, left >> 32
    sets[:] = [low, low, 0, high, high, 0]
    _must(libc.capset(header, sets))
    return tuple(name for name, number in KEPT.items() if left >> number & 1)


def rights() -> tuple[tuple[str, ...], bool]:
    """The capabilities that this process has, and whether what it starts can gain any.  Source: proc(5), status."""
    status = Path("/proc/self/status").read_text(errors="replace")
    fields = dict(line.partition(":")[::2] for line in status.splitlines())
    has = int(fields["CapPrm"], 16)
    names = {number: name for name, number in KEPT.items()}
    found = tuple(names.get(number, f"cap_{number}") for number in range(has.bit_length()) if has >> number & 1)
    return found, fields.get("NoNewPrivs", "").strip() != "1"


def _must(failed: int) -> None:
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _prctl(option: int, value: int) -> None:
    """A failure is told: what was to be given up would still be there."""
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    _must(libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero))
