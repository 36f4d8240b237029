"""Waiters: reads that no thread could answer at once, on the event loop, and readers who wait no more.

A read of what is absent waits here until it is here, and goes back to a thread to be answered; any other one is
answered from here.

A reader who dies while he waits is noticed by looking at him: now and then, and at once when the kernel says INTERRUPT.
That alone would not do.  It comes for any signal, and a read must not fail for a harmless one: a file of a disk is
read to the end, too, and a failed fault of a mapped page is a SIGBUS.  It comes for the first signal alone.  And it
does not come at all for O_DIRECT, where the kernel waits with the dead for our answer, nor for its read-ahead, where
others may wait: those ask again.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, NamedTuple

import pyfuse3
import trio

from fusefs.vfs.answer import Answered

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.fuse.operations import FuseOperations
    from fusefs.fuse.wire.device import Device
    from fusefs.fuse.wire.messages import Read

_LOOK = 0.2
"""Seconds between two looks at who waits."""

_SIGKILL = 1 << (9 - 1)


class _Waiting(NamedTuple):
    scope: trio.CancelScope
    pid: int


class Waiters:
    """Of one mount; on the event loop.

    Args:
        operations: answers what no thread can.
        nursery: where reads wait; its end is theirs.
        hand_over: has a thread answer what has arrived.
        failed: told that the connection to the kernel is broken.
    """

    def __init__(
        self,
        operations: FuseOperations,
        nursery: trio.Nursery,
        hand_over: Callable[[Device, Read], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._operations = operations
        self._nursery = nursery
        self._hand_over = hand_over
        self._failed = failed
        self._waiting: dict[int, _Waiting] = {}
        self._somebody, self._stirred = trio.Event(), trio.Event()

    def begin(self, device: Device, read: Read, outcome: Answered) -> None:
        """A thread could not answer `read`, which came from `device`; `outcome` says why."""
        # The nursery has ended: so does the mount, and that answers everybody.
        with contextlib.suppress(RuntimeError):
            self._nursery.start_soon(self._answer, device, read, outcome)

    def look_now(self) -> None:
        """A signal came to somebody who waits, for a read or for something else."""
        self._stirred.set()

    async def _answer(self, device: Device, read: Read, outcome: Answered) -> None:
        try:
            await self._answer_or_not(device, read, outcome)
        except Exception as exc:  # a task must not end the nursery: the session says what happened
            self._failed(exc)

    async def _answer_or_not(self, device: Device, read: Read, outcome: Answered) -> None:
        with trio.CancelScope() as scope:
            if not self._waiting:
                self._somebody.set()
            self._waiting[read.unique] = _Waiting(scope, read.pid)
            try:
                await self._serve(device, read, outcome)
            finally:
                del self._waiting[read.unique]
        if scope.cancelled_caught:
            device.fail(read.unique, errno.EINTR)

    async def _serve(self, device: Device, read: Read, outcome: Answered) -> None:
        try:
            if outcome is Answered.ABSENT:
                await self._operations.arrive(read.handle, read.off, read.size)
                self._hand_over(device, read)
                return
            data = await self._operations.read(read.handle, read.off, read.size)
        except pyfuse3.FUSEError as exc:
            device.fail(read.unique, exc.errno)
            return
        # No await from the answer to here: it may be a view into memory that the next read is answered from.
        device.reply(read.unique, data)

    async def watch(self) -> None:
        """Look after who waits, until cancelled."""
        while True:
            if not self._waiting:
                self._somebody = trio.Event()
                await self._somebody.wait()
            with trio.move_on_after(_LOOK):
                await self._stirred.wait()
            self._stirred = trio.Event()
            pids = {waiting.pid for waiting in self._waiting.values()} - {0}
            dead = await trio.to_thread.run_sync(_dead, pids, abandon_on_cancel=True) if pids else ()
            for waiting in self._waiting.values():
                if waiting.pid in dead:
                    waiting.scope.cancel()


def _dead(pids: set[int]) -> set[int]:
    return {pid for pid in pids if is_dead(pid)}


def is_dead(pid: int) -> bool:
    """Whether a thread has ended, or is about to: a signal that ends it without a core dump puts SIGKILL beside itself.

    Source: proc(5), SigPnd of /proc/PID/status; kernel/signal.c, complete_signal.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            pending = next((line for line in file if line.startswith(b"SigPnd:")), b"SigPnd: 0")
            return bool(int(pending.split()[1], 16) & _SIGKILL)
    except (OSError, ValueError):
        return False  # it may be hidden from us; then its reads end with `--timeout`
