"""`fusefs gc`: makes room in the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fusefs.cli.answers import finish
from fusefs.cli.parameters import AGE, SIZE, cache_dir_of, cache_option

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="Make room in the cache, least recently used first.")
@cache_option
@click.option("--cache-size", type=SIZE, metavar="SIZE", help="Evict until all blobs take no more than this.")
@click.option(
    "--keep-free",
    type=SIZE,
    metavar="SIZE",
    help="Evict until this much of the disk is free. [default: a twentieth of it, at most 2 GiB]",
)
@click.option(
    "--older-than",
    type=AGE,
    metavar="AGE",
    help="Drop whole models, quarantine and other blobs that were not used for this time, for example 12h, 7d or 2w.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Report the result, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
def gc(
    cache_dir: Path | None,
    *,
    cache_size: int | None,
    keep_free: int | None,
    older_than: float | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Make room in the cache, least recently used first, and report the freed space.

    Pinned models stay, and so do models that a mount or a pull uses.  Exits with 1 when these alone exceed a limit.
    Evicted chunks are fetched again when they are read.
    """
    import time

    from fusefs.cache.space.quota import Limits
    from fusefs.upkeep.collection import GcOptions, collect
    from fusefs.view.freed import freed, not_reached
    from fusefs.view.terminal import lines, width

    report = collect(GcOptions(cache_dir_of(cache_dir), Limits(cache_size, keep_free), older_than, dry_run))
    if not as_json:
        lines(freed(report, time.time(), width()))
    return finish(report, [], not_reached(report), as_json=as_json)
