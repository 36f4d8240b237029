"""`fusefs mount`: models as files at an empty folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fusefs.cli.answers import warn
from fusefs.cli.choice import folder_meant, only_models
from fusefs.cli.hubplace import hub_cache_for
from fusefs.cli.locked import locked, read_lock
from fusefs.cli.parameters import (
    PATH,
    cache_dir_of,
    cache_option,
    check_both,
    choice_option,
    fetch_options,
    lists_option,
    lock_option,
    places_arguments,
    settings_of,
    sha256_option,
    verbose_option,
)
from fusefs.cli.signature import signature_options, signed_by
from fusefs.errors import FusefsError, MountError

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.values.names import BaseUrl
    from fusefs.values.reference import Reference


@click.command(short_help="Mount models at an empty folder.")
@places_arguments
@sha256_option
@cache_option
@fetch_options
@choice_option(
    "--layout",
    ["files", "ollama", "hf"],
    "Show the model's files by name, an OLLAMA_MODELS directory for `ollama serve`, or a cache of the Hugging Face Hub "
    "for HF_HUB_CACHE=MOUNTPOINT HF_HUB_OFFLINE=1.",
)
@choice_option(
    "--unproved",
    ["wait", "allow", "refuse"],
    "A read of a blob above 64 MiB that has no chunk list that counts: it waits until the whole blob is proved, "
    "is allowed before that, or is refused.",
)
@lists_option
@lock_option
@signature_options
@choice_option(
    "--verify",
    ["boot", "always"],
    "Hash cached data again on its first use in each boot, or in each mount. `always` excludes --sealed symlink: "
    "reads through a link bypass the mount.",
)
@click.option(
    "--fill/--no-fill", default=False, help="After the first open of a file, fetch the rest of it in the background."
)
@choice_option(
    "--sealed",
    ["file", "symlink"],
    "Show models that are complete and proved as files, or as symbolic links into the cache. Links are faster, "
    "and outlive the daemon.",
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

    A SOURCE is the name of a model (llama3.2:1b, oci://HOST/MODEL:TAG, hf://OWNER/MODEL, https://HOST/FOLDER/), or a
    folder of this machine, for example ./models/llama: a folder of files, an OLLAMA_MODELS store, or a cache.  The
    files of a folder are hashed once and read in place.
    """
    from fusefs.daemon.logs import to_stderr
    from fusefs.daemon.mounting import start
    from fusefs.engine.demands import Demands
    from fusefs.engine.options import MountOptions
    from fusefs.view.serving import HashingBar

    check_both(sources, mountpoint, locked=options["lock_file"] is not None)
    if options["verify"] == "always" and options["sealed"] == "symlink":
        raise click.UsageError(
            "--verify always cannot hash reads through the links of --sealed symlink: leave one of them out"
        )
    if options["signature"] and options["layout"] == "ollama":
        raise click.UsageError("--layout ollama shows files that no signature names: leave out one of the two")
    to_stderr(verbose=options["verbose"], quiet=True)
    progress = HashingBar()

    def say_warning(line: str) -> None:
        progress.clear()
        warn(line)

    settings = settings_of(options)
    lock = read_lock(options["lock_file"]) if options["lock_file"] else None
    names = only_models(locked(sources, lock), settings)
    mount_options = MountOptions(
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
        demands=Demands(lock, signed_by(options, settings, len(names))),
        hub_cache=hub_cache_for(names),
    )
    bar = None if options["verbose"] else progress
    try:
        start(mount_options, foreground=options["foreground"], warn=say_warning, progress=bar)
    except FusefsError as exc:
        folder = folder_meant(names)
        if folder is None:
            raise
        raise MountError(f"{exc}; for the folder {folder!r} of this machine write ./{folder}") from exc
