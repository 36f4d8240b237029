"""`fusefs unpin`: models that may be evicted again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fusefs.cli.answers import say
from fusefs.cli.parameters import cache_dir_of, cache_option, sources_argument

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.values.names import Name


@click.command(short_help="Let pinned models be evicted again.")
@sources_argument
@cache_option
def unpin(sources: tuple[Name, ...], cache_dir: Path | None) -> None:
    """Let pinned models be evicted again, when they are the least recently used."""
    from fusefs.upkeep.pinning import unpin as work

    work(cache_dir_of(cache_dir), sources)
    for name in sources:
        say(f"{name.short}: not pinned any more")
