"""Wire: the threads between the kernel and pyfuse3, and their end.

Who runs
    A *lane* a core, at least two where there are two: receives requests, answers reads of what is here.  As many
    *answerers* for what had to arrive first.  One *porter*, which passes pyfuse3's replies on.  The first lane starts
    alone, for the kernel says nothing but INIT until that is answered.

How it ends
    A thread that fails, or finds the mount gone, says so on the event loop (`ended`), and the session ends.  `close`
    has every thread stop, and lets go of the device when none uses it any more: at that the kernel answers every
    request in flight with ECONNABORTED.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

import trio

from fusefs.fuse.wire import lane
from fusefs.fuse.wire.device import Device, Stop
from fusefs.fuse.wire.relay import Relay
from fusefs.fuse.wire.waiters import Waiters

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.fuse.operations import FuseOperations
    from fusefs.fuse.wire.handles import Handles
    from fusefs.fuse.wire.lane import Job
    from fusefs.fuse.wire.messages import Read
    from fusefs.vfs.answer import Answered

log = logging.getLogger(__name__)

MOST_LANES = 4
"""More would wait for Python's lock, not for the kernel."""

_PATIENCE = 5.0
"""Seconds that the end waits for a thread: none waits for a disk or a network, so more means that it never ends."""


def lanes() -> int:
    """How many threads answer: one on one core, else two to four."""
    cores = len(os.sched_getaffinity(0))
    return 1 if cores == 1 else min(cores, MOST_LANES)


class Wire:
    """Of one mount.

    Attributes:
        relay: the way to pyfuse3.
        device: the one that was mounted; its clones are the lanes'.
        ready: set when INIT is answered.
        ended: set when the mount is gone, or a thread has failed.
        failure: why, if it failed.
        count: of threads that receive, and of those that answer what had to arrive.
    """

    def __init__(
        self,
        operations: FuseOperations,
        fd: int,
        *,
        pages: int,
        count: int,
        handles: Handles | None = None,
    ) -> None:
        """Take over the mounted device `fd`.

        Args:
            operations: the handlers.
            fd: of a mount that nobody answers yet.
            pages: that one READ may ask for.
            count: of threads that receive.
            handles: decides which files are opened with passthrough; None where none is.
        """
        self._stop = Stop()
        self.device = Device(fd, self._stop)
        self.relay = Relay(pages, self._greeted, handles)
        self.ready = trio.Event()
        self.ended = trio.Event()
        self.failure: Exception | None = None
        self._operations = operations
        self._most = pages * 4096
        self.count = count
        self._devices = [self.device]
        self._threads: list[threading.Thread] = []
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._loop: trio.lowlevel.TrioToken | None = None
        self._waiters: Waiters | None = None
        self._starting = threading.Lock()

    def start(self, nursery: trio.Nursery) -> None:
        """Begin; reads that have to wait do so in `nursery`."""
        self._loop = trio.lowlevel.current_trio_token()
        self._waiters = Waiters(
            self._operations, nursery, lambda device, read: self._jobs.put((device, read)), self._end
        )
        nursery.start_soon(self._waiters.watch)
        self._start("fuse-porter", self.relay.run)
        self._start_lane(self.device)

    def _greeted(self) -> None:
        """INIT is answered: from now on everybody comes."""
        for _ in range(self.count - 1):
            try:
                device = self.device.clone()
            except OSError:  # the user may not open the device; requests of one open file are as many threads' as well
                device = self.device.shared()
            self._devices.append(device)
            self._start_lane(device)
        for _ in range(self.count):
            self._start("fuse-answers", lane.answer_arrived, self._jobs, self._answerer())
        self._tell(self.ready.set)

    def _start_lane(self, device: Device) -> None:
        self._start("fuse-lane", lane.receive, device, self.relay, self._answerer(), self._interrupted)

    def _answerer(self) -> lane.Answerer:
        return lane.Answerer(self._operations.file_system, self._later, self._most)

    def _start(self, name: str, work: Callable[..., None], *args: object) -> None:
        with self._starting:
            if self._stop.said:
                return
            thread = threading.Thread(target=self._guarded, args=(work, *args), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _guarded(self, work: Callable[..., None], *args: object) -> None:
        failure: Exception | None = None
        try:
            work(*args)
        except Exception as exc:  # told to the session, which ends
            failure = exc
        finally:
            if not self._stop.said:
                self._tell(self._end, failure)

    # From threads to the event loop

    def _later(self, device: Device, read: Read, outcome: Answered) -> None:
        assert self._waiters is not None
        self._tell(self._waiters.begin, device, read, outcome)

    def _interrupted(self) -> None:
        assert self._waiters is not None
        self._tell(self._waiters.look_now)

    def _tell(self, what: Callable[..., object], *args: object) -> None:
        assert self._loop is not None
        with contextlib.suppress(trio.RunFinishedError):
            self._loop.run_sync_soon(what, *args)

    # On the event loop

    def _end(self, failure: Exception | None) -> None:
        if self.failure is None:
            self.failure = failure
        self.ended.set()

    def close(self) -> None:
        """Stop every thread and let go of the device.  The nursery has ended.  Blocking, but short."""
        with self._starting:
            self._stop.say()
        self.relay.stop()
        for _ in range(self.count):
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(_PATIENCE)
        if any(thread.is_alive() for thread in self._threads):
            # The numbers of descriptors must not become other files' under a thread that writes to them.
            log.warning("A thread that answers the kernel does not end; its descriptors stay open.")
            return
        for device in self._devices:
            device.close()
        self.relay.close()
        self._stop.close()
