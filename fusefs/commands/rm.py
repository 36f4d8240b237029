"""`fusefs rm`: takes single models out of the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fusefs.cli.answers import finish
from fusefs.cli.parameters import cache_dir_of, cache_option, sources_argument

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.values.names import Name


@click.command(short_help="Remove models from the cache.")
@sources_argument
@cache_option
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
def rm(sources: tuple[Name, ...], cache_dir: Path | None, *, as_json: bool) -> int:
    """Remove models from the cache: their names, and the blobs that no other model needs.

    What is in use or pinned stays.  Exits with 1 when one of the models stays, or was not there, and says why.
    """
    from fusefs.upkeep.removal import remove
    from fusefs.view.removed import not_removed, removed

    report = remove(cache_dir_of(cache_dir), sources)
    return finish(report, removed(report), not_removed(report), as_json=as_json)
