"""`fusefs status`: what is mounted, and which parts of each file are present."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from fusefs.cli import standard
from fusefs.cli.answers import DONE, FAILED, say, write_json
from fusefs.cli.parameters import PATH

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("mountpoint", type=PATH, required=False)
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
@click.option("--watch", is_flag=True, help="Redraw twice a second, until Ctrl-C or the mount ends.")
@click.option("--all", "everything", is_flag=True, help="Show every file, however many there are.")
def status(mountpoint: Path | None, *, as_json: bool, watch: bool, everything: bool) -> int:
    """Show the mounts, and the parts of each file that are present.

    A file's bar has a block for each part of the file: ` ` nothing present, `░▒▓` some, `█` all.
    Exits with 1 when a daemon died, or when the named mount does not answer.
    """
    from fusefs.daemon.statuses import gather
    from fusefs.view.terminal import moves, show

    if watch and not as_json and moves(sys.stdout):
        _watch(mountpoint, everything=everything)
        return DONE
    report = gather(mountpoint)
    if as_json:
        write_json(report)
    else:
        show(report, everything=everything)
    # A silent one counts only if it was named: every mount is that for a moment, while it is being made.
    failed = ("dead",) if mountpoint is None else ("dead", "silent")
    return FAILED if any(mount.state in failed for mount in report.mounts) else DONE


def _watch(mountpoint: Path | None, *, everything: bool) -> None:
    from fusefs.daemon.statuses import gather
    from fusefs.errors import MountError
    from fusefs.view.terminal import watch

    gather(mountpoint)  # a mount that never was is an error; one that ends while we look is not
    try:
        with standard.ended_by_sigterm():
            watch(lambda: gather(mountpoint), everything=everything)
    except MountError:
        say(f"{mountpoint} is no longer mounted")
    except KeyboardInterrupt:
        pass
