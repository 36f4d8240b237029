"""`fusefs index`: the chunk list of a file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from fusefs.cli.parameters import PATH, SIZE
from fusefs.values.settings import MIB

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="Print a file's chunksums.")
@click.argument("file", metavar="FILE", type=PATH)
@click.option("--chunk-size", type=SIZE, metavar="SIZE", default=f"{MIB}", help="Bytes a chunk. [default: 1MiB]")
def index(file: Path, *, chunk_size: int) -> None:
    """Print FILE's chunksums: a line `<digest> <first byte>-<last byte>` for each chunk."""
    from fusefs.offers.filehash import chunk_list_of
    from fusefs.view.hashing import HashingView

    progress = HashingView()
    _, chunks = chunk_list_of(file, chunk_size, lambda done, size: progress(str(file), done, size))
    progress.clear()
    for line in chunks.format():
        sys.stdout.write(line)
