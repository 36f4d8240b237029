"""`fusefs pin`: models of which nothing is evicted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fusefs.cli.answers import say
from fusefs.cli.parameters import cache_dir_of, cache_option, sources_argument

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.values.names import Name


@click.command(short_help="Keep models in the cache: nothing of them is evicted.")
@sources_argument
@cache_option
def pin(sources: tuple[Name, ...], cache_dir: Path | None) -> None:
    """Keep models in the cache: nothing of them is evicted until `fusefs unpin`.

    Absent chunks are not fetched; `fusefs pull` does that.
    """
    from fusefs.upkeep.pinning import pin as work

    work(cache_dir_of(cache_dir), sources)
    for name in sources:
        say(f"{name.short}: pinned")
