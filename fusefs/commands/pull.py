"""`fusefs pull`: models whole, without a mount."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fusefs.cli.answers import INTERRUPTED, finish, tell, warn, write_json
from fusefs.cli.choice import only_models
from fusefs.cli.locked import locked, read_lock
from fusefs.cli.parameters import (
    cache_dir_of,
    cache_option,
    choice_option,
    fetch_options,
    lock_option,
    lockable_sources_argument,
    selection_of,
    selection_options,
    settings_of,
    sha256_option,
    verbose_option,
)
from fusefs.cli.signature import signature_options, signed_by
from fusefs.errors import FusefsError
from fusefs.values.names import Name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusefs.values.names import BaseUrl
    from fusefs.values.report import Item


@click.command(short_help="Fetch models whole, and prove every byte.")
@lockable_sources_argument
@sha256_option
@cache_option
@fetch_options
@selection_options
@lock_option
@signature_options
@choice_option(
    "--unproved",
    ["wait", "allow", "refuse"],
    "A file that no digest proves is fetched with allow alone, as it is now, and is never called proved. One above "
    "64 MiB without a chunk list is proved as a whole, or not fetched with refuse.",
)
@click.option(
    "--into-hf-cache",
    is_flag=True,
    help="Put the models into the cache of the Hugging Face Hub's library ($HF_HUB_CACHE), too, where programs find "
    "them; what is there already is hashed, and not fetched.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document at the end instead of progress.")
@verbose_option
def pull(sources: tuple[Name | BaseUrl, ...], **options: Any) -> int:
    """Fetch models whole, prove every byte, and keep them in the cache.

    Continues after an earlier pull or mount, and shares the cache with running mounts.
    What the cache of the Hugging Face Hub's library has of a model of the Hub is taken from there.
    Exits with 1 when a model or a blob could not be fetched or proved, and names it with the reason.
    """
    import time

    from fusefs.commands.libraryfiles import LibrarysFiles
    from fusefs.daemon.logs import to_stderr
    from fusefs.engine.demands import Demands
    from fusefs.engine.options import PullOptions
    from fusefs.engine.pulling import all_failed
    from fusefs.engine.pulling import pull as work
    from fusefs.view.screen import screen
    from fusefs.view.summary import kept, not_pulled, pulled

    to_stderr(verbose=options["verbose"], quiet=True)
    settings = settings_of(options)
    lock = read_lock(options["lock_file"]) if options["lock_file"] else None
    if not sources and lock is None:
        raise click.UsageError("Missing argument 'SOURCE...'")
    names = only_models(locked(sources, lock), settings, silent=options["as_json"])
    demands = Demands(lock, signed_by(options, settings, len(names)))
    cache_dir, into = cache_dir_of(options["cache_dir"]), options["into_hf_cache"]
    selection = selection_of(options)
    local = LibrarysFiles(names, cache_dir, selection, silent=options["as_json"] or options["verbose"])
    if into:
        local.check_fillable()
    found = local.find()
    wanted = PullOptions(
        names,
        cache_dir,
        options["stores"],
        settings,
        warn,
        demands=demands,
        selection=selection,
        local=found,
        leave=found.files if into else (),
    )
    last: Sequence[Item] = ()

    def look(items: Sequence[Item]) -> None:
        nonlocal last
        last = items
        shown.show(items, time.monotonic())

    try:
        with screen(time.monotonic(), silent=options["as_json"]) as shown:
            report = work(wanted, look, local.keep if into else None)
    except KeyboardInterrupt:
        tell(kept(last))
        return INTERRUPTED
    except FusefsError as exc:
        if options["as_json"]:
            write_json(all_failed(names, exc))
        raise
    for note in report.notes:
        warn(note)
    filled = local.fill() if into else []
    return finish(report, [*pulled(report), *filled], not_pulled(report), as_json=options["as_json"])
