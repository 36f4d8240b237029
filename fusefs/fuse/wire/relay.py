"""Relay: hands requests to pyfuse3 and its replies to the kernel.

pyfuse3 reads from one end of a socketpair as if it were /dev/fuse; its packets are messages, as on the device.  Two of
the replies are changed on their way: INIT, for what libfuse cannot ask for, and OPEN, for passthrough.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING, NamedTuple

from fusefs.fuse.wire import messages
from fusefs.fuse.wire.messages import INIT, NO_REPLY, OPEN, REPLY, REQUEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.fuse.wire.device import Device
    from fusefs.fuse.wire.handles import Handles
    from fusefs.fuse.wire.messages import Greeting

_LONGEST = 1 << 20
"""Bytes of a reply at most; listings are the longest (`messages.MOST_LISTED`)."""


class _Asked(NamedTuple):
    device: Device
    opcode: int
    node: int


class Relay:
    """Of one mount.  `forward` for the threads that receive, `run` for one of its own.

    Attributes:
        path: what pyfuse3 is to be initialised with.
        greeting: what the kernel said in INIT; None before that.
    """

    def __init__(self, pages: int, greeted: Callable[[], None], handles: Handles | None = None) -> None:
        """Make the socket.

        Args:
            pages: that one READ may ask for.
            greeted: called when INIT has been answered, before any other request comes.
            handles: told of files that are opened and closed; with one, the kernel is asked for passthrough.
        """
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.path = f"/dev/fd/{theirs.detach()}"
        self.greeting: Greeting | None = None
        self._pages = pages
        self._greeted = greeted
        self._handles = handles
        self._asked: dict[int, _Asked] = {}

    def forward(self, device: Device, message: memoryview) -> None:
        """Hand a request to pyfuse3.

        Raises:
            OSError: pyfuse3 has gone.
        """
        _, opcode, unique, node, *_ = REQUEST.unpack_from(message)
        if opcode == INIT:
            self.greeting = messages.parse_init(message)
        elif opcode in (messages.READDIR, messages.READDIRPLUS):
            messages.list_less(message)
        elif opcode == messages.RELEASE and self._handles is not None:
            self._handles.released(node, messages.RELEASE_IN.unpack_from(message, REQUEST.size)[0])
        if opcode not in NO_REPLY:
            self._asked[unique] = _Asked(device, opcode, node)
        self._ours.send(message)

    def run(self) -> None:
        """Pass replies on, until `close`.

        Raises:
            OSError: the connection is broken.
        """
        buffer = bytearray(_LONGEST)
        view = memoryview(buffer)
        while size := self._ours.recv_into(buffer):
            self._pass_on(view[:size])

    def _pass_on(self, reply: memoryview) -> None:
        _, error, unique = REPLY.unpack_from(reply)
        asked = self._asked.pop(unique, None)
        if asked is None:
            # The kernel may wait for reads of the inode, and who answers those may wait for this thread.
            threading.Thread(target=self._notify, args=(bytes(reply),), name="fuse-notify", daemon=True).start()
        elif asked.opcode == INIT:
            self._greet(asked.device, reply)
        elif asked.opcode == OPEN and not error and self._handles is not None:
            handle, flags, _ = messages.OPEN_OUT.unpack_from(reply, REPLY.size)
            asked.device.forward(messages.opened_reply(reply, *self._handles.opened(asked.node, handle, flags)))
        else:
            asked.device.forward(reply)

    def _greet(self, device: Device, reply: memoryview) -> None:
        assert self.greeting is not None
        self._first = device
        device.forward(messages.init_reply(reply, self.greeting, self._pages, passthrough=self._handles is not None))
        error = REPLY.unpack_from(reply)[1]
        if error:
            raise OSError(-error, f"INIT was refused: {os.strerror(-error)}")
        if self._handles is not None:
            self._handles.connected(device, offered=messages.offers_passthrough(self.greeting))
        self._greeted()

    def _notify(self, message: bytes) -> None:
        with contextlib.suppress(OSError):  # ENOENT: the kernel keeps nothing of it
            self._first.forward(message)

    def stop(self) -> None:
        """Wake whoever sends or receives: it is over."""
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of our end, when no thread uses it; the other one belongs to pyfuse3."""
        self._ours.close()

    @property
    def other_end(self) -> int:
        """The descriptor that pyfuse3 takes over, for who has to close it when pyfuse3 does not."""
        return int(self.path.rpartition("/")[2])
