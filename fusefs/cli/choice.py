"""Choice: a person named a host and no model, and is shown what the host has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from fusefs.cli.answers import say
from fusefs.errors import InvalidName
from fusefs.values.names import BaseUrl, Name, host_alone
from fusefs.values.reference import Reference, is_path, parse_reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusefs.values.settings import Settings

_TIMEOUT = 15.0
"""Seconds for one answer: a person waits."""


def parse_name(text: str) -> Name:
    """The name of a model.

    Raises:
        InvalidInput: it is none, or a folder of this machine, which is there already and is only mounted.
    """
    if is_path(text):
        raise InvalidName(f"{text[:80]!r} is a folder of this machine: `fusefs mount` reads it in place")
    return Name.parse(text)


def parse_source(text: str) -> Name | BaseUrl:
    """A model, or the host that stands in its place.

    Raises:
        InvalidInput: it is neither.
    """
    return _host(text) or parse_name(text)


def parse_place(text: str) -> Reference | BaseUrl:
    """A model, a folder of this machine, or the host that stands in its place.

    Raises:
        InvalidInput: it is none of them.
    """
    return _host(text) or parse_reference(text)


def _host(text: str) -> BaseUrl | None:
    """A path may have in it what is no scheme and no password there."""
    return None if is_path(text) else host_alone(text)


def only_models(
    sources: Sequence[Reference | BaseUrl], settings: Settings, *, silent: bool = False
) -> tuple[Reference, ...]:
    """The models among `sources`, when they are all that.  Else the first host's names go to stdout, one a line.

    Args:
        sources: what a person wrote.
        settings: of the command.
        silent: nothing goes to stdout: a program reads it.

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
        say(name)
    more = f" (and {listing.more} more, which are not shown)" if listing.more else ""
    if not listing.names:
        raise click.ClickException(f"{host} is a host and no model; it has none to choose from{more}")
    raise click.ClickException(f"{host} is a host and no model; choose one of its {len(listing.names)} names{more}")
