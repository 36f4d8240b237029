"""`fusefs verify`: is everything in the cache what it was?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fusefs.cli import standard
from fusefs.cli.answers import finish
from fusefs.cli.parameters import cache_dir_of, cache_option, verbose_option

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="Hash everything in the cache; drop files that do not match.")
@cache_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document at the end instead of progress.")
@verbose_option
def verify(cache_dir: Path | None, *, as_json: bool, verbose: bool) -> int:
    """Hash everything in the cache; data that does not match is dropped, and fetched again when it is read.

    Mounts may run meanwhile.  Exits with 1 when something had to be dropped.
    """
    import time

    from fusefs.daemon.logs import to_stderr
    from fusefs.upkeep.verifying import verify_all
    from fusefs.view.screen import screen
    from fusefs.view.summary import not_verified, verified

    to_stderr(verbose=verbose, quiet=True)
    with standard.ended_by_sigterm(), screen(time.monotonic(), silent=as_json) as shown:
        report = verify_all(cache_dir_of(cache_dir), lambda items: shown.show(items, time.monotonic()))
    return finish(report, verified(report), not_verified(report), as_json=as_json)
