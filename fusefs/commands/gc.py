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
    help="Evict until so much of the disk is free. [default: a twentieth of it, at most 2 GiB]",
)
@click.option(
    "--older-than",
    type=AGE,
    metavar="AGE",
    help="Drop whole models, quarantine and other blobs not used for so long, for example 12h, 7d or 2w.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Say what would go, and do nothing.")
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
    """Make room in the cache, least recently used first, and say what was freed.

    What is pinned stays, and so does what is in use by a mount or a pull.  Exits with 1 when that is too much for the
    limits to hold.  What was evicted is fetched again when it is read.
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
