"""The commands that look after the cache directory: `ls`, `gc`, `pin`, `unpin`.

Heavy imports are made inside the commands, so that `fusefs --help` starts at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fusefs.cli.answers import finish, say, write_json
from fusefs.cli.parameters import AGE, SIZE, cache_dir_of, cache_option, sources_argument

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.values.names import Name


@click.command("ls", short_help="Show what the cache holds.")
@cache_option
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
@click.option("--all", "everything", is_flag=True, help="Show each blob that no model names, by its digest.")
def list_(cache_dir: Path | None, *, as_json: bool, everything: bool) -> None:
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


@click.command(short_help="Keep models in the cache: nothing of them is evicted.")
@sources_argument
@cache_option
def pin(sources: tuple[Name, ...], cache_dir: Path | None) -> None:
    """Keep models in the cache: nothing of them is evicted until `fusefs unpin`.

    What has not arrived yet is not fetched; `fusefs pull` does that.
    """
    from fusefs.upkeep.pinning import pin as work

    work(cache_dir_of(cache_dir), sources)
    for name in sources:
        say(f"{name.short}: pinned")


@click.command(short_help="Let pinned models be evicted again.")
@sources_argument
@cache_option
def unpin(sources: tuple[Name, ...], cache_dir: Path | None) -> None:
    """Let pinned models be evicted again, when they are the least recently used."""
    from fusefs.upkeep.pinning import unpin as work

    work(cache_dir_of(cache_dir), sources)
    for name in sources:
        say(f"{name.short}: not pinned any more")


COMMANDS = (list_, gc, pin, unpin)
