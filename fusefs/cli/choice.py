"""Choice: a person named a host and no model, and is shown what the host has; or a folder as one names a model."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import click

from fusefs.cli.answers import say
from fusefs.values.names import BaseUrl, Name
from fusefs.values.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusefs.values.settings import Settings

Model = TypeVar("Model", bound=Reference)

_TIMEOUT = 15.0
"""Seconds for one answer: a person waits."""


def only_models(
    sources: Sequence[Model | BaseUrl],
    settings: Settings,
    *,
    silent: bool = False,
    show: Callable[[str], None] = say,
) -> tuple[Model, ...]:
    """The models among `sources`, when they are all that.  Else the first host's names are shown, one a line.

    Args:
        sources: what a person wrote.
        settings: of the command.
        silent: none is shown: a program reads our output.
        show: told each name; by default it goes to stdout.

    Raises:
        click.ClickException: a host alone is among them.
        SourceError: it does not say what it has.
    """
    from fusefs.sources.registry.listing import listing_of

    hosts = [source for source in sources if isinstance(source, BaseUrl)]
    if not hosts:
        return tuple(source for source in sources if not isinstance(source, BaseUrl))
    host = hosts[0]
    listing = listing_of(host, replace(settings, timeout=min(settings.timeout, _TIMEOUT)))
    for name in () if silent else listing.names:
        show(name)
    more = f" (and {listing.more} more, which are not shown)" if listing.more else ""
    if not listing.names:
        raise click.ClickException(f"{host} is a host and no model; it has none to choose from{more}")
    count = len(listing.names)
    choice = f"choose one of its {count} names" if count > 1 else f"its one model is {listing.names[0]}"
    raise click.ClickException(f"{host} is a host and no model; {choice}{more}")


def folder_meant(sources: Sequence[Reference]) -> str | None:
    """The first of `sources` that is read as a model of the default registry and is a folder here, too.

    A name is never a folder by itself: what it means must not depend on where a command is typed.
    """
    for source in sources:
        if isinstance(source, Name):
            written = source.short.removesuffix(":latest")
            if os.path.isdir(written):
                return written
    return None
