"""Acceptor: takes connections from a listener, also when the process has no descriptor left for them.

One descriptor is kept for that case.  When it has to be given, one connection is answered at a time, and the next one
is taken when the descriptor is kept again; those who connect meanwhile wait in the kernel's queue.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TYPE_CHECKING

import trio

from fusefs.system.descriptors import ran_out

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Answer = Callable[[trio.SocketStream], Awaitable[None]]
    """Answers one connection and closes it; raises nothing."""

log = logging.getLogger(__name__)

_PAUSE = (0.05, 5.0)
"""Seconds between two tries when nothing can be accepted: at first, and at most."""


class Acceptor:
    """Of one listener.

    Args:
        listener: closed at the end.
        most: connections at once.
        what: that is asked for there, for the log.
    """

    def __init__(self, listener: trio.SocketListener, most: int, what: str) -> None:
        self._listener = listener
        self._limit = trio.Semaphore(most)
        self._what = what
        self._told = False
        self._spare = -1
        self._keep_spare()

    async def serve(self, answer: Answer) -> None:
        """Answer until cancelled.

        Raises:
            OSError: nothing can be accepted any more, for another reason than that there is no descriptor.
        """
        try:
            async with self._listener, trio.open_nursery() as nursery:
                await self._accept(nursery, answer)
        finally:
            self._give_spare()

    async def _accept(self, nursery: trio.Nursery, answer: Answer) -> None:
        pause, longest = _PAUSE
        while True:
            await self._limit.acquire()  # before the accept: who waits for his turn takes no descriptor
            try:
                stream = await self._listener.accept()
            except OSError as exc:
                self._limit.release()
                if not ran_out(exc):
                    raise
                if self._spare >= 0:
                    self._give_spare()
                    await self._accept_one(answer)
                self._tell(exc)
                self._keep_spare()
                if self._spare < 0:
                    await trio.sleep(pause)
                    pause = min(2 * pause, longest)
                continue
            pause = _PAUSE[0]
            self._told = False
            nursery.start_soon(partial(self._one, stream, answer))

    async def _accept_one(self, answer: Answer) -> None:
        """Take one connection in the place of the spare descriptor, and answer it before anything else."""
        stream = None
        with trio.move_on_after(_PAUSE[1]):  # who had connected may be gone
            try:
                stream = await self._listener.accept()
            except OSError as exc:
                if not ran_out(exc):
                    raise  # else somebody took the descriptor first
        if stream is not None:
            await answer(stream)

    async def _one(self, stream: trio.SocketStream, answer: Answer) -> None:
        try:
            await answer(stream)
        finally:
            self._limit.release()

    def _tell(self, exc: OSError) -> None:
        """Once, until a connection is taken as usual: the same line ten times a second would hide the others."""
        if not self._told:
            self._told = True
            log.warning("%s: whoever asks for %s is answered one by one", exc.strerror, self._what)

    def _keep_spare(self) -> None:
        if self._spare < 0:
            try:
                self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as exc:
                ran_out(exc)

    def _give_spare(self) -> None:
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
