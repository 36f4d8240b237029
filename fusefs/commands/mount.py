"""`fusefs mount`: models as files at an empty folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fusefs.cli.answers import warn
from fusefs.cli.choice import only_models
from fusefs.cli.parameters import (
    PATH,
    cache_dir_of,
    cache_option,
    check_both,
    fetch_options,
    lists_option,
    places_arguments,
    settings_of,
    verbose_option,
)

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.values.names import BaseUrl
    from fusefs.values.reference import Reference


@click.command(short_help="Mount models at an empty folder.")
@places_arguments
@cache_option
@fetch_options
@click.option(
    "--layout",
    type=click.Choice(["files", "ollama"]),
    default="files",
    show_default=True,
    help="Show the model's files by name, or an OLLAMA_MODELS directory for `ollama serve`.",
)
@click.option(
    "--unproved",
    type=click.Choice(["wait", "allow", "refuse"]),
    default="wait",
    show_default=True,
    help="Reads of a blob above 64 MiB without a chunk list that counts: wait until all of it is proved, allow them "
    "before, or refuse them.",
)
@lists_option
@click.option(
    "--verify",
    type=click.Choice(["boot", "always"]),
    default="boot",
    show_default=True,
    help="Hash cached data again on its first use in each boot, or in each mount (not with --sealed symlink: reads "
    "through a link bypass the mount).",
)
@click.option(
    "--fill/--no-fill", default=False, help="After the first open of a file, fetch the rest of it in the background."
)
@click.option(
    "--sealed",
    type=click.Choice(["file", "symlink"]),
    default="file",
    show_default=True,
    help="Show blobs that are complete and proved as files, or as symbolic links into the cache: faster, and they "
    "outlive the daemon.",
)
@click.option(
    "--no-passthrough",
    is_flag=True,
    help="Answer every read here, so that each is counted and none outlives the daemon, where the kernel could read "
    "proved files by itself (as root, from Linux 6.9 on; never with --verify always).",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Take the place of a mount of yours that is at MOUNTPOINT, whether its daemon has died or is alive, and then "
    "ends; what it had opened by passthrough stays readable.",
)
@click.option("--allow-other", is_flag=True, help="Let other users read the mount.")
@click.option("-f", "--foreground", is_flag=True, help="Stay in the foreground: for systemd, and to look for faults.")
@click.option("--log-file", type=PATH, metavar="FILE", help="The log of the daemon. [default: see `fusefs status`]")
@verbose_option
def mount(sources: tuple[Reference | BaseUrl, ...], mountpoint: Path, **options: Any) -> None:
    """Mount one or more models at MOUNTPOINT, an empty folder.

    Returns when the mount answers; a daemon serves it until `fusefs umount`.  One model shows its files at the root
    of the mount, several a folder each.  A file appears with its final size; a read fetches the missing chunks.

    A SOURCE is the name of a model, or a folder of this machine, for example ./models/llama: a folder of files, an
    OLLAMA_MODELS store, or a cache.  The files of a folder are hashed once and read in place.
    """
    from fusefs.daemon.logs import to_stderr
    from fusefs.daemon.mounting import start
    from fusefs.engine.options import MountOptions
    from fusefs.view.serving import HashingBar

    check_both(sources, mountpoint)
    if options["verify"] == "always" and options["sealed"] == "symlink":
        raise click.UsageError(
            "--verify always cannot hash reads through the links of --sealed symlink: leave one of them out"
        )
    to_stderr(verbose=options["verbose"], quiet=True)
    progress = HashingBar()

    def say_warning(line: str) -> None:
        progress.clear()
        warn(line)

    settings = settings_of(options)
    names = only_models(sources, settings)
    start(
        MountOptions(
            names=names,
            mountpoint=mountpoint,
            cache_dir=cache_dir_of(options["cache_dir"]),
            stores=options["stores"],
            settings=settings,
            layout=options["layout"],
            symlinks=options["sealed"] == "symlink",
            allow_other=options["allow_other"],
            passthrough=not options["no_passthrough"],
            replace=options["replace"],
            log_file=options["log_file"],
            verbose=options["verbose"],
        ),
        foreground=options["foreground"],
        warn=say_warning,
        progress=None if options["verbose"] else progress,
    )
