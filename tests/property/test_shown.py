"""Text that others chose is inert where it is shown: on a terminal, in the log, and in JSON."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from fusefs import logs
from fusefs.answers import fail, warn
from fusefs.printable import escaped_json, printable
from fusefs.report import FileReport, MountReport, StatusReport, encode

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
    "[bold]x[/bold]",
]
TEXTS = st.lists(st.sampled_from(EVIL) | st.text(max_size=8), max_size=6).map("".join)


@given(TEXTS)
def test_p10_what_is_shown_is_one_line_of_printable_characters(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text)) == len(text)
    assert printable(printable(text)) == printable(text)


@given(TEXTS.filter(lambda text: "\ud800" not in text))
def test_p10_json_is_exact_for_a_program_and_inert_on_a_terminal(text: str) -> None:
    report = StatusReport((MountReport(mountpoint=text, files=(FileReport(path=text),)),))
    document = escaped_json(encode(report))
    assert document.decode().isprintable()
    assert json.loads(document)["mounts"][0]["mountpoint"] == text


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


def test_p10_an_error_and_a_warning_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    for say in (fail, warn):
        say("bad\x1b[2J\nfusefs: error: forged\r\u202e")
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        assert line[:-1].isprintable()
