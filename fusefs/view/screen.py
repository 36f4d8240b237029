"""Showing long work while it goes on: a picture that moves on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

from fusefs.values.printable import printable
from fusefs.view import words
from fusefs.view.progress import Tally, frame
from fusefs.view.terminal import moves, styled, unechoed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self, TextIO

    from rich.live import Live

    from fusefs.values.report import Item

FRAME = 0.25
"""Seconds between two looks."""

LINE = 5.0
"""Seconds between two plain lines: a log of an hour's work has 720 of them."""

FINAL = ("sealed", "unproved", "good", "failed", "dropped")


class Screen(Protocol):
    """Somewhere to show items; used as a context manager."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, items: Sequence[Item], now: float) -> None:
        """The newest state of all items, at `now` seconds."""


def screen(started: float, *, silent: bool = False, out: TextIO | None = None) -> Screen:
    """What fits `out` (stdout): a picture, plain lines, or nothing when `silent`."""
    out = out or sys.stdout
    if silent:
        return Silent()
    return Picture(started, out) if moves(out) else Lines(started, out)


class Silent:
    """Shows nothing: a program reads the JSON at the end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, items: Sequence[Item], now: float) -> None:
        """Nothing."""


class Lines:
    """A line every few seconds, and one for each item that is finished; for logs and pipes."""

    def __init__(self, started: float, out: TextIO) -> None:
        self._tally = Tally(started)
        self._out = out
        self._last = started
        self._told: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._out.flush()

    def show(self, items: Sequence[Item], now: float) -> None:
        """Write what is new since the last time."""
        if not items:
            return
        self._tally.look(items, now)
        for number, item in enumerate(items):
            if item.state in FINAL and number not in self._told:
                self._told.add(number)
                problem = f": {item.problem}" if item.problem else ""
                self._say(f"{item.label}: {item.state}, {words.size(item.size)}{problem}")
        if now - self._last >= LINE:
            self._last = now
            self._say(self._tally.line())

    def _say(self, text: str) -> None:
        self._out.write(printable(text) + "\n")
        self._out.flush()


class Picture:
    """A line for each item at work and a bar for all of them, redrawn in place."""

    def __init__(self, started: float, out: TextIO) -> None:
        from rich.console import Console

        self._console = Console(file=out, highlight=False)
        self._tally = Tally(started)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        from rich.live import Live

        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._live is not None
        self._live.__exit__(kind, exc, trace)

    def show(self, items: Sequence[Item], now: float) -> None:
        """Redraw."""
        assert self._live is not None
        if not items:
            return
        self._tally.look(items, now)
        rows = max(3, self._console.height - 4)
        columns = self._console.width
        lines = frame(items, self._tally, width=columns - 2, rows=rows)
        self._live.update(unechoed(styled(lines), columns), refresh=True)
