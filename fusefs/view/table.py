"""The status picture: for each mount some lines about it and a row a file, as styled lines.

A line is a list of (text, style) pieces.  A terminal prints them with their styles, a pipe without; so both have one
layout, and a test reads it as text.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.printable import printable
from fusefs.view import words
from fusefs.view.blocks import bar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fusefs.report import FileReport, MountReport, StatusReport

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
    yield _title(mount, shape)
    if mount.state != "up":
        yield [("  ", ""), (mount.problem, "yellow" if mount.state == "denied" else "red")]
        return
    yield from _flow(_facts(mount), shape)
    yield [("  cache ", "dim"), (mount.cache_dir, "")]
    yield from _proofs(mount.files)
    if mount.log_file:
        yield [("  log   ", "dim"), (mount.log_file, "")]
    if mount.last_error:
        yield [("  last error: ", "red"), (printable(mount.last_error), "")]
    for source in mount.sources_state:
        if source.state != "ok":
            blobs = f" for {_some(source.blobs_set_aside, 'blob')}" if source.blobs_set_aside else ""
            yield [(f"  {source.label} is {source.state}{blobs}: ", "yellow"), (source.reason, "dim")]
    for knob, reason in _not_tuned(mount):
        yield [(f"  not tuned: {knob}: ", "yellow"), (reason, "dim")]
    yield from _files(mount.files, shape)


def _title(mount: MountReport, shape: Shape) -> Line:
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
    gap = max(2, (shape.width or 0) - used - len(right))
    return [
        (f"{sign} ", style),
        (mount.mountpoint, "bold"),
        ("  ", ""),
        (sources, "cyan"),
        (" " * gap, ""),
        (right, "dim"),
    ]


def _facts(mount: MountReport) -> list[str]:
    count = mount.counters.get
    # Two paths may show one blob, which is stored and fetched once.
    blobs = {file.digest or file.path: file for file in mount.files}.values()
    facts = [
        f"{words.size(sum(b.present for b in blobs))} of {words.size(sum(b.size for b in blobs))} present",
        f"{words.rate(mount.rate)} now" if mount.rate >= 1 else "idle",
        f"fetched {words.size(count('bytes_fetched', 0))} in {_some(count('requests', 0), 'request')}",
        f"served {words.size(count('bytes_served', 0))}",
        *([f"evicted {words.size(evicted)}"] if (evicted := count("bytes_evicted", 0)) else []),
    ]
    if mount.in_flight:
        facts.insert(2, f"{mount.in_flight} in flight")
    for name, one, many in (
        ("retries", "retry", "retries"),
        ("chunks_rejected", "chunk rejected", "chunks rejected"),
        ("read_errors", "read error", "read errors"),
    ):
        if number := count(name, 0):
            facts.append(f"{number} {one if number == 1 else many}")
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
    found = Counter(file.proof for file in files if file.proof and file.state != "absent")
    if found:
        text = " · ".join(
            f"{_some(number, 'file')} {_PROOFS.get(proof, proof)}" for proof, number in found.most_common()
        )
        yield [("  proof ", "dim"), (text, "")]


_PROOFS = {"none": "without a chunk list (read whole first)"}


def _not_tuned(mount: MountReport) -> Iterator[tuple[str, str]]:
    """Knobs of the kernel that have another value than was asked for, and why."""
    for name, knob in mount.kernel.items():
        if isinstance(knob, dict) and knob.get("why_not"):
            yield f"{name} is {knob.get('actual')}, not {knob.get('wanted')}", str(knob["why_not"])


def _files(files: Sequence[FileReport], shape: Shape) -> Iterator[Line]:
    if not files:
        return
    shown, hidden = _choose(files, shape.files)
    path_width = max(4, *(len(printable(file.path)) for file in shown))
    state_width = max(6, *(len(file.state) for file in shown))
    cells = PLAIN_BAR
    if shape.width:
        room = shape.width - (2 + 2 + 8 + 2 + 4 + 2 + state_width + 2 + 2)  # all but the path and the bar's cells
        path_width = min(path_width, max(8, room * 3 // 5))
        cells = max(NARROW_BAR, min(WIDE_BAR, room - path_width))
    yield []
    yield [(f"  {'FILE':<{path_width}}  {'SIZE':>8}  {'HERE':>4}  {'STATE':<{state_width}}  PARTS", "dim")]
    for file in shown:
        yield _row(file, path_width, state_width, cells, elided=shape.width is not None)
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


def _row(file: FileReport, path_width: int, state_width: int, cells: int, *, elided: bool) -> Line:
    path = printable(file.path)
    if elided:
        path = words.elide(path, path_width)
    style = STATES.get(file.state, "")
    presence = [percent / 100 for percent in file.presence]
    return [
        (f"  {path:<{path_width}}  ", ""),
        (f"{words.size(file.size):>8}  ", ""),
        (f"{words.percent(file.present, file.size):>4}  ", style),
        (f"{file.state:<{state_width}}  ", style),
        ("▕", "dim"),
        (bar(presence, cells), style),
        ("▏", "dim"),
    ]
