"""Lane: a thread that takes requests from its device, answers what it can, and hands on what it cannot.

Each has its own buffer for answers.  What it answers is here already: it waits for nothing but the next request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.fuse.operations import tell_bug
from fusefs.fuse.wire import messages
from fusefs.fuse.wire.messages import INTERRUPT, READ, REQUEST
from fusefs.vfs.answer import Answered

if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import SimpleQueue

    from fusefs.fuse.wire.device import Device
    from fusefs.fuse.wire.messages import Read
    from fusefs.fuse.wire.relay import Relay
    from fusefs.vfs.filesystem import FileSystem

    Later = Callable[[Device, Read, Answered], None]
    """Has the event loop wait for what a thread could not answer."""

    Job = tuple[Device, Read]
    """A read of what has arrived in the meantime."""

_LONGEST = 1 << 17
"""Bytes of a request at most; the kernel fails a longer one by itself (E2BIG for an extended attribute, else EIO)."""


class Answerer:
    """What a thread answers reads with.

    Args:
        file_system: what is read.
        later: told of what was not here.
        most: bytes of an answer at most.
    """

    def __init__(self, file_system: FileSystem, later: Later, most: int) -> None:
        self._file_system = file_system
        self._later = later
        self._buffer = memoryview(bytearray(most))

    def answer(self, device: Device, read: Read, *, again: bool = False) -> None:
        """Answer one read, or hand it to the event loop; `again`: it was there before."""
        outcome = Answered.ELSEWHERE
        if read.size <= len(self._buffer):
            try:
                outcome = self._file_system.answer(
                    read.handle, read.off, read.size, self._buffer, lambda data: device.reply(read.unique, data)
                )
            except OSError:
                raise  # the connection is broken
            except Exception as exc:  # the event loop tries, and gives EIO if it fails there, too
                tell_bug("answer", exc)
        if outcome is not Answered.SENT:
            # What arrived and left again, or wants the disk, is waited for there with its bytes held.
            self._later(device, read, Answered.ELSEWHERE if again else outcome)


def receive(device: Device, relay: Relay, answerer: Answerer, interrupted: Callable[[], None]) -> None:
    """Take requests until the mount is gone or it is time to stop.

    Raises:
        OSError: the connection is broken.
    """
    buffer = bytearray(_LONGEST)
    view = memoryview(buffer)
    while size := device.receive(buffer):
        opcode = REQUEST.unpack_from(buffer)[1]
        if opcode == READ:
            answerer.answer(device, messages.parse_read(buffer))
        elif opcode == INTERRUPT:
            interrupted()
        else:
            relay.forward(device, view[:size])


def answer_arrived(jobs: SimpleQueue[Job | None], answerer: Answerer) -> None:
    """Answer reads of what has arrived, until a None."""
    while (job := jobs.get()) is not None:
        answerer.answer(*job, again=True)
