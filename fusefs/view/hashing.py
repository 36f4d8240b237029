"""Progress of hashing files, on stderr: a line that moves on a terminal, a plain line now and then elsewhere.

Stdout stays what it is: an address, or chunksums.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

from fusefs.values.printable import printable
from fusefs.view import words
from fusefs.view.terminal import moves

if TYPE_CHECKING:
    from typing import TextIO

_FRAME, _LINE = 0.1, 5.0
"""Seconds between two looks on a terminal, and between two plain lines; what is done sooner is not worth a word."""

_ERASE = "\r\x1b[K"


class HashingView:
    """Called as files are hashed, from any thread; says nothing of what is done within a moment.

    Args:
        out: where to write; stderr by default.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr
        self._moves = moves(self._out)
        self._lock = threading.Lock()
        self._next = time.monotonic() + (_FRAME if self._moves else _LINE)
        self._shown = False

    def __call__(self, path: str, done: int, size: int) -> None:
        """`done` of the `size` bytes of the file `path` are hashed."""
        now = time.monotonic()
        with self._lock:
            if now < self._next and done < size:
                return
            if now >= self._next:
                self._next = now + (_FRAME if self._moves else _LINE)
                self._write(f"hashing {path}  {words.percent(done, size)} of {words.size(size)}")
            elif self._shown and self._moves:
                self.clear()

    def clear(self) -> None:
        """Take the moving line away."""
        if self._shown and self._moves:
            self._out.write(_ERASE)
            self._out.flush()
        self._shown = False

    def _write(self, text: str) -> None:
        text = printable(text)
        self._out.write(f"{_ERASE}{words.elide(text, 79)}" if self._moves else text + "\n")
        self._out.flush()
        self._shown = True
