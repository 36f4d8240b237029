"""`fusefs serve`: the models of a folder, for other machines."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from fusefs.cli.answers import say, warn
from fusefs.cli.parameters import DEFAULT_LISTEN, LISTEN, PATH, SIZE, verbose_option

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="Serve the models of a folder, as a registry.")
@click.argument("directory", metavar="DIR", type=PATH)
@click.option(
    "--listen", type=LISTEN, metavar="HOST:PORT", default=DEFAULT_LISTEN, show_default=True, help="Where to listen."
)
@click.option(
    "--chunk-size",
    type=SIZE,
    metavar="SIZE",
    default="1MiB",
    show_default=True,
    help="Bytes a chunk: what a reader fetches and proves at least.",
)
@click.option("--hidden", is_flag=True, help="Serve hidden files and folders, too.")
@click.option(
    "--private", is_flag=True, help="Serve what others may not read, and what is named like keys or passwords, too."
)
@click.option(
    "--host",
    "names",
    metavar="NAME",
    multiple=True,
    help="A name by which clients call this server, beside its address, this machine's own name and localhost; may be "
    "given several times.",
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
    verbose: bool,
) -> None:
    """Serve the models in DIR to other machines, as a registry.

    DIR is an OLLAMA_MODELS store, or a folder with a folder for each model; the latter are served as
    `local/<folder>:latest`.  Digests are computed once and kept.  What is hidden, private or a tool's leaving is left
    out, and one line says so.  Nobody is asked who they are.  Ends with Ctrl-C.
    """
    from fusefs.daemon.logs import to_stderr
    from fusefs.serve import Allowed, run
    from fusefs.view.hashing import HashingView

    to_stderr(verbose=verbose, quiet=True)
    progress = HashingView()

    def ready(url: str) -> None:
        progress.clear()
        say(url)
        sys.stdout.flush()

    def say_warning(line: str) -> None:
        progress.clear()
        warn(line)

    run(
        directory,
        *listen,
        chunk_size=chunk_size,
        on_ready=ready,
        allowed=Allowed(hidden=hidden, private=private),
        names=names,
        warn=say_warning,
        progress=progress,
    )
