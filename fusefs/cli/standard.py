"""The three standard streams as somebody handed them to us: closed, full, gone, or with an old encoding.

None of this may take the work with it.  A closed stream is one that nobody reads; a character that its encoding does
not have is drawn with one that it has; and an error in writing says which output it is about.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

PLAIN = {
    **dict.fromkeys("█▉▊▋", "#"),
    **dict.fromkeys("▓▌▍", "+"),
    **dict.fromkeys("▒▎", "-"),
    **dict.fromkeys("░·", "."),
    **dict.fromkeys("▕▏", "|"),
    "●": "*",
    "✗": "x",
    "…": "~",
}
"""For each character that we draw with, one of ASCII that takes as many columns."""

ERRORS = "fusefs.plain"

_NAMES = {1: "standard output", 2: "standard error"}


def prepare() -> None:
    """Make all three usable; called once, and first: a file opened before would get a closed stream's number."""
    codecs.register_error(ERRORS, _plain)
    for number in range(3):
        _open_if_closed(number)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115 # kept
    sys.stdout = _writer(1, sys.stdout)
    sys.stderr = _writer(2, sys.stderr)


def give_up(stream: TextIO) -> None:
    """What it still holds cannot be written; the interpreter's own attempt at exit must not complain either."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: it is no file of the system's, or closed
        number = stream.fileno()
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(null, number)
        os.close(null)


def finish() -> None:
    """Write what is left, at the end; what cannot be written then has been told."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            give_up(stream)


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM is a KeyboardInterrupt meanwhile: a picture that moves has hidden the cursor, and must show it again."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _open_if_closed(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)
        os.set_inheritable(number, True)


def _writer(number: int, old: TextIO | None) -> TextIO:
    """A stream on descriptor `number`, in the encoding of `old`."""
    terminal = os.isatty(number)
    return io.TextIOWrapper(
        io.BufferedWriter(_Named(number, "wb", closefd=False)),
        encoding=old.encoding if old is not None else "utf-8",
        errors=ERRORS,
        line_buffering=terminal or number == 2,
    )


class _Named(io.FileIO):
    """A file whose errors name it."""

    def write(self, data: object) -> int:  # any buffer
        """As the file does."""
        try:
            return super().write(data)  # type: ignore[arg-type] # as above
        except OSError as exc:
            raise type(exc)(exc.errno, exc.strerror, _NAMES[self.fileno()]) from exc


def _plain(exc: UnicodeError) -> tuple[str, int]:
    if not isinstance(exc, UnicodeEncodeError):
        raise exc
    return "".join(PLAIN.get(char, "?") for char in exc.object[exc.start : exc.end]), exc.end
