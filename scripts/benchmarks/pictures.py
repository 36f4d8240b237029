"""Pictures: how fast bytes came, how many there were by when, and in which order, as one PNG."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scripts.benchmarks.servers import PAYLOAD_RATE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

MIB = 1 << 20
WIDTH, HEIGHT, DPI = 8.0, 8.4, 150
"""Inches, and pixels an inch: text of 10 points is 14 pixels high where the picture is 800 pixels wide."""

COLOURS = 96
PARTS = 25
"""Of the time, in each of which the rate is measured."""

ABOVE_LINK = 2.5
MANY = 100
FUSEFS, DEMAND, LINK = "#0072b2", "#d55e00", "#888888"
OTHERS = {"curl": "#777777", "curl + openssl": "#222222", "rclone full, best flags": "#cc79a7"}
ALL_AT_ONCE = ":"
STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 11,
    "figure.facecolor": "#fcfcfa",  # nearly white, and never clear: the page behind it may be dark
    "axes.facecolor": "#ffffff",
    "figure.edgecolor": "#bbbbbb",
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.fontsize": 10,
}
Event = tuple[float, int, int]
"""Seconds, offset, length."""


@dataclass(slots=True)
class Picture:
    """What one access pattern showed.

    Attributes:
        title: of the picture.
        size: of the file, in bytes.
        arrivals: when which verified part came to be in the cache.
        reads: when the program had which bytes.
        others: the same of other programs, by name; only how much, when.
        linked: over the shaped link, whose rate is shown, too.
    """

    title: str
    size: int
    arrivals: list[Event] = field(default_factory=list)
    reads: list[Event] = field(default_factory=list)
    others: dict[str, list[Event]] = field(default_factory=dict)
    linked: bool = False

    @property
    def end(self) -> float:
        """Seconds until all was done."""
        events = [*self.arrivals, *self.reads, *(event for found in self.others.values() for event in found)]
        return max((at for at, _, _ in events), default=1.0)


def draw(pictures: Sequence[Picture], path: Path, *, title: str, caption: str) -> None:
    """One picture, or some side by side on the same axes; the title is of all of them."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt
    from PIL import Image

    with mpl.rc_context(STYLE):
        figure, rows = plt.subplots(
            3,
            len(pictures),
            figsize=(WIDTH, HEIGHT),
            sharex=True,
            sharey="row",
            height_ratios=[2, 3, 5],
            layout="constrained",
            squeeze=False,
            linewidth=1,
        )
        if title:
            figure.suptitle(title, fontsize=12)
        for number, picture in enumerate(pictures):
            rate, amount, order = rows[:, number]
            rate.set_title(picture.title)
            _rates(rate, picture)
            _amounts(amount, picture)
            _order(order, picture)
            order.set_xlabel("seconds since the program began to read")
        for axes, label in zip(rows[:, 0], ("MB/s", "MiB so far", "offset of each MiB in the file, MiB"), strict=True):
            axes.set_ylabel(label)
        rows[0][0].set_ylim(0, _top(pictures, rows[0][0].get_ylim()[1]))
        handles, names = rows[1][0].get_legend_handles_labels()
        legend = figure.legend(  # below, where it hides nothing
            handles, names, loc="outside lower center", ncols=3, frameon=False, title=caption, title_fontsize=8
        )
        legend.get_title().set_color("#666666")
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=DPI, edgecolor=figure.get_edgecolor())
        plt.close(figure)
    with Image.open(drawn) as image:  # few colours: a tenth of the size
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def _lines(picture: Picture) -> list[tuple[str, list[Event], str, str]]:
    """Names, events, colours and styles of all that was seen."""
    lines = [
        (name, events, OTHERS[name], ALL_AT_ONCE if len(events) == 1 else "-")
        for name, events in picture.others.items()
    ]
    lines.append(("fusefs: verified, in the cache", picture.arrivals, FUSEFS, "-"))
    lines.append(("fusefs: the program has it", picture.reads, DEMAND, "-"))
    return [line for line in lines if line[1]]


def _cumulative(events: list[Event]) -> tuple[list[float], list[float]]:
    times, amounts, total = [0.0], [0.0], 0
    for at, _, size in sorted(events):
        total += size
        times.append(at)
        amounts.append(total / MIB)
    return times, amounts


def _amounts(axes: Axes, picture: Picture) -> None:
    """How much, when; what proves only the whole has nothing before it has all."""
    if picture.linked:
        most = max((sum(size for _, _, size in events) for _, events, _, _ in _lines(picture)), default=0)
        end = min(picture.end, most / PAYLOAD_RATE)
        axes.plot([0, end], [0, end * PAYLOAD_RATE / MIB], color=LINK, ls="--", lw=1, label="what the link can carry")
    for name, events, colour, style in _lines(picture):
        times, amounts = _cumulative(events)
        axes.plot(times, amounts, color=colour, ls=style, drawstyle="steps-post", label=name)


def _rates(axes: Axes, picture: Picture) -> None:
    """Bytes a second in each part of the time."""
    width = picture.end / PARTS
    if picture.linked:
        axes.axhline(PAYLOAD_RATE / 1e6, color=LINK, ls="--", lw=1)
    for _, events, colour, style in _lines(picture):
        if style == ALL_AT_ONCE:
            continue
        parts = [0.0] * PARTS
        for at, _, size in events:
            parts[max(0, min(PARTS - 1, int(at / width)))] += size / width / 1e6
        while parts and not parts[-1]:
            parts.pop()
        axes.step([width * number for number in range(len(parts) + 1)], [*parts, 0], where="post", color=colour, lw=1)


def _top(pictures: Sequence[Picture], most: float) -> float:
    """The largest rate to show: a reader that finds much of a file there at once is far above a link's."""
    if all(picture.linked for picture in pictures):
        return min(most, ABOVE_LINK * PAYLOAD_RATE / 1e6)
    return most


def _order(axes: Axes, picture: Picture) -> None:
    """Where in the file, when."""
    for events, colour, size in ((picture.arrivals, FUSEFS, 7), (picture.reads, DEMAND, 2)):
        if events:
            axes.scatter(
                [at for at, _, _ in events],
                [off / MIB for _, off, _ in events],
                s=size if len(events) > MANY else 4 * size,
                color=colour,
                linewidths=0,
            )
    axes.set_ylim(-0.02 * picture.size / MIB, 1.02 * picture.size / MIB)
