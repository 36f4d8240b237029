"""What a command answers: lines or JSON on stdout, and one line on stderr when it failed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from fusefs.printable import escaped_json, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusefs.report import Report

DONE, FAILED = 0, 1


def finish(report: Report, lines: Sequence[str], failure: str, *, as_json: bool) -> int:
    """Say what long work came to, for a program or for a person; a failure in the one line on stderr."""
    if as_json:
        write_json(report)
    elif not failure or len(lines) > 1:
        for line in lines:
            click.echo(printable(line))
    if failure:
        fail(failure)
        return FAILED
    return DONE


def write_json(report: Report) -> None:
    """One JSON document on stdout."""
    from fusefs.report import encode

    sys.stdout.flush()
    sys.stdout.buffer.write(escaped_json(encode(report)) + b"\n")


def warn(text: str) -> None:
    """One line on stderr about something that a person should know although it worked."""
    click.echo(f"fusefs: warning: {printable(' '.join(text.split()))}", err=True)


def fail(text: str) -> None:
    """Exactly one line, whatever is in the text: parts of it may come from the network."""
    click.echo(f"fusefs: error: {printable(' '.join(text.split()))}", err=True)
