"""`fusefs help`: the pages are there without a browser, on any terminal and without one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import REPOSITORY
from tests.cli.test_output import Terminal

if TYPE_CHECKING:
    from tests.cli.conftest import Shell

PAGES = sorted(Path(REPOSITORY / "fusefs/docs").glob("*.md"))


def test_without_a_topic_every_page_has_its_line(fusefs: Shell) -> None:
    shown = fusefs("help").stdout
    for page in PAGES:
        assert re.search(rf"^  {page.stem} +\S", shown, re.MULTILINE), page.stem
    assert max(map(len, shown.splitlines())) <= 80


def test_a_page_is_plain_text_where_there_is_no_terminal(fusefs: Shell) -> None:
    shown = fusefs("help", "operations").stdout
    assert shown.startswith("Operations\n\n")
    assert "SIGUSR1" in shown
    assert "Type=notify" in shown
    assert "\x1b" not in shown
    assert "](" not in shown


@pytest.mark.slow
@pytest.mark.parametrize("topic", ["Cache-Format", "cache_format", "cache-format.md"])
def test_a_topic_may_be_written_as_its_file_is(fusefs: Shell, topic: str) -> None:
    assert fusefs("help", topic).stdout.startswith("Cache format\n")


@pytest.mark.slow
def test_the_name_of_a_command_gives_its_help(fusefs: Shell) -> None:
    shown = fusefs("help", "umount").stdout
    assert shown == fusefs("umount", "--help").stdout


SLOW = [pytest.param(topic, marks=pytest.mark.slow) for topic in ("", "../README", "\x1b[31m", "x" * 10_000)]


@pytest.mark.parametrize("topic", ["nix", *SLOW])
def test_a_topic_that_does_not_exist_is_wrong_usage_in_one_line(fusefs: Shell, topic: str) -> None:
    line = fusefs.fails("help", topic, code=2)
    assert line.startswith("No page about ")
    assert "`fusefs help` lists the topics" in line
    assert len(line) < 250


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_terminal_without_our_characters_shows_others(fusefs: Shell, encoding: str) -> None:
    env = {"PYTHONIOENCODING": encoding, "PAGER": "cat"}
    with Terminal(fusefs, "help", "performance", env=env) as terminal:
        assert terminal.end() == 0
    assert b"Performance" in terminal.seen


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_of_a_narrow_terminal_goes_through_the_pager_and_fits(fusefs: Shell, page: Path, tmp_path: Path) -> None:
    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\necho paged\ncat\n")
    pager.chmod(0o755)
    with Terminal(fusefs, "help", page.stem, columns=40, env={"PAGER": str(pager)}) as terminal:
        assert terminal.end() == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", terminal.seen.decode()).replace("\r", "").splitlines()
    assert lines[0] == "paged"
    too_long = [line for line in lines if len(line) > 40 and not line.startswith("    ")]  # code is not broken
    assert not too_long
    # What a column is called is not said of the first one where a table does not fit.
    text = re.sub(r"(?m)^\|.*\n(?=\|[-:| ]+\|$)", "", page.read_text())
    # A name in code may be broken within its column, and its parts stand in two lines of the table.
    words = set(re.findall(r"\w{5,}", re.sub(r"\]\([^)]*\)|<!--.*?-->|`[^`\n]*`", "", text)))
    whole = re.sub(r"\s", "", "".join(lines))  # a word that is longer than a line goes on in the next
    assert not {word for word in words if word not in whole}
