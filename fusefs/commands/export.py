"""`fusefs export`: models as files that any web server or bucket serves as a registry."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from fusefs.cli.answers import say, warn
from fusefs.cli.parameters import (
    PATH,
    PLACE,
    cache_dir_of,
    cache_option,
    fetch_options,
    offer_options,
    selection_of,
    selection_options,
    settings_of,
    verbose_option,
)
from fusefs.errors import InvalidSetting, ServeError
from fusefs.values.names import Name

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.offers.exporter import Exported
    from fusefs.offers.indexer import Progress
    from fusefs.values.reference import Reference


@click.command(short_help="Write models as files that a web server serves.")
@click.argument("source", metavar="SOURCE", type=PLACE)
@click.argument("out", metavar="OUT", type=PATH)
@cache_option
@fetch_options
@offer_options
@selection_options
@click.option("--copy", is_flag=True, help="Copy every byte, so that OUT shares nothing with what was exported.")
@verbose_option
def export(source: Reference, out: Path, **options: Any) -> None:
    """Write the models of SOURCE into the folder OUT, as the registry that any web server can be.

    SOURCE is a folder of this machine (`./models`), of which the same is exported that `fusefs serve` would serve, or a
    model, which is pulled first.  OUT gets a folder `v2`, a `nginx.conf` to include, and the headers of each file for
    buckets (`headers.json`).  Chunk lists come with it, so `fusefs mount http://HOST/NAMESPACE/MODEL` of it is lazy.

    Files share their bytes with SOURCE where the disk can do that.  An export that was interrupted goes on when it is
    run again; another SOURCE can be added to the same OUT.  What fusefs export did not write is never replaced.
    """
    from fusefs.daemon.logs import to_stderr
    from fusefs.view.serving import HashingBar

    to_stderr(verbose=options["verbose"], quiet=True)
    out = out.absolute()
    progress = HashingBar()
    try:
        done = (
            _model(source, out, options, progress)
            if isinstance(source, Name)
            else _folder(source.path, out, options, progress)
        )
    finally:
        progress.clear()
    _say(done, out)


def _folder(path: str, out: Path, options: dict[str, Any], progress: Progress) -> Exported:
    from pathlib import Path

    from fusefs.offers.choose import catalog_of, default_kept
    from fusefs.offers.exporter import export as write
    from fusefs.offers.exporter import models_of
    from fusefs.offers.kept import KeptDigests
    from fusefs.offers.leftout import Allowed, LeftOut
    from fusefs.offers.store import StoreCatalog
    from fusefs.offers.treefiles import TreeFiles

    directory = Path(os.path.abspath(os.path.expanduser(path)))
    if not directory.is_dir():
        raise InvalidSetting(f"{path}: there is no such folder")
    if out.resolve().is_relative_to(directory.resolve()):
        raise InvalidSetting(f"{out} lies in the folder that is exported, and would be a model of it: name another")
    left_out = LeftOut()
    kept = KeptDigests(default_kept(), options["chunk_size"])
    allowed = Allowed(options["hidden"], options["private"], selection_of(options))
    catalog, indexer = catalog_of(directory, allowed, left_out, kept, options["chunk_size"], progress)
    try:
        if isinstance(catalog, StoreCatalog):
            _check_whole(options)
        catalog.prepare()
        catalog.hash_soon()
        if line := left_out.line():
            warn(line)
        for line in () if isinstance(catalog, StoreCatalog) else allowed.selection.idle((), catalog.seen):
            warn(line)
        with TreeFiles(out, share=not options["copy"]) as files:
            return write(models_of(catalog), indexer, files)
    finally:
        indexer.stop()


def _model(name: Name, out: Path, options: dict[str, Any], progress: Progress) -> Exported:
    from fusefs.offers.choose import default_kept
    from fusefs.offers.exporter import export as write
    from fusefs.offers.indexer import Indexer
    from fusefs.offers.kept import KeptDigests
    from fusefs.offers.pulled import pulled_model
    from fusefs.offers.roots import Roots
    from fusefs.offers.treefiles import TreeFiles

    _check_whole(options)
    cache = cache_dir_of(options["cache_dir"])
    _pull(name, cache, options)
    kept = KeptDigests(default_kept(), options["chunk_size"])
    indexer = Indexer(kept, options["chunk_size"], Roots(cache, closed_too=True), progress)
    try:
        with TreeFiles(out, share=not options["copy"]) as files:
            return write(iter([pulled_model(cache, name, indexer)]), indexer, files)
    finally:
        indexer.stop()


def _check_whole(options: dict[str, Any]) -> None:
    """A model that has a manifest keeps it, for its digest is what others know it by.

    Raises:
        InvalidSetting: a part of it is to be exported.
    """
    if selection_of(options):
        raise InvalidSetting("--include and --exclude choose files of a folder; a model that has a manifest goes whole")


def _pull(name: Name, cache: Path, options: dict[str, Any]) -> None:
    """Have every byte of a model here, and proved.

    Raises:
        FusefsError: it cannot be had.
        KeyboardInterrupt: what has arrived is kept.
    """
    import time

    from fusefs.engine.options import PullOptions
    from fusefs.engine.pulling import pull
    from fusefs.view.screen import screen
    from fusefs.view.summary import not_pulled

    wanted = PullOptions((name,), cache, options["stores"], settings_of(options), warn)
    with screen(time.monotonic(), silent=False) as shown:
        report = pull(wanted, lambda items: shown.show(items, time.monotonic()))
    if failure := not_pulled(report):
        raise ServeError(failure)
    for note in report.notes:
        warn(note)


def _say(done: Exported, out: Path) -> None:
    from fusefs.view import words

    new = sum(count for placed, count in done.files.items() if placed.value != "there already")
    models = f"{len(done.models)} {'model' if len(done.models) == 1 else 'models'}"
    say(f"{models} in {out}: {new} files written, {words.size(done.copied)} copied")
    for model in done.models[:20]:
        say(f"  {model}")
    if len(done.models) > 20:
        say(f"  and {len(done.models) - 20} more")
    say(f"for nginx: root {out}; include {out}/nginx.conf;")
