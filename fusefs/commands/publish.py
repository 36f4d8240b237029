"""`fusefs publish`: the chunk lists of models into their registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fusefs.cli.answers import INTERRUPTED, finish, say, warn
from fusefs.cli.parameters import (
    LIST_PLACE,
    SIZE,
    cache_dir_of,
    cache_option,
    fetch_options,
    settings_of,
    sources_argument,
    verbose_option,
)
from fusefs.values.hubname import HubName

if TYPE_CHECKING:
    from fusefs.values.names import Name


@click.command(short_help="Put the chunk lists of models beside them into their registry.")
@sources_argument
@click.option(
    "--to",
    type=LIST_PLACE,
    metavar="REPO",
    help="Another repository, which needs no copy of the models: readers name it with --index-from.",
)
@click.option("--chunk-size", type=SIZE, metavar="SIZE", help="Bytes a chunk. [default: the lists as they are]")
@cache_option
@fetch_options
@verbose_option
def publish(sources: tuple[Name, ...], *, to: str | None, chunk_size: int | None, **options: Any) -> int:
    """Put the chunk lists of models beside them into their registry, so that mounts of them fetch what is read alone.

    Only lists that are proved are published: what is not in the cache is fetched first, whole.  The lists are an
    artifact that refers to the model (`subject`), as `oras attach` makes it; the model stays as it is.  Nothing is
    pushed that is there already.  Credentials are those of `docker login`.
    """
    from fusefs.commands.fetched import fetched_lists
    from fusefs.engine.publishing import publish_lists
    from fusefs.view.summary import kept, not_pulled

    _check_registries(sources, to)
    settings = settings_of(options)
    try:
        report, models = fetched_lists(sources, settings, cache_dir_of(options["cache_dir"]), options, chunk_size)
    except KeyboardInterrupt:
        warn(kept(()))
        return INTERRUPTED
    for one in models:
        if not one.lists:
            warn(f"{one.model.reference}: no file is larger than 64 MiB, so none needs a list")
            continue
        for line in publish_lists(one, settings, to):
            say(line)
    return finish(report, (), not_pulled(report), as_json=False)


def _check_registries(sources: tuple[Name, ...], to: str | None) -> None:
    """The Hub takes files by its own library alone; lists of its models go elsewhere.

    Raises:
        click.UsageError: there is no registry to put them into.
    """
    for name in sources:
        if to is None and isinstance(name, HubName):
            raise click.UsageError(
                f"{name.short} is on a Hub, which is no registry: put its lists into one (--to oci://HOST/REPOSITORY), "
                f"or into a folder with `fusefs index {name.short} -o DIR`"
            )
