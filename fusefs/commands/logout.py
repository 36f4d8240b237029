"""`fusefs logout`: forgets the password for a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fusefs.cli.answers import say
from fusefs.cli.parameters import HOST

if TYPE_CHECKING:
    from fusefs.values.names import BaseUrl


@click.command(short_help="Forget the password for a registry.")
@click.argument("host", metavar="HOST", type=HOST)
def logout(host: BaseUrl) -> None:
    """Forget the password for the registry HOST: what `fusefs login` or `docker login` has kept."""
    from fusefs.sources.registry.credentials import KeyRing
    from fusefs.sources.registry.logins import forget

    forget(KeyRing.default().docker_config, host.host)
    say(f"{host.host}: the password is forgotten")
