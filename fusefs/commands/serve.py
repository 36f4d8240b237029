"""`fusefs serve`: the models of a folder, for other machines."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from fusefs.cli.answers import say, warn
from fusefs.cli.parameters import DEFAULT_LISTEN, LISTEN, PATH, offer_options, verbose_option
from fusefs.errors import InvalidSetting, MissingExtra

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="Serve the models of a folder, as a registry.")
@click.argument("directory", metavar="DIR", type=PATH)
@click.option(
    "--listen", type=LISTEN, metavar="HOST:PORT", default=DEFAULT_LISTEN, show_default=True, help="Where to listen."
)
@offer_options
@click.option(
    "--host",
    "names",
    metavar="NAME",
    multiple=True,
    help="A name by which clients call this server, beside its address, this machine's own name and localhost; may be "
    "given several times.",
)
@click.option(
    "--tls-cert", type=PATH, metavar="FILE", help="Speak TLS with this certificate (PEM, those above it behind it)."
)
@click.option("--tls-key", type=PATH, metavar="FILE", help="The key of the certificate (PEM, not encrypted).")
@click.option(
    "--htpasswd",
    type=PATH,
    metavar="FILE",
    help="Let in only who is in this file, with their password; `htpasswd -B` writes it (bcrypt).",
)
@verbose_option
def serve(
    directory: Path,
    *,
    listen: tuple[str, int],
    chunk_size: int,
    hidden: bool,
    private: bool,
    names: tuple[str, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
    htpasswd: Path | None,
    verbose: bool,
) -> None:
    """Serve the models in DIR to other machines, as a registry.

    DIR is an OLLAMA_MODELS store, the folder of a model, a folder with a folder for each model, or a cache of the
    Hugging Face Hub; all but the first are served as `local/<folder>:latest`.  Digests are computed once and kept;
    files that a client waits for come first.  Hidden files, private files and leavings of tools are left out, and one
    line says so.  Whoever reaches the server may read all of it, unless there is an `--htpasswd`.  Ends with Ctrl-C.
    """
    from fusefs.daemon.logs import to_stderr

    try:
        from fusefs.offers.leftout import Allowed
        from fusefs.serve.lines import tls_of
        from fusefs.serve.server import Server

        if htpasswd is not None:  # who asks for no passwords needs nothing that hashes them
            from fusefs.serve.passwords import Passwords
    except ModuleNotFoundError as exc:
        package = (exc.name or "").partition(".")[0]
        if package not in ("starlette", "h11", "bcrypt"):
            raise  # of our own, so that it is a bug
        raise MissingExtra("fusefs serve", "serve", package) from exc
    from fusefs.view.serving import HashingBar, models

    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    try:
        tls = tls_of(tls_cert, tls_key) if tls_cert and tls_key else None
        passwords = Passwords.read(htpasswd) if htpasswd else None
    except InvalidSetting as exc:
        raise click.UsageError(str(exc)) from exc

    to_stderr(verbose=verbose, quiet=True)
    progress = HashingBar()

    def say_warning(line: str) -> None:
        progress.clear()
        warn(line)

    server = Server(
        directory,
        *listen,
        chunk_size=chunk_size,
        allowed=Allowed(hidden=hidden, private=private),
        names=names,
        warn=say_warning,
        tls=tls,
        passwords=passwords,
        progress=None if verbose else progress,  # the lines of the log have the terminal for themselves
    )

    def ready(url: str) -> None:
        say(url)
        for line in models(server.public_url, [(offer.name, offer.folder) for offer in server.offers]):
            say(line)
        sys.stdout.flush()

    try:
        server.run(ready)
    finally:
        progress.clear()
