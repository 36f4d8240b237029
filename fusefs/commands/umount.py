"""`fusefs umount`: ends a mount."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fusefs.cli.parameters import PATH

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="End a mount, whatever is going on in it.")
@click.argument("mountpoint", type=PATH)
def umount(mountpoint: Path) -> None:
    """End the mount at MOUNTPOINT, whatever is going on in it; also cleans up after a crash.

    What was fetched stays in the cache.  A program that still reads from the mount gets an error.
    """
    from fusefs.daemon.unmounting import unmount

    unmount(mountpoint)
