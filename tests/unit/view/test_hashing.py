"""Progress of hashing, on a terminal and elsewhere."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from fusefs.view import hashing

if TYPE_CHECKING:
    import pytest


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_is_done_in_a_moment_says_nothing() -> None:
    out = io.StringIO()
    view = hashing.HashingView(out)
    view("a", 1, 2)
    view("a", 2, 2)
    view.clear()
    assert not out.getvalue()


def test_plain_lines_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_LINE", 0.0)
    out = io.StringIO()
    hashing.HashingView(out)("a\x1b[2J", 1 << 20, 4 << 20)
    assert out.getvalue() == "hashing a\N{REPLACEMENT CHARACTER}[2J  25% of 4.0 MiB\n"


def test_one_line_that_moves_and_goes_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_FRAME", 0.0)
    out = _Terminal()
    view = hashing.HashingView(out)
    view("a", 1, 4)
    view("a", 2, 4)
    view.clear()
    assert "\n" not in out.getvalue()
    assert out.getvalue().endswith("\r\x1b[K")
