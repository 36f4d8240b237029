"""`fusefs ls`: what the cache holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fusefs.cli.answers import write_json
from fusefs.cli.parameters import cache_dir_of, cache_option

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="Show what the cache holds.")
@cache_option
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
@click.option("--all", "everything", is_flag=True, help="Show each blob that no model names, by its digest.")
def ls(cache_dir: Path | None, *, as_json: bool, everything: bool) -> None:
    """Show what the cache holds: a row a model, and what it takes on disk.

    HERE is how much of the model has arrived, LAST USE when a byte of it was read or written last.  A blob that
    several models share counts in each of their rows, and once in the total.
    """
    from fusefs.upkeep.holdings import holdings_of

    report = holdings_of(cache_dir_of(cache_dir))
    if as_json:
        write_json(report)
        return
    import time

    from fusefs.view.ls import holdings
    from fusefs.view.terminal import lines, width

    lines(holdings(report, time.time(), width(), everything=everything))
