"""Handshake: what a daemon tells whoever waits for it: lines of JSON in a pipe, until it is ready or has failed.

{"meanwhile": text}                      any number of times: why the wait takes long
{"warnings": [text, …]}, {"error": text}   once, and the last: it is ready, or has failed
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SOON = 2.0
"""Seconds after which it is said why a wait takes long: of a failure that follows at once its one line is enough."""

_LONGEST = 320
"""Characters of a reason, of which JSON makes twelve bytes each at most: a line is written to the pipe at once, or not
at all (PIPE_BUF, 4096)."""


class Ready:
    """The end of the daemon.  Thread-safe; called once, when the work is ready."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def __call__(self, warnings: Sequence[str] = ()) -> None:
        """The work is ready; `warnings` are what a person should know of it."""
        self._end({"warnings": list(warnings)})

    def failed(self, reason: str) -> None:
        """The work has failed; nothing is told when it was ready before."""
        self._end({"error": reason})

    def meanwhile(self, text: str) -> None:
        """Why it takes long.  Nobody waits for it to be read."""
        line = _line({"meanwhile": text[:_LONGEST]})
        with self._lock, contextlib.suppress(BrokenPipeError, BlockingIOError):
            if self._fd >= 0:
                os.set_blocking(self._fd, False)
                os.write(self._fd, line)

    def _end(self, message: dict[str, Any]) -> None:
        with self._lock:
            if self._fd >= 0:
                # Whoever waited may be gone; that changes nothing for the work.
                with contextlib.suppress(BrokenPipeError):
                    os.set_blocking(self._fd, True)
                    os.write(self._fd, _line(message))
                os.close(self._fd)
                self._fd = -1


def listen(fd: int, warn: Callable[[str], None]) -> dict[str, Any] | None:
    """Wait until the daemon is ready, or has failed.

    Args:
        fd: the end of who waits.
        warn: told why it takes long, where it does.

    Returns:
        The last message, without warnings that were told; None when the daemon has ended without one.
    """
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    held, said, rest, until = list[str](), set[str](), b"", 0.0
    while True:
        if held and not poll.poll(1000 * max(0.0, until - time.monotonic())):
            for text in held:
                warn(text)
            said.update(held)
            held.clear()
        piece = os.read(fd, 1 << 16)
        if not piece:
            return None
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            message: dict[str, Any] = json.loads(line)
            if "meanwhile" not in message:
                return message | {"warnings": [one for one in message.get("warnings", ()) if one not in said]}
            until = until if held else time.monotonic() + SOON
            held.append(message["meanwhile"])


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"
