"""What `fusefs serve` shows: names, as many as fit, and one bar on a terminal alone."""

from __future__ import annotations

import io
import os
import pty
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from fusefs.view import serving
from fusefs.view.serving import HashingBar, models

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

BASE = "http://127.0.0.1:8080"


def test_the_names_and_the_command_are_said() -> None:
    assert models(BASE, [("local/tiny", "")]) == [
        "1 model; to mount one on the empty folder mnt:",
        f"  fusefs mount {BASE}/local/tiny mnt",
    ]
    assert models(BASE, [("local/My-model", "My model"), ("local/tiny", "")])[2:] == [
        "by name:",
        "  local/My-model (folder 'My model')",
        "  local/tiny",
    ]
    assert models(BASE, [("local/tiny", "t\x1b[2Jiny")])[3] == "  local/tiny (folder 't\\x1b[2Jiny')"
    assert models(BASE, []) == ["no model is there yet; what comes is served"]


def test_very_many_names_are_twenty_and_a_number() -> None:
    lines = models(BASE, [(f"local/m{i:03}", "") for i in range(500)])
    assert lines[0].startswith("500 models;")
    assert lines[3] == "  local/m000"
    assert lines[-2:] == ["  local/m019", f"  and 480 more: {BASE}/"]


@contextmanager
def terminal(columns: int) -> Iterator[tuple[TextIO, int]]:
    """A terminal to write to, and the other side of it."""
    other, own = pty.openpty()
    os.set_blocking(other, False)
    try:
        import fcntl
        import struct
        import termios

        fcntl.ioctl(own, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        with open(own, "w", encoding="utf-8", closefd=False) as out:
            yield out, other
    finally:
        os.close(own)
        os.close(other)


def read_all(terminal: int) -> bytes:
    """What was written, as far as the terminal has handed it on."""
    got = bytearray()
    while not got.endswith(b"\r\x1b[K"):
        try:
            got += os.read(terminal, 1 << 16)
        except BlockingIOError:
            time.sleep(0.001)
    return bytes(got)


@pytest.mark.parametrize("columns", [24, 40, 80, 200])
def test_one_line_over_all_files_fits_the_terminal_and_goes_away(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(serving, "_FRAME", 0.0001)
    with terminal(columns) as (out, other):
        bar = HashingBar(out)
        for done in range(4):
            bar("local/all-minilm", done << 30, 40 << 30)
            time.sleep(0.001)
        bar("local/all-minilm", 40 << 30, 40 << 30)
        text = read_all(other).decode()
    frames = text.split("\r\x1b[K")
    assert len(frames) > 2
    assert frames[0] == frames[-1] == ""
    for frame in frames[1:-1]:
        assert frame.startswith("hashing ")
        assert len(frame) < columns
        assert "%" in frame
    assert ("3.0 GiB of 40.0 GiB, 7%" in text) == (columns > 40)
    assert ("local/all-minilm" in text) == (columns > 100)


def test_elsewhere_nothing_is_written() -> None:
    out = io.StringIO()
    bar = HashingBar(out)
    bar("local/m", 1, 100)
    time.sleep(0.15)
    bar("local/m", 2, 100)
    bar("local/m", 100, 100)
    bar.clear()
    assert out.getvalue() == ""
