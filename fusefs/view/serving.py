"""What `fusefs serve` shows: the names of the models, and one bar while files are hashed."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from fusefs.values.printable import printable
from fusefs.view import words
from fusefs.view.progress import Tally, meter
from fusefs.view.terminal import moves

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

_NAMES = 20
"""Models that are named on the terminal; the server's own page has more."""

_FRAME = 0.1
"""Seconds between two looks of the bar; what is done sooner is not worth a word."""

_SHORTEST_BAR, _LONGEST_BAR, _SHORTEST_LABEL = 8, 30, 16
"""Columns; a label that is cut to less says nothing."""

_ERASE = "\r\x1b[K"


def models(base: str, names: Sequence[tuple[str, str]]) -> list[str]:
    """The lines that say what is served, and how to mount one.

    Args:
        base: the URL by which the server is called.
        names: of the models, each with the name of its folder where that is another one.
    """
    if not names:
        return ["no model is there yet; what comes is served"]
    lines = [f"{len(names)} {'model' if len(names) == 1 else 'models'}; to mount one on the empty folder mnt:"]
    lines.append(f"  fusefs mount {base}/{names[0][0]} mnt")
    if len(names) > 1 or names[0][1]:
        lines.append("by name:")
        # A folder's name can be anything: quoted, it cannot look like ours, or move the cursor.
        lines += [f"  {name}" + (f" (folder {folder!r})" if folder else "") for name, folder in names[:_NAMES]]
    if len(names) > _NAMES:
        lines.append(f"  and {len(names) - _NAMES} more: {base}/")
    return lines


class HashingBar:
    """One line at the bottom of a terminal, over all files that are to be hashed; elsewhere nothing at all.

    Args:
        out: where to draw; stderr by default.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr
        self._moves = moves(self._out)
        self._lock = threading.Lock()
        self._tally: Tally | None = None
        self._next = 0.0
        self._shown = False

    def __call__(self, label: str, done: int, size: int) -> None:
        """Of all there is to do, `done` of `size` bytes are hashed; `label` is what is hashed now."""
        if not self._moves:
            return
        with self._lock:
            now = time.monotonic()
            if done >= size:
                self._tally = None
                self._erase()
                return
            if self._tally is None:
                self._tally, self._next = Tally(now, initial=done), now + _FRAME
            if now < self._next:
                return
            self._next = now + _FRAME
            self._tally.done, self._tally.size = done, size
            # The mean since the beginning: a disk does not change its pace as a network does.
            self._tally.rate = (done - (self._tally.initial or 0)) / (now - self._tally.started)
            self._out.write(_ERASE + printable(self._line(label, self._tally)))
            self._out.flush()
            self._shown = True

    def clear(self) -> None:
        """Take the line away; the next look draws it again."""
        with self._lock:
            self._erase()

    def _line(self, label: str, tally: Tally) -> str:
        room = self._columns() - 1  # a character in the last column would move on to the next line
        text = tally.line(max(4, room - len("hashing ")))
        rest = room - len(f"hashing {text}")
        if rest >= _SHORTEST_BAR + 4:
            cells = min(_LONGEST_BAR, rest - 4)
            text = f"▕{meter(tally.done, tally.size, cells)}▏ {text}"
            rest -= cells + 4
        if rest - 2 >= min(len(label), _SHORTEST_LABEL):
            text = f"{words.elide(label, rest - 2)}  {text}"
        return words.elide(f"hashing {text}", room)

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._out.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def _erase(self) -> None:
        if self._shown:
            self._out.write(_ERASE)
            self._out.flush()
        self._shown = False
