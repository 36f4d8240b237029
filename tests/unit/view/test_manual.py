"""A page of Markdown as lines for a terminal: nothing is lost, and nothing is longer than the terminal is wide."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.view.manual import about, contents, manual

TABLE = "# T\n\n| name | size | |\n|---|--:|---|\n| a `x\\|y` | 7 | one two three |\n| b | 1,024 | |\n"


def shown(page: str, columns: int) -> list[str]:
    return ["".join(text for text, _ in line) for line in manual(page, columns)]


def test_a_table_that_fits_is_a_table() -> None:
    assert shown(TABLE, 60)[2:] == [
        "name      size",
        "-------  -----  -------------",
        "a `x|y`      7  one two three",
        "b        1,024",
    ]


def test_a_table_that_does_not_fit_is_a_record_a_row() -> None:
    wide = TABLE.replace("|---|--:|---|", "|---|--:|---|").replace("name", "the name of the thing")
    head, rule, *rows = wide.splitlines()[2:]
    page = "# T\n\n" + "\n".join(
        f"{line}{line}{line}"[: 3 * len(line)].replace("||", "|") for line in (head, rule, *rows)
    )
    lines = shown(page, 30)
    assert "  size: 7" in lines
    assert "  one two three" in lines
    assert max(map(len, lines)) <= 30


def test_an_item_is_wrapped_below_its_text() -> None:
    page = "# T\n\n- one two three\n  four five\n- six\n\n1. seven eight nine ten eleven\n"
    assert shown(page, 20)[2:] == [
        "- one two three four",
        "  five",
        "- six",
        "",
        "1. seven eight nine",
        "   ten eleven",
    ]


def test_code_is_shown_as_it_is_written() -> None:
    page = "# T\n\n```ini\n[a]\n\n# *no* heading\nb=**c**\n```\n\n    indented  code\n"
    assert shown(page, 20)[2:] == ["    [a]", "", "    # *no* heading", "    b=**c**", "", "    indented  code"]


def test_marks_of_a_browser_are_left_out_but_not_in_code() -> None:
    page = "# T\n\n**Bold**, *slanted*, [a link](https://x.example/a), `**code** [x](y)`, 2 * 3 * 4.\n<!-- a mark -->\n"
    assert shown(page, 120)[2:] == ["Bold, slanted, a link, `**code** [x](y)`, 2 * 3 * 4."]


def test_the_contents_have_a_line_a_topic_and_two_on_a_narrow_terminal() -> None:
    topics = {"a-long-topic-name": "What it is.", "b": "Another."}
    wide = ["".join(text for text, _ in line) for line in contents(topics, 80)]
    assert wide == ["  a-long-topic-name  What it is.", "  b                  Another."]
    narrow = ["".join(text for text, _ in line) for line in contents(topics, 30)]
    assert narrow == ["  a-long-topic-name", "    What it is.", "  b", "    Another."]


def test_a_page_is_about_what_its_first_paragraph_says() -> None:
    assert about("# T\n\nOne **line**\nor two.\n\nMore.\n") == "One line or two."


WORD = st.from_regex(r"\A[a-z]{1,12}\Z")
CELLS = st.lists(st.lists(WORD, max_size=6).map(" ".join), min_size=3, max_size=3)


@pytest.mark.slow
@given(st.lists(CELLS, min_size=1, max_size=4), st.lists(WORD, min_size=1, max_size=30), st.integers(20, 130))
def test_no_word_is_lost_at_any_width(rows: list[list[str]], words: list[str], columns: int) -> None:
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in [["h", "i", "j"], ["---", "--:", "---"], *rows])
    lines = shown(f"# T\n\n{' '.join(words)}\n\n{table}\n", columns)
    assert max(map(len, lines)) <= columns
    seen = re.findall("[a-z]+", " ".join(lines))
    cells = " ".join(cell for row in rows for cell in row)
    assert not {*words, *cells.split()} - set(seen)
