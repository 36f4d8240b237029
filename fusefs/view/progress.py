"""Long work over several files: what a frame of it looks like, on a terminal and as a plain line.

Pure: whoever works hands in the items and the time; `fusefs.view.screen` prints.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fusefs.values.counters import Rate
from fusefs.values.printable import printable
from fusefs.view import words
from fusefs.view.table import STATES, Line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusefs.values.report import Item

EIGHTHS = " ▏▎▍▌▋▊▉█"

_STATE, _SHORTEST_BAR = 8, 8
"""Columns of a state; those of a bar below which it says nothing, and goes."""

_WINDOW = 5.0
"""Seconds over which a rate is measured, and after which nothing means that nothing comes."""

BUSY = ("fetching", "proving", "checking")
"""States in which something happens now; their colour is that of a file that is partly there."""


@dataclass(slots=True)
class Tally:
    """Sums over all items, and how fast they grow.

    Attributes:
        started: when the work began, seconds.
        initial: bytes that were done before it began; None until the first look.
        done: bytes that are done.
        size: bytes in all.
        rate: bytes per second now.
    """

    started: float
    initial: int | None = None
    done: int = 0
    size: int = 0
    _rate: Rate = field(default_factory=lambda: Rate(window=_WINDOW))
    rate: float = 0.0
    _seconds: float = 0.0

    def look(self, items: Sequence[Item], now: float) -> None:
        """Take the newest numbers."""
        done = sum(item.done for item in items)
        if self.initial is None:
            self.initial = self.done = done
        self._rate.add(max(0, done - self.done), now)
        self._seconds = now - self.started
        self.done, self.size, self.rate = done, sum(item.size for item in items), self._rate.at(now)

    @property
    def left(self) -> float | None:
        """Seconds until all is done at this rate; None when nothing comes."""
        return (self.size - self.done) / self.rate if self.rate >= 1 else None

    def line(self, room: int | None = None) -> str:
        """`812 MiB of 1.3 GiB, 62%, 23.5 MiB/s, 22 s left`; what matters least goes where `room` is too small."""
        parts = [f"{words.size(self.done)} of {words.size(self.size)}", words.percent(self.done, self.size)]
        if self.done < self.size:
            parts.append(words.rate(self.rate))
            if self.left is not None:
                parts.append(f"{words.seconds(self.left + 0.5)} left")
            elif self._seconds >= _WINDOW:  # before that it has only begun
                parts.append("stalled")
        for least in (2, 0):  # the rate, then the bytes
            if room is not None and len(", ".join(parts)) > room and len(parts) > max(1, least):
                del parts[least]
        return ", ".join(parts)


def meter(done: int, size: int, cells: int) -> str:
    """A bar of `cells` characters, filled from the left in steps of an eighth of a character."""
    eighths = 8 * cells if done >= size else min(8 * cells - 1, 8 * cells * done // size)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[rest] if rest else "")).ljust(cells)


def frame(items: Sequence[Item], tally: Tally, *, width: int, rows: int) -> list[Line]:
    """What stands on a terminal at one moment: at most `rows` items, those at work first, and the sum."""
    order = sorted(items, key=lambda item: _rank(item))
    shown = order[: max(1, rows)]
    longest = max((len(printable(item.label)) for item in shown), default=4)
    label_width = min(longest, max(8, width // 3))
    cells = min(40, width - label_width - _STATE - 25)
    if cells < _SHORTEST_BAR:
        cells, label_width = 0, min(longest, max(8, width - _STATE - 20))
    lines = [_item(item, label_width, cells) for item in shown]
    if hidden := order[len(shown) :]:
        finished = sum(item.state in ("sealed", "unproved", "good") for item in hidden)
        waiting = len(hidden) - finished
        parts = [f"{finished} done" if finished else "", f"{waiting} to come" if waiting else ""]
        lines.append([(f"  … and {', '.join(filter(None, parts))}", "dim")])
    text = tally.line(width - 2)
    cells = min(40, width - len(text) - 6)
    bar = [("▕", "dim"), (meter(tally.done, tally.size, cells), "bold green"), ("▏ ", "dim")]
    lines.append([("  ", ""), *(bar if cells >= _SHORTEST_BAR else []), (text, "bold")])
    return lines


def _rank(item: Item) -> int:
    if item.state in BUSY:
        return 0
    return {"failed": 1, "dropped": 1, "waiting": 2}.get(item.state, 3)


def style_of(state: str) -> str:
    """The colour of a state."""
    if state in ("failed", "dropped"):
        return STATES["quarantined"]
    if state in ("sealed", "good"):
        return STATES["sealed"]
    return STATES["partial"] if state in BUSY else STATES["absent"]


def _item(item: Item, label_width: int, cells: int) -> Line:
    style = style_of(item.state)
    return [
        (f"  {words.elide(printable(item.label), label_width):<{label_width}}  ", ""),
        (f"{words.size(item.size):>8}  ", ""),
        (f"{words.percent(item.done, item.size):>4}  ", style),
        (f"{item.state:<{_STATE}} ", style),
        *([("▕", "dim"), (meter(item.done, item.size, cells), style), ("▏", "dim")] if cells else []),
    ]
