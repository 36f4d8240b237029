"""The pages of the manual on a terminal: Markdown in, lines of text out, none longer than the terminal is wide.

It knows the Markdown that our own pages use: headings, paragraphs, lists, code, tables.  A table that does not fit is
shown as one record a row, because columns of four letters cannot be read.
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusefs.view.table import Line

NARROWEST, WIDEST = 20, 120
"""Columns that are used: fewer show nothing anyway, and longer lines are hard to follow."""

_LEAST_COLUMN = 14
"""Columns of a table's column that can still be read, where its text is longer."""

_FENCE = "    \n"
"""Begins a block of code, as indentation does, which it is shown with."""

_ITEM = re.compile(r"( *)(-|\d+\.) +")
_TEXT_OF = (
    (re.compile(r"!\[([^\]]*)\]\([^)]*\)"), r"(picture: \1)"),
    (re.compile(r"\[([^\]]+)\]\([^)]*\)"), r"\1"),
    (re.compile(r"\*\*(.+?)\*\*"), r"\1"),
    (re.compile(r"(?<![\w*])\*([^\s*][^*]*)\*(?![\w*])"), r"\1"),
    (re.compile(r"</?sub>"), ""),
)
"""Marks that only a browser can show; those of code stay, because they say where a word to type ends."""


def about(page: str) -> str:
    """What a page is about: its first paragraph, on one line."""
    paragraph = page.split("\n\n", 2)[1]
    return _plain(" ".join(paragraph.split()))


def contents(topics: dict[str, str], columns: int) -> list[Line]:
    """A line a topic, with what it is about; a second one where the terminal is narrow."""
    width = min(max(NARROWEST, columns), WIDEST)
    name = max(map(len, topics), default=0)
    lines: list[Line] = []
    for topic, text in topics.items():
        if width - name - 4 >= NARROWEST:
            first, *rest = _wrapped(text, width - name - 4)
            lines.append([("  ", ""), (f"{topic:{name}}", "bold"), (f"  {first}", "")])
            lines += [[(f"{'':{name + 4}}{more}", "")] for more in rest]
        else:
            lines.append([(f"  {topic}", "bold")])
            lines += [[(f"    {more}", "")] for more in _wrapped(text, width - 4)]
    return lines


def manual(page: str, columns: int) -> list[Line]:
    """A page for a terminal of so many columns."""
    width = min(max(NARROWEST, columns), WIDEST)
    lines: list[Line] = []
    for block in _blocks(page):
        if lines:
            lines.append([])
        if block[0].startswith("#"):
            lines += [[(line, "bold")] for line in _wrapped(_plain(block[0].lstrip("# ")), width)]
        else:
            lines += [[(line, "")] for line in _shown(block, width)]
    return lines


def _blocks(page: str) -> Iterator[list[str]]:
    """Runs of lines that belong together: a heading, code, a table, a paragraph or an item of a list."""
    block: list[str] = []
    fenced = False
    for line in page.splitlines():
        if line.startswith("```"):
            fenced = not fenced
            if block:
                yield block
            block = [_FENCE] if fenced else []
        elif fenced:
            block.append(f"    {line}")
        elif not line.strip() or line.startswith("<!--"):
            if block:
                yield block
            block = []
        elif block and _begins_another(line, block):
            yield block
            block = [line]
        else:
            block.append(line)
    if block:
        yield block


def _begins_another(line: str, block: list[str]) -> bool:
    return line.startswith("#") or block[0].startswith("#") or (line.startswith("|") != block[0].startswith("|"))


def _shown(block: list[str], width: int) -> Iterator[str]:
    if block[0].startswith("    "):
        yield from (line.rstrip() for line in block if line is not _FENCE)
    elif block[0].startswith("|"):
        yield from _table([_cells(line) for line in block], width)
    else:
        yield from _paragraphs(block, width)


def _paragraphs(block: list[str], width: int) -> Iterator[str]:
    """A paragraph, or the items of a list, each wrapped below its own mark."""
    texts: list[tuple[str, str]] = []
    for line in block:
        item = _ITEM.match(line)
        if item or not texts:
            texts.append((item[0] if item else "", line[item.end() :] if item else line))
        else:
            mark, text = texts[-1]
            texts[-1] = (mark, f"{text} {line.strip()}")
    for mark, text in texts:
        yield from _wrapped(_plain(text), width, mark, " " * len(mark))


def _wrapped(text: str, width: int, first: str = "", later: str = "") -> list[str]:
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=later, break_on_hyphens=False) or [""]


def _plain(text: str) -> str:
    """Text without the marks that only a browser can show; what stands in code is left as it is."""
    parts = re.split(r"(`[^`]*`)", text.replace(r"\|", "|"))
    for number in range(0, len(parts), 2):
        for mark, shown in _TEXT_OF:
            parts[number] = mark.sub(shown, parts[number])
    return "".join(parts)


def _cells(line: str) -> list[str]:
    return [_plain(cell.strip()) for cell in re.split(r"(?<!\\)\|", line.strip()[1:].removesuffix("|"))]


def _table(rows: list[list[str]], width: int) -> Iterator[str]:
    head, body = rows[0], rows[2:]
    room = _columns([head, *body], width)
    if room is None:
        yield from _records(head, body, width)
        return
    right = [rule.endswith(":") for rule in rows[1]]
    yield from _row(head, room, right)
    yield "  ".join("-" * columns for columns in room)
    for row in body:
        yield from _row(row, room, right)


def _columns(rows: list[list[str]], width: int) -> list[int] | None:
    """How wide each column is: the widest give until all fit; None when they cannot."""
    room = [max(map(len, column)) for column in zip(*rows, strict=True)]
    least = [min(columns, _LEAST_COLUMN) for columns in room]
    words = [
        max((len(word) for cell in column for word in cell.split()), default=0) for column in zip(*rows, strict=True)
    ]
    least = [max(a, min(b, width // 3)) for a, b in zip(least, words, strict=True)]
    while (excess := sum(room) + 2 * (len(room) - 1) - width) > 0:
        give = max(range(len(room)), key=lambda i: room[i] - least[i])
        if room[give] <= least[give]:
            return None
        room[give] -= min(excess, max(1, (room[give] - least[give]) // 2))
    return room


def _row(cells: list[str], room: list[int], right: list[bool]) -> Iterator[str]:
    columns = [_wrapped(cell, size) if size else [""] for cell, size in zip(cells, room, strict=True)]
    for number in range(max(map(len, columns))):
        texts = [column[number] if number < len(column) else "" for column in columns]
        pieces = (f"{t:>{size}}" if r else f"{t:{size}}" for t, size, r in zip(texts, room, right, strict=True))
        yield "  ".join(pieces).rstrip()


def _records(head: list[str], rows: list[list[str]], width: int) -> Iterator[str]:
    for row in rows:
        yield from _wrapped(row[0], width, "", "  ")
        for title, cell in zip(head[1:], row[1:], strict=True):
            if cell:
                yield from _wrapped(f"{title}: {cell}" if title else cell, width, "  ", "    ")
