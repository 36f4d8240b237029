"""`fusefs ls`: what the cache holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fusefs.cli.answers import write_json
from fusefs.cli.parameters import cache_dir_of, cache_option

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="List the models in the cache.")
@cache_option
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
@click.option("--all", "everything", is_flag=True, help="Show each blob without a model, by its digest.")
def ls(cache_dir: Path | None, *, as_json: bool, everything: bool) -> None:
    """List the models in the cache, and the space that they take on disk.

    HERE is the share of the model that has arrived, LAST USE the time of its last read or write.  A blob that
    several models share counts in each of their rows, and once in the total.
    """
    from fusefs.upkeep.holdings import holdings_of

    report = holdings_of(cache_dir_of(cache_dir))
    if as_json:
        write_json(report)
        return
    import time

    from fusefs.view.cached import holdings
    from fusefs.view.terminal import lines, width

    lines(holdings(report, time.time(), width(), everything=everything))
