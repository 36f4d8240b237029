"""`fusefs login`: a password for a registry, tried there and kept where other programs look, too."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from fusefs.cli.answers import say
from fusefs.cli.parameters import HOST

if TYPE_CHECKING:
    from fusefs.values.names import BaseUrl

_MAX_PASSWORD = 1 << 15


@click.command(short_help="Keep a password for a registry.")
@click.argument("host", metavar="HOST", type=HOST)
@click.option("-u", "--username", metavar="USER", help="Who. [default: ask]")
@click.option("--password-stdin", is_flag=True, help="Take the password from standard input. [default: ask]")
@click.option(
    "--token-service",
    type=HOST,
    metavar="HOST",
    help="Show the password to this host, too, whose token service the registry uses, as GitLab's does. [default: ask]",
)
def login(host: BaseUrl, username: str | None, token_service: BaseUrl | None, *, password_stdin: bool) -> None:
    """Keep a password for the registry HOST, after it was tried there.

    It is kept in Docker's configuration ($DOCKER_CONFIG/config.json, else ~/.docker/config.json), or in the credential
    helper that this names, where docker, podman, skopeo and others find it, too.
    """
    from fusefs.sources.registry.credentials import KeyRing
    from fusefs.sources.registry.logins import keep, try_password
    from fusefs.values.settings import Settings

    if username is None:
        if password_stdin:
            raise click.UsageError("--password-stdin needs --username")
        username = _asked("User")
    password = _from_stdin() if password_stdin else _asked("Password", hidden=True)
    service = "" if token_service is None else token_service.host
    limits = Settings(timeout=60, stall=20)
    tried = try_password(host, username, password, limits, service=service, may_see=partial(_may_see, host.host))
    path = KeyRing.default().docker_config
    kept = [keep(path, name, username, password) for name in tried.hosts]
    say(
        f"{host.host}: the password is kept in {kept[0]}" + ("" if tried.asked else "; the registry did not ask for it")
    )


def _may_see(registry: str, service: str) -> bool:
    """Ask, where somebody is there; else nobody may, and the error has the command that says so."""
    question = (
        f"{registry} has its tokens made by {service}. Show the password to {service}, and keep it for that, too?"
    )
    return sys.stdin.isatty() and click.confirm(question, err=True)


def _asked(what: str, *, hidden: bool = False) -> str:
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask at: give --username and --password-stdin")
    return str(click.prompt(what, hide_input=hidden, err=True))


def _from_stdin() -> str:
    text = sys.stdin.read(_MAX_PASSWORD + 1)
    if len(text) > _MAX_PASSWORD:
        raise click.UsageError(f"standard input has more than {_MAX_PASSWORD} characters")
    return text.removesuffix("\n").removesuffix("\r")
