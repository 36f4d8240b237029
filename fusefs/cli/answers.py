"""What a command answers: lines or JSON on stdout, and one line on stderr when it failed."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING

from fusefs.values.printable import escaped_json, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusefs.values.report import Report

DONE, FAILED, INTERRUPTED = 0, 1, 130


def finish(report: Report, lines: Sequence[str], failure: str, *, as_json: bool) -> int:
    """Say what long work came to, for a program or for a person; a failure in the one line on stderr."""
    if as_json:
        write_json(report)
    else:
        for line in lines:
            say(line)
    if failure:
        fail(failure)
        return FAILED
    return DONE


def write_json(report: Report) -> None:
    """One JSON document on stdout."""
    from fusefs.values.report import encode

    sys.stdout.flush()
    document = escaped_json(encode(report)).decode()
    try:
        document.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:  # exact, whatever the terminal's encoding is
        document = json.dumps(json.loads(document), separators=(",", ":"))
    sys.stdout.write(document + "\n")


def warn(text: str) -> None:
    """One line on stderr about something that a person should know although it worked."""
    tell(f"warning: {' '.join(text.split())}")


def fail(text: str) -> None:
    """Exactly one line, whatever is in the text: parts of it may come from the network."""
    tell(f"error: {' '.join(text.split())}")


def say(text: str) -> None:
    """One line on stdout, in its own encoding: click's echo would write UTF-8 to a terminal of ASCII."""
    sys.stdout.write(printable(text) + "\n")


def tell(text: str) -> None:
    """One line of ours on stderr; where that is full or gone, nobody can be told."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"fusefs: {printable(text)}\n")
