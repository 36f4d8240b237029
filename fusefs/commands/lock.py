"""`fusefs lock`: what models are made of, to have them the same for ever."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from fusefs.cli.answers import warn
from fusefs.cli.parameters import (
    cache_dir_of,
    cache_option,
    fetch_options,
    settings_of,
    sources_argument,
    verbose_option,
)

if TYPE_CHECKING:
    from fusefs.values.names import Name


@click.command(short_help="Print what models are made of, for --lock.")
@sources_argument
@cache_option
@fetch_options
@verbose_option
def lock(sources: tuple[Name, ...], **options: Any) -> None:
    """Print a lock: the digests of each model's manifest and blobs, and of the chunk lists that there are now.

    `fusefs mount --lock FILE` and `pull --lock FILE` take these and nothing else, wherever they come from.  A list in
    the lock counts as yours, also where no registry is believed.  Fetches manifests and lists alone.
    """
    from fusefs.daemon.logs import to_stderr
    from fusefs.engine.locking import lock as work
    from fusefs.engine.options import PullOptions

    to_stderr(verbose=options["verbose"], quiet=True)
    wanted = PullOptions(sources, cache_dir_of(options["cache_dir"]), options["stores"], settings_of(options), warn)
    sys.stdout.write(work(wanted).format())
