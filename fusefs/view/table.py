"""The status picture: for each mount some lines about it and a row a file, as styled lines.

A line is a list of (text, style) pieces.  A terminal prints them with their styles, a pipe without; so both have one
layout, and a test reads it as text.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.values import metrics
from fusefs.values.printable import printable
from fusefs.view import words
from fusefs.view.blocks import bar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fusefs.values.report import FileReport, MountReport, StatusReport

Line = list[tuple[str, str]]

STATES = {
    "sealed": "green",
    "partial": "cyan",
    "unproved": "yellow",
    "quarantined": "bold red",
    "absent": "dim",
}
"""State of a file to its colour; the states in the order of a legend."""

_RANK = {"quarantined": 0, "unproved": 1, "partial": 2, "sealed": 3, "absent": 4}

NARROW_BAR, WIDE_BAR = 12, 64
"""Cells of a bar: fewer say nothing, more are not in the report."""

PLAIN_BAR = 40
"""Cells where there is no terminal whose width could be filled."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How much room there is.

    Attributes:
        width: columns; None for a pipe: nothing is elided.
        files: rows a mount at most; None for all.
    """

    width: int | None = None
    files: int | None = None


def picture(report: StatusReport, shape: Shape) -> list[Line]:
    """Every mount, an empty line between two."""
    if not report.mounts:
        return [[("nothing is mounted", "dim")]]
    lines: list[Line] = []
    for mount in report.mounts:
        lines += [[]] if lines else []
        # All of it, wherever it came from: what a daemon says of itself may be anything, too.
        lines += [[(printable(text), style) for text, style in line] for line in _mount(mount, shape)]
    return lines


def text_of(line: Line) -> str:
    """The line without its styles and without blanks at its end."""
    return "".join(text for text, _ in line).rstrip()


def _mount(mount: MountReport, shape: Shape) -> Iterator[Line]:
    yield from _title(mount, shape)
    if mount.state != "up":
        yield [("  ", ""), (mount.problem, "yellow" if mount.state == "denied" else "red")]
        return
    yield from _flow(_facts(mount), shape)
    yield [("  cache ", "dim"), (mount.cache_dir, "")]
    if mount.signed:
        yield [("  signed by ", "dim"), (printable(mount.signed), "")]
    yield from _proofs(mount.files)
    if mount.log_file:
        yield [("  log   ", "dim"), (mount.log_file, "")]
    if mount.last_error:
        yield [("  last error: ", "red"), (printable(mount.last_error), "")]
    for note in mount.notes:
        yield [("  warning: ", "yellow"), (note, "")]
    for source in mount.sources_state:
        if source.state != "ok":
            blobs = f" for {_some(source.blobs_blocked, 'blob')}" if source.blobs_blocked else ""
            yield [(f"  {source.label} is {source.state}{blobs}: ", "yellow"), (source.reason, "dim")]
        if source.ignores_range:
            stream = (
                "asked for whole files alone" if source.mirror else "each file is read in one stream from its front"
            )
            yield [(f"  {source.label} ignores Range: ", "yellow"), (stream, "dim")]
    yield from _wire(mount)
    for knob, reason in _not_tuned(mount):
        yield [(f"  not tuned: {knob}: ", "yellow"), (reason, "dim")]
    yield from _files(mount.files, shape)


def _title(mount: MountReport, shape: Shape) -> Iterator[Line]:
    sources = printable(", ".join(mount.sources))
    right = ""
    if mount.pid:
        up = f"up {words.seconds(mount.uptime)}, " if mount.state == "up" else ""
        right = f"{up}pid {mount.pid}"
    sign, style = {"up": ("●", "green"), "denied": ("●", "yellow"), "silent": ("●", "yellow")}.get(
        mount.state, ("✗", "bold red")
    )
    if shape.width:
        sources = words.elide(sources, max(16, shape.width - len(mount.mountpoint) - len(right) - 6))
    used = 2 + len(mount.mountpoint) + 2 + len(sources)
    if shape.width and used + 2 + len(right) > shape.width:  # a line for each
        yield [(f"{sign} ", style), (mount.mountpoint, "bold")]
        yield [("  ", ""), (words.elide(printable(", ".join(mount.sources)), max(16, shape.width - 2)), "cyan")]
        yield from ([[("  ", ""), (right, "dim")]] if right else [])
        return
    gap = max(2, (shape.width or 0) - used - len(right))
    yield [
        (f"{sign} ", style),
        (mount.mountpoint, "bold"),
        ("  ", ""),
        (sources, "cyan"),
        (" " * gap, ""),
        (right, "dim"),
    ]


def _facts(mount: MountReport) -> list[str]:
    def count(counter: metrics.Counter) -> int:
        return mount.counters.get(counter.name, 0)

    # Two paths may show one blob, which is stored and fetched once.
    blobs = {file.digest or file.path: file for file in mount.files}.values()
    facts = [
        f"{words.size(sum(b.present for b in blobs))} of {words.size(sum(b.size for b in blobs))} present",
        f"{words.rate(mount.rate)} now" if mount.rate >= 1 else "idle",
        *([f"{mount.in_flight} in flight"] if mount.in_flight else []),
        f"fetched {words.size(count(metrics.BYTES_FETCHED))} in {_some(count(metrics.REQUESTS), 'request')}",
        f"served {words.size(count(metrics.BYTES_SERVED))}",
    ]
    for counter in metrics.COUNTERS:
        if counter.noted and (number := count(counter)):
            one, several = counter.noted
            shown = words.size(number) if counter.unit == "bytes" else str(number)
            facts.append((one if number == 1 else several).format(shown))
    return facts


def _some(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _flow(facts: Sequence[str], shape: Shape) -> Iterator[Line]:
    """Facts with a dot between two, as many on a line as fit."""
    line = "  "
    for fact in facts:
        longer = f"{line} · {fact}" if line.strip() else line + fact
        if shape.width and len(longer) > shape.width and line.strip():
            yield [(line, "dim")]
            longer = "  " + fact
        line = longer
    yield [(line, "dim")]


def _proofs(files: Sequence[FileReport]) -> Iterator[Line]:
    """By whose chunk lists the files are served of which something is here."""
    found = Counter(_proof(file) for file in files if file.proof and file.state != "absent")
    if found:
        text = " · ".join(f"{_some(number, 'file')} {proof}" for proof, number in found.most_common())
        yield [("  proof ", "dim"), (text, "")]


def _proof(file: FileReport) -> str:
    if file.proof != "none":
        return file.proof
    return f"without a chunk list ({'served unproved' if file.state == 'unproved' else 'read whole first'})"


def _wire(mount: MountReport) -> Iterator[Line]:
    """How the kernel is answered; of a daemon that does not say, nothing."""
    wire = mount.wire
    if wire.why_not:
        yield [("  one thread answers, and a killed reader may wait: ", "yellow"), (wire.why_not, "dim")]
    elif wire.threads:
        ends = " · killed readers end at once" if wire.interrupts else ""
        yield [("  reads ", "dim"), (f"answered by {_some(wire.threads, 'thread')}{ends}", "")]
    if wire.passthrough:
        now = f" · {_some(wire.native, 'file')} open so now" if wire.native else ""
        yield [("  proved files ", "dim"), (f"read by the kernel itself, not counted as served{now}", "")]
    elif wire.no_passthrough:
        yield [("  no passthrough: ", "dim"), (wire.no_passthrough, "dim")]


def _not_tuned(mount: MountReport) -> Iterator[tuple[str, str]]:
    """Knobs of the kernel that have another value than was asked for, and why."""
    for name, knob in mount.kernel.items():
        if isinstance(knob, dict) and knob.get("why_not"):
            yield f"{name} is {knob.get('actual')}, not {knob.get('wanted')}", str(knob["why_not"])


@dataclass(frozen=True, slots=True)
class _Columns:
    """How wide the columns of the files are; a column of no width is left out."""

    path: int
    size: int
    state: int
    bar: int


def _columns(files: Sequence[FileReport], width: int | None) -> _Columns:
    """Where there is not room for all, the bar goes first, then the size; the name is elided."""
    longest = max(4, *(len(printable(file.path)) for file in files))
    state = max(6, *(len(file.state) for file in files))
    if width is None:
        return _Columns(longest, 8, state, PLAIN_BAR)
    room = width - (2 + 2 + 8 + 2 + 4 + 2 + state)  # all but the path and the bar
    path = min(longest, max(8, (room - 4) * 3 // 5))
    if room - 4 - path >= NARROW_BAR:
        return _Columns(path, 8, state, min(WIDE_BAR, room - 4 - path))
    if room >= min(longest, 12):
        return _Columns(min(longest, room), 8, state, 0)
    return _Columns(min(longest, max(4, room + 10)), 0, state, 0)


def _files(files: Sequence[FileReport], shape: Shape) -> Iterator[Line]:
    if not files:
        return
    shown, hidden = _choose(files, shape.files)
    columns = _columns(shown, shape.width)
    yield []
    yield [
        (f"  {'FILE':<{columns.path}}  ", "dim"),
        (f"{'SIZE':>8}  " if columns.size else "", "dim"),
        (f"{'HERE':>4}  {'STATE':<{columns.state}}", "dim"),
        ("  PARTS" if columns.bar else "", "dim"),
    ]
    for file in shown:
        yield _row(file, columns, elided=shape.width is not None)
    if hidden:
        states = Counter(file.state for file in hidden)
        what = ", ".join(f"{states[state]} {state}" for state in STATES if states[state])
        yield [(f"  … and {len(hidden)} more: {what} (--all shows them)", "dim")]


def _choose(files: Sequence[FileReport], limit: int | None) -> tuple[Sequence[FileReport], Sequence[FileReport]]:
    """All in their own order when they fit, else those first in which something happens."""
    if limit is None or len(files) <= limit:
        return files, ()
    busy = sorted(files, key=lambda file: (_RANK.get(file.state, 0), -file.present, -file.size, file.path))
    return busy[:limit], busy[limit:]


def _row(file: FileReport, columns: _Columns, *, elided: bool) -> Line:
    path = printable(file.path)
    if elided:
        path = words.elide(path, columns.path)
    style = STATES.get(file.state, "")
    presence = [percent / 100 for percent in file.presence]
    return [
        (f"  {path:<{columns.path}}  ", ""),
        (f"{words.size(file.size):>8}  " if columns.size else "", ""),
        (f"{words.percent(file.present, file.size):>4}  ", style),
        (f"{file.state:<{columns.state}}", style),
        *([("  ▕", "dim"), (bar(presence, columns.bar), style), ("▏", "dim")] if columns.bar else []),
    ]
