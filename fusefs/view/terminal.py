"""Printing the status picture: with colours on a terminal, as plain text elsewhere, again and again for `--watch`."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, TextIO

from fusefs.view.table import Shape, picture, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType
    from rich.text import Text

    from fusefs.values.report import StatusReport
    from fusefs.view.table import Line

FRAME = 0.5
"""Seconds between two pictures: fast enough to see bytes come, slow enough to read."""

ROWS = 20
"""Files a mount shows on a terminal before it elides; `--all` shows every one."""


def show(report: StatusReport, *, everything: bool) -> None:
    """Print one picture to stdout."""
    if not sys.stdout.isatty():
        for line in picture(report, Shape()):
            sys.stdout.write(text_of(line) + "\n")
        return
    from rich.console import Console

    console = Console(highlight=False)
    shape = Shape(console.width, None if everything else ROWS)
    console.print(styled(picture(report, shape)), soft_wrap=True)


def moves(out: TextIO) -> bool:
    """Whether `out` is a terminal on which the cursor can be moved, so that a picture can be drawn again in place."""
    return out.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def unechoed(picture: Text, columns: int) -> RenderableType:
    """The picture for a terminal where Ctrl-C may be pressed: its echo, `^C`, must not begin a new line below it.

    The next picture would be drawn one line too low, and leave the first line of this one above it.
    """
    from rich.constrain import Constrain

    return Constrain(picture, max(1, columns - 2))


def width() -> int | None:
    """Columns of the terminal that stdout is; None when it is none."""
    if not sys.stdout.isatty():
        return None
    from rich.console import Console

    return Console().width


def lines(rows: list[Line]) -> None:
    """Print lines to stdout."""
    if not sys.stdout.isatty():
        for row in rows:
            sys.stdout.write(text_of(row) + "\n")
        return
    from rich.console import Console

    Console(highlight=False).print(styled(rows), soft_wrap=True)


def watch(look: Callable[[], StatusReport], *, everything: bool, pause: Callable[[float], None] = time.sleep) -> None:
    """Redraw the picture until `look` raises or the person has seen enough (KeyboardInterrupt).

    Args:
        look: gives the newest report.
        everything: show every file; what does not fit the screen is cut at its end.
        pause: waits between two pictures.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            report = look()
            mounts = max(1, len(report.mounts))
            rows = max(3, (console.height - 1) // mounts - 9)
            shown = styled(picture(report, Shape(console.width - 2, None if everything else rows)))
            live.update(unechoed(shown, console.width), refresh=True)
            pause(FRAME)


def styled(lines: list[Line]) -> Text:
    """Lines for rich to print."""
    from rich.text import Text

    text = Text("\n").join(Text.assemble(*line) for line in lines)
    text.no_wrap, text.overflow = True, "crop"
    return text
