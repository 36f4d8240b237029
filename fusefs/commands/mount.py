"""`fusefs mount`: models as files at an empty folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fusefs.cli.mountoptions import mount_options
from fusefs.cli.parameters import check_both, places_arguments
from fusefs.commands.started import start_mount, wanted_mount

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.values.names import BaseUrl
    from fusefs.values.reference import Reference


@click.command(short_help="Mount models at an empty folder.")
@places_arguments
@mount_options
@click.option("-f", "--foreground", is_flag=True, help="Stay in the foreground: for systemd, and to look for faults.")
def mount(sources: tuple[Reference | BaseUrl, ...], mountpoint: Path, **options: Any) -> None:
    """Mount one or more models at MOUNTPOINT, an empty folder.

    Returns when the mount answers; a daemon serves it until `fusefs umount`.  One model shows its files at the root
    of the mount, several a folder each.  A file appears with its final size; a read fetches the missing chunks.

    A SOURCE is the name of a model (llama3.2:1b, oci://HOST/MODEL:TAG, hf://OWNER/MODEL, https://HOST/FOLDER/), or a
    folder of this machine, for example ./models/llama: a folder of files, an OLLAMA_MODELS store, or a cache.  The
    files of a folder are hashed once and read in place.
    """
    check_both(sources, mountpoint, locked=options["lock_file"] is not None)
    start_mount(wanted_mount(sources, mountpoint, options), foreground=options["foreground"])
