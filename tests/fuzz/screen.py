"""What another daemon says of itself, and everything that reaches a terminal."""

from __future__ import annotations

import unicodedata

from fusefs.errors import InvalidInput
from fusefs.values import report
from fusefs.values.printable import printable
from fusefs.values.report import FileReport, MountReport, StatusReport
from fusefs.view import words
from fusefs.view.table import Shape, picture, text_of
from tests.fuzz.target import NUMBERS, Target

_UNSAFE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def check_safe(text: str) -> None:
    """No character of it moves the cursor, colours the screen, or turns the order of others round."""
    assert not [char for char in text if unicodedata.category(char) in _UNSAFE], ascii(text)


def status_report(data: bytes) -> None:
    """A report that can be shown, in any width, and goes back to the same; or no report."""
    try:
        found = report.decode(data)
    except InvalidInput as exc:
        assert len(str(exc)) < 300
        return
    assert report.decode(report.encode(found)) == found
    _show(StatusReport((found,)))


def _show(status: StatusReport) -> None:
    for shape in (Shape(), Shape(80, 3), Shape(1, 1), Shape(400, None)):
        for line in picture(status, shape):
            check_safe(text_of(line))


def terminal(data: bytes) -> None:
    """Text from anywhere in any place of a picture."""
    text = data.decode("utf-8", "surrogateescape")
    shown = printable(text)
    check_safe(shown)
    assert printable(shown) == shown
    assert len(shown) == len(text)
    for width in (0, 1, 2, 7, 80):
        check_safe(words.elide(shown, width))
        assert len(words.elide(shown, width)) <= max(width, 0)
    file = FileReport(path=text, name=text, digest=text, size=9, present=3, state=text, presence=(0, 50, 100))
    kernel = {text: {"wanted": text, "actual": text, "why_not": text}}
    mount = MountReport(
        mountpoint=text,
        problem=text,
        sources=(text, text),
        cache_dir=text,
        log_file=text,
        version=text,
        kernel=kernel,
        files=(file, file),
        last_error=text,
        pid=1,
    )
    _show(StatusReport((mount,)))
    _show(StatusReport((MountReport(mountpoint=text, state="dead", problem=text),)))


def _report_seeds() -> list[bytes]:
    file = FileReport(
        path="model.gguf", name="m", digest="sha256:0", size=100, present=50, presence=(100,) * 32 + (0,) * 32
    )
    counters = {"bytes_fetched": 100, "requests": 3, "retries": 1}
    kernel = {"read_ahead_kb": {"wanted": 1024, "actual": 128, "why_not": "not root"}}
    up = MountReport(mountpoint="/mnt", sources=("m",), files=(file,) * 5, counters=counters, kernel=kernel, uptime=9.5)
    return [report.encode(up), report.encode(MountReport(mountpoint="/x", state="silent", problem="no")), b"{}"]


_KEYS = ("mountpoint", "files", "size", "present", "presence", "uptime", "rate", "kernel", "counters", "why_not", "pid")
_TEXTS = (
    b"model.gguf",
    b"\x1b[2J",
    "\u202eabc\u2066".encode(),
    b"\xff\xfe",
    "\u2028\u0085\u200b".encode(),
    "é漢字".encode(),
)

TARGETS = (
    Target(
        "report", status_report, _report_seeds, (*(f'"{key}":'.encode() for key in _KEYS), b'"\\u001b[2J"', *NUMBERS)
    ),
    Target(
        "terminal", terminal, lambda: _TEXTS, (b"\x1b[", b"\r", b"\x9b", "\u202e".encode(), "\U000e0001".encode()), 200
    ),
)
