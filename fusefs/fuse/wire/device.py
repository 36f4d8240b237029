"""Device: one open file of /dev/fuse: requests out of it, replies into it.

Each thread has its own, a clone of the one that was mounted, because a request is kept with the open file it was read
from and its reply must go there.  Reading never blocks in the kernel, where nothing could end it but an abort: a thread
waits in epoll, for its device or for the word to stop.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
from typing import TYPE_CHECKING

from fusefs.fuse.wire import messages

if TYPE_CHECKING:
    from fusefs.vfs.answer import Data

DEVICE = "/dev/fuse"

_CLONE = 0x8004E500
_BACKING_OPEN, _BACKING_CLOSE = 0x4010E501, 0x4004E502
_BACKING = struct.Struct("=iIQ")
_NUMBER = struct.Struct("=I")

_TAKEN_BACK = frozenset({errno.ENOENT, errno.EINTR})
"""A reader was killed, or an abort came, between the question and the answer."""

_GONE = frozenset({errno.ENODEV, errno.ECONNABORTED})


class Stop:
    """The word to every thread of one wire that it is over; once said, for ever."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.said = False

    def say(self) -> None:
        """It is over."""
        self.said = True
        os.eventfd_write(self.fd, 1)

    def close(self) -> None:
        """Nobody listens any more."""
        os.close(self.fd)


class Device:
    """One open file; requests for one thread, replies from any.

    Attributes:
        fd: of the file.
    """

    def __init__(self, fd: int, stop: Stop) -> None:
        """Take over `fd`."""
        os.set_blocking(fd, False)
        self.fd = fd
        self._stop = stop
        self._poll = select.epoll(flags=select.EPOLL_CLOEXEC)
        self._poll.register(stop.fd, select.EPOLLIN)
        # Exclusive: one request wakes one thread.
        self._poll.register(fd, select.EPOLLIN | select.EPOLLEXCLUSIVE)

    def clone(self) -> Device:
        """Another open file of the same mount.

        Raises:
            OSError: this user may not open the device (fusermount3 did it for him).
        """
        fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _CLONE, _NUMBER.pack(self.fd))
            return Device(fd, self._stop)
        except BaseException:
            os.close(fd)
            raise

    def shared(self) -> Device:
        """The same open file for another thread."""
        return Device(os.dup(self.fd), self._stop)

    def receive(self, buffer: bytearray) -> int:
        """Wait for a request and put it into `buffer`; its length, 0 when the mount is gone or it is time to stop.

        Raises:
            OSError: the connection is broken.
        """
        while not self._stop.said:
            try:
                return os.readv(self.fd, [buffer])
            except BlockingIOError:
                self._poll.poll()
            except OSError as exc:
                if exc.errno in _GONE:
                    return 0
                if exc.errno not in _TAKEN_BACK:
                    raise
        return 0

    def reply(self, unique: int, data: Data) -> None:
        """Answer a request with `data`; nothing happens when nobody waits any more."""
        view = memoryview(data)
        self._write([messages.reply_header(unique, len(view)), view])

    def fail(self, unique: int, number: int) -> None:
        """Answer a request with the errno `number`."""
        self._write([messages.failure(unique, number)])

    def forward(self, message: Data) -> None:
        """Pass on a reply of pyfuse3's."""
        self._write([message])

    def _write(self, parts: list[Data]) -> None:
        try:
            os.writev(self.fd, parts)
        except OSError as exc:
            if exc.errno not in _TAKEN_BACK and exc.errno not in _GONE:
                raise

    def open_backing(self, fd: int) -> int:
        """Have the kernel read the file `fd` by itself for who is told the id that this gives (CAP_SYS_ADMIN).

        Raises:
            OSError: as the kernel says.
        """
        # With immutable bytes Python would return the buffer, not the id.
        return int(fcntl.ioctl(self.fd, _BACKING_OPEN, bytearray(_BACKING.pack(fd, 0, 0))))

    def close_backing(self, backing: int) -> None:
        """Give an id back; who has a file open by it keeps that.

        Raises:
            OSError: as the kernel says.
        """
        fcntl.ioctl(self.fd, _BACKING_CLOSE, bytearray(_NUMBER.pack(backing)))

    def close(self) -> None:
        """Let go of the file.  No thread may be using it: its number may be another file's at once."""
        self._poll.close()
        os.close(self.fd)
