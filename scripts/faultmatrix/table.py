"""The fault matrix as text and as Markdown: faults as rows, {where x how} as columns."""

from __future__ import annotations

import os
import platform
import re
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.faults.matrix import HOWS, KINDS, NONE, WHERES, Cell, rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from scripts.faultmatrix.collect import Collector
    from tests.faults.matrix import Kind, Row, Where

GREEN, RED, SENSELESS, UNPLAYED = "✓", "✗", NONE.value, "·"

_HEADS: dict[Where, str] = {
    "first": "first chunk",
    "last": "last chunk",
    "third": "every third",
    "list": "chunk list",
    "manifest": "manifest",
}

_KINDS: dict[Kind, str] = {
    "ollama": "A REGISTRY LIKE OLLAMA'S",
    "oci": "A REGISTRY WITH A PUBLISHED LIST",
    "bucket": "A BUCKET OF S3",
    "hub": "THE HUGGING FACE HUB",
}

AREAS = {
    "matrix": "fault matrix",
    "calls": "the Nth system call fails",
    "crash": "kill -9 at named steps and at random",
    "kill": "kill -9 of daemons and pulls amid a transfer",
    "powercut": "power cuts",
    "rot": "bit rot",
    "rot_mounted": "bit rot, through mounts and commands",
    "many": "many processes, with kills",
    "schedule": "random schedules of faults",
    "full_disk": "2 GiB through a full disk",
    "hostile_list": "hostile list: absurd chunk lists, manifests and headers",
    "starving_readers": "starving readers: hundreds wait for a dead registry",
    "load": "64 readers, 20 models, 5 % faults",
    "lying_list": "lying list",
    "two_parsers": "two parsers",
    "name_server": "a silent name server",
    "moved_cache": "another cache in the place of ours",
    "serve_floods": "serve floods",
    "atheris": "fuzzing (inputs)",
    "native": "passthrough: killed daemons, eviction and rot under files that the kernel reads",
    "replace": "a mount takes the place of a dead one",
    "wire": "threads that answer the kernel fail",
}
"""What an area is called on the page about reliability."""

_BEGIN, _END = re.compile(r"<!-- faults:[^>]* -->"), "<!-- /faults -->"

LEGEND = (
    f"{GREEN} as it must be   {RED} not so   {SENSELESS} makes no sense there   {UNPLAYED} not played",
    "r read(2) and m mmap on a kernel mount, p fusefs pull.  Ends in: at a chunk / the chunk list / the manifest.",
    "right: the right bytes in the end.  An errno: in time, nothing wrong kept, right when the fault is gone.",
)


def lines(cells: Mapping[str, bool]) -> Iterator[str]:
    """The tables, one for each kind of place, at most 120 columns wide."""
    title = max(len(row.title) for kind in KINDS for row in rows(kind))
    for kind in KINDS:
        yield f"{_KINDS[kind]:{title}} " + " ".join(f"{head:^11}" for head in _HEADS.values())
        yield f"{'fault':{title}} " + " ".join(f"{'r   m   p':^11}" for _ in WHERES) + "  ends in"
        for row in rows(kind):
            groups = (f"{'   '.join(marks(row, where, cells, kind)):^11}" for where in WHERES)
            yield f"{row.title:{title}} " + " ".join(groups) + f"  {ends(row)}"
        yield ""


def markdown(cells: Mapping[str, bool]) -> Iterator[str]:
    """The same as Markdown."""
    for kind in KINDS:
        yield f"| {_KINDS[kind]} | " + " | ".join(_HEADS.values()) + " | ends in |"
        yield "|---|" + "---|" * (len(WHERES) + 1)
        for row in rows(kind):
            groups = (" ".join(marks(row, where, cells, kind)) for where in WHERES)
            yield f"| {row.title} | " + " | ".join(groups) + f" | {ends(row)} |"
        yield ""


def marks(row: Row, where: Where, cells: Mapping[str, bool], kind: Kind = "ollama") -> list[str]:
    """One mark for each way to read."""
    if row.outcome(where) is NONE:
        return [SENSELESS for _ in HOWS]
    known = (cells.get(str(Cell(row, where, how, kind))) for how in HOWS)
    return [UNPLAYED if green is None else GREEN if green else RED for green in known]


def ends(row: Row) -> str:
    """What must come of it at a chunk, at the list, and at the manifest; one word when it is the same everywhere."""
    outcomes = [outcome.value for outcome in (row.chunk, row.chunk_list, row.manifest) if outcome is not NONE]
    if len(set(outcomes)) == 1:
        return outcomes[0]
    return "/".join(outcome.value for outcome in (row.chunk, row.chunk_list, row.manifest))


def into_docs(page: Path, readme: Path, collector: Collector) -> None:
    """Replace the parts that are made here: all rows on the page about reliability, their sum in README."""
    rows = list(_table_of_numbers(collector))
    _put(page, rows)
    _put(readme, [rows[0], "", *rows[2:4], rows[-1]])


def _put(path: Path, lines: list[str]) -> None:
    old = path.read_text()
    begin = _BEGIN.search(old)
    end = -1 if begin is None else old.find(_END, begin.end())
    if begin is None or end < 0:
        raise SystemExit(f"{path} has no part for the numbers")
    path.write_text(f"{old[: begin.end()]}\n\n" + "\n".join(lines) + f"\n\n{old[end:]}")


def _table_of_numbers(collector: Collector) -> Iterator[str]:
    where = f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
    yield f"{datetime.now(UTC):%Y-%m-%d}, {where}."
    yield ""
    yield "| attack | tests, green | rounds | faults | bytes compared | wrong bytes | fetched again |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    total: Counter[str] = Counter()
    for name, area in collector.areas.items():
        yield _row(AREAS.get(name, name), area.tests, area.green, area.numbers)
        total += area.numbers
    tests, green = (sum(getattr(area, what) for area in collector.areas.values()) for what in ("tests", "green"))
    yield _row("**all**", tests, green, total)


def _row(title: str, tests: int, green: int, found: Mapping[str, int]) -> str:
    rounds = found.get("rounds") or found.get("fuzz_executions")
    shown = (rounds, found.get("injected"), found.get("bytes_compared"))
    cells = [f"{number:,}" if number else "" for number in shown]
    wrong = f"{found['bytes_wrong']:,}" if "bytes_wrong" in found else "" if "**" not in title else "0"
    again = f"{found['bytes_refetched']:,}" if "bytes_refetched" in found else ""
    return f"| {title} | {tests}, {green} | " + " | ".join([*cells, wrong, again]) + " |"


def numbers(collector: Collector) -> Iterator[str]:
    """One line for each area, the matrix in its own words."""
    for name, area in collector.areas.items():
        what = "cells" if name == "matrix" else "tests"
        text = [f"{area.tests} {what}", f"{area.green} green"]
        text += [f"{value:,} {key.replace('_', ' ')}" for key, value in area.numbers.items()]
        yield f"{name}: " + ", ".join(text)
