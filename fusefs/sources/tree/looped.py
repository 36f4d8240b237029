"""Looped: calls of a library that is asynchronous, for threads that wait for them and for others that end them.

obstore's blocking calls cannot be ended from another thread: an unmount would wait for as long as a server is silent.
Its asynchronous ones drop their request when they are cancelled, and they run under asyncio alone.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 # see above; nothing of trio runs in that thread
import threading
import time
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any

from fusefs.errors import Cancelled, StallTimeout

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

    Call = Future[Any]

_GOODBYE = 2.0
"""Seconds for a loop to end; its thread is a daemon, and holds up nobody."""


class Looped:
    """An event loop in a thread of its own, which starts with the first call.

    Args:
        label: of the source, in messages.
        stall: seconds for one call.
    """

    def __init__(self, label: str, stall: float) -> None:
        self._label = label
        self._stall = stall
        self._lock = threading.Lock()
        self._calls: dict[Call, tuple[str, float]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def begin(self, work: Coroutine[Any, Any, Any], what: str) -> Call:
        """Start something; `what` it is about, for people.

        Raises:
            Cancelled: `close` was called.
        """
        with self._lock:
            if self._closed:
                work.close()
                raise Cancelled("the source is closed")
            if self._loop is None:
                self._loop = self._start()
            call = asyncio.run_coroutine_threadsafe(work, self._loop)
            self._calls[call] = (what, time.monotonic())
        call.add_done_callback(self._done)
        return call

    def result(self, call: Call) -> Any:
        """What came of a call.  Blocking.

        Raises:
            Cancelled: somebody ended it.
            StallTimeout: it took too long.
            Exception: as the call.
        """
        wait([call], self._stall)
        if not call.done():
            call.cancel()
            raise StallTimeout(f"no answer for {self._stall:.0f} s", source=self._label)
        if call.cancelled():
            raise Cancelled("the request was ended")
        return call.result()

    def lines(self) -> list[str]:
        """One line a call under way."""
        now = time.monotonic()
        with self._lock:
            return [f"{self._label} {what} {now - since:.1f} s" for what, since in self._calls.values()]

    def close(self) -> None:
        """End every call, and the loop.  Idempotent; from any thread."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            calls, loop, thread = list(self._calls), self._loop, self._thread
        for call in calls:
            call.cancel()
        if loop is not None and self._ended is not None and thread is not None:
            loop.call_soon_threadsafe(self._ended.set)
            thread.join(_GOODBYE)

    def _start(self) -> asyncio.AbstractEventLoop:
        ready, loops = threading.Event(), list[asyncio.AbstractEventLoop]()

        async def until_ended() -> None:
            self._ended = asyncio.Event()
            loops.append(asyncio.get_running_loop())
            ready.set()
            await self._ended.wait()

        self._thread = threading.Thread(target=lambda: asyncio.run(until_ended()), name=self._label, daemon=True)
        self._thread.start()
        ready.wait()
        return loops[0]

    def _done(self, call: Call) -> None:
        with self._lock:
            self._calls.pop(call, None)
