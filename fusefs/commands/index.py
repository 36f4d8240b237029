"""`fusefs index`: the chunk lists of a file, or of the files of models."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fusefs.cli.answers import INTERRUPTED, finish, say, warn
from fusefs.cli.parameters import (
    PATH,
    SIZE,
    WORD,
    cache_dir_of,
    cache_option,
    fetch_options,
    settings_of,
    verbose_option,
)
from fusefs.errors import InvalidInput
from fusefs.system.hubplaces import hub_for
from fusefs.values.reference import is_local, parse_model
from fusefs.values.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusefs.values.names import Name


@click.command(short_help="Make the chunk list of a file, or of a model.")
@click.argument("sources", metavar="SOURCE|FILE...", nargs=-1, required=True, type=WORD)
@click.option("--chunk-size", type=SIZE, metavar="SIZE", help="Bytes a chunk. [default: of a file 1MiB, else as it is]")
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="DIR",
    help="Write each list to DIR as sha256-<hex>.chunksums, for --index-from. [default: of a file stdout, else .]",
)
@cache_option
@fetch_options
@verbose_option
def index(sources: tuple[str, ...], *, chunk_size: int | None, output: Path | None, **options: Any) -> int:
    """Make the chunk list of each FILE, and of each file above 64 MiB of each model.

    A list has a line `<digest> <first byte>-<last byte>` for each chunk.  What is not in the cache of a model is
    fetched first, whole, and proved.  A word that is a file here is a FILE; a path always is one.

    Prints where each list is, or the list of a FILE without --output.
    """
    files = [source for source in sources if is_local(source) or os.path.isfile(source)]
    try:
        names = tuple(parse_model(source, hub_for(source)) for source in sources if source not in files)
    except InvalidInput as exc:
        raise click.UsageError(f"{exc}; nor is there such a file here") from exc
    for file in files:
        _index_file(Path(os.path.expanduser(file.removeprefix("file://"))), chunk_size or MIB, output)
    return _index_models(names, chunk_size, output or Path(), options) if names else 0


def _index_file(file: Path, chunk_size: int, output: Path | None) -> None:
    from fusefs.offers.filehash import chunk_list_of
    from fusefs.offers.listfiles import write_list
    from fusefs.view.hashing import HashingView

    progress = HashingView()
    digest, chunks = chunk_list_of(file, chunk_size, lambda done, size: progress(str(file), done, size))
    progress.clear()
    if output is not None:
        say(str(write_list(output, digest, chunks)))
        return
    for line in chunks.format():
        sys.stdout.write(line)


def _index_models(names: Sequence[Name], chunk_size: int | None, output: Path, options: dict[str, Any]) -> int:
    from fusefs.commands.fetched import fetched_lists
    from fusefs.offers.listfiles import write_list
    from fusefs.view.summary import kept, not_pulled

    settings = settings_of(options)
    try:
        report, models = fetched_lists(tuple(names), settings, cache_dir_of(options["cache_dir"]), options, chunk_size)
    except KeyboardInterrupt:
        warn(kept(()))
        return INTERRUPTED
    lines = []
    for one in models:
        lines += [str(write_list(output, blob.digest, chunks)) for blob, chunks in one.lists.items()]
        if not one.lists:
            warn(f"{one.model.reference}: no file is larger than 64 MiB, so none needs a list")
    return finish(report, lines, not_pulled(report), as_json=False)
