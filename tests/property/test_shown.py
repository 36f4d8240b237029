"""Text that others chose is inert where it is shown: on a terminal, in the log, and in JSON."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fusefs.cli.answers import fail, warn
from fusefs.daemon import logs
from fusefs.values.printable import escaped_json, printable
from fusefs.values.report import (
    FileReport,
    HoldingsReport,
    Item,
    ModelReport,
    MountReport,
    StatusReport,
    decode,
    encode,
)
from fusefs.view.cached import holdings
from fusefs.view.progress import Tally, frame
from fusefs.view.table import Shape, picture, text_of
from fusefs.view.terminal import styled

if TYPE_CHECKING:
    import pytest

EVIL = [
    "\x1b[2J",
    "\x1b]52;c;AAAA\x07",
    "\x9b31m",
    "\r",
    "\n",
    "\u2028",
    "\u202e",
    "\u200b",
    "\x85",
    "\ud800",
    "\udc80",
    "[bold]x[/bold]",
]
TEXTS = st.lists(st.sampled_from(EVIL) | st.text(max_size=8), max_size=6).map("".join)


@given(TEXTS)
def test_p10_what_is_shown_is_one_line_of_printable_characters(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text)) == len(text)
    assert printable(printable(text)) == printable(text)


@given(TEXTS)
def test_p10_json_is_exact_for_a_program_and_inert_on_a_terminal(text: str) -> None:
    report = StatusReport((MountReport(mountpoint=text, files=(FileReport(path=text),)),))
    document = escaped_json(encode(report))
    assert document.decode().isprintable()
    # Halves of a surrogate that were apart before are one character when they meet in JSON.
    same = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    assert json.loads(document)["mounts"][0]["mountpoint"] == same
    if "\ud800" not in text:  # of no path
        assert decode(encode(MountReport(mountpoint=text))).mountpoint == text


@given(TEXTS)
def test_p10_no_text_forges_a_second_line_of_the_log(text: str) -> None:
    line = logs.formatter().format(logging.LogRecord("fusefs", logging.INFO, __file__, 1, "%s", (text,), None))
    assert line.isprintable()


def test_a_traceback_of_ours_keeps_its_lines() -> None:
    try:
        int("x")
    except ValueError as exc:
        info = (type(exc), exc, exc.__traceback__)
    record = logging.LogRecord("fusefs", logging.ERROR, __file__, 1, "it failed", (), info)
    assert "\nTraceback (most recent call last):\n" in logs.formatter().format(record)


@given(TEXTS)
def test_p10_the_message_of_an_error_in_a_traceback_forges_no_record_of_the_log(text: str) -> None:
    forged = "2026-11-27 02:00:00,000 INFO fusefs.daemon.mounting: Mounted."
    exc = ValueError(f"{text}\n{forged}")
    info = (type(exc), exc, None)
    record = logging.LogRecord("fusefs", logging.ERROR, __file__, 1, "it failed: %s", (f"{text}\n{forged}",), info)
    first, *rest = logs.formatter().format(record).split("\n")
    assert all(line.isprintable() for line in (first, *rest))
    assert all(line.startswith(" ") or line in ("", "Traceback (most recent call last):") for line in rest)


@given(TEXTS)
def test_p10_the_lines_of_a_dump_are_ours_alone(text: str) -> None:
    record = logging.LogRecord("fusefs", logging.INFO, __file__, 1, "what is going on:", (), None)
    record.details = ["tasks:", text]
    lines = logs.formatter().format(record).split("\n")
    assert lines[0].endswith("what is going on:")
    assert lines[1] == "  tasks:"
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)


@given(TEXTS, st.integers(1, 200))
def test_p10_a_picture_of_any_texts_is_printable_and_its_rows_fit(text: str, width: int) -> None:
    files = tuple(FileReport(path=f"{text}{i}", size=1 << 40, state="quarantined", presence=(50,)) for i in range(2))
    mount = MountReport(mountpoint=text, sources=(text,), files=files, last_error=text, cache_dir=text, log_file=text)
    lines = [text_of(line) for line in picture(StatusReport((mount,)), Shape(width))]
    assert all(line.isprintable() for line in lines)
    table = lines[-3:]
    assert table[0].startswith("  FILE")
    assert width < 30 or max(map(len, table)) <= width
    tally = Tally(0.0)
    items = [Item(label=text, size=9 << 30, done=1, state="fetching"), Item(label="x", size=1)]
    tally.look(items, 0.0)
    shown = [text_of(line) for line in frame(items, tally, width=width, rows=5)]
    assert all(line.isprintable() for line in shown)
    assert width < 36 or max(map(len, shown)) <= width
    assert shown[0].rstrip(" \u2595\u258f").endswith("fetching"), "a state is never cut"


@given(TEXTS, st.integers(38, 200), st.booleans())
def test_p10_a_picture_of_a_cache_is_printable_and_its_rows_fit(text: str, width: int, pinned: bool) -> None:
    model = ModelReport(name=text, short=text, digest=text, size=1 << 40, present=1 << 39, last_use=0, pinned=pinned)
    report = HoldingsReport(
        cache_dir=text,
        models=(model,),
        unnamed=(),
        quarantine=(),
        blobs=1,
        used=1,
        shared=0,
        disk=1,
        free=1,
        keep_free=1,
    )
    head, row, *rest = [text_of(line) for line in holdings(report, 9e8, width, everything=True)]
    assert all(line.isprintable() for line in (head, row, *rest))
    assert max(len(head), len(row)) <= width
    assert "50%" in row
    assert ("pinned" in row) >= pinned


def test_p10_markup_of_rich_is_text() -> None:
    evil = "[bold]x[/bold] [link=http://h]y[/link] :smile:"
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=200, highlight=False)
    console.print(styled([[(evil, "red")]]), soft_wrap=True)
    assert evil in out.getvalue()
    assert "\x1b]8" not in out.getvalue()


def test_p10_an_error_and_a_warning_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    for say in (fail, warn):
        say("bad\x1b[2J\nfusefs: error: forged\r\u202e")
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        assert line[:-1].isprintable()
