"""Starting a mount for the commands that make one: from what a person wrote to a mount that answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusefs.cli.answers import say, warn
from fusefs.cli.choice import folder_meant, only_models
from fusefs.cli.hubplace import hub_cache_for
from fusefs.cli.locked import locked, read_lock
from fusefs.cli.mountoptions import check_mount_options
from fusefs.cli.parameters import cache_dir_of, selection_of, settings_of
from fusefs.cli.signature import signed_by
from fusefs.errors import FusefsError, MountError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fusefs.engine.options import MountOptions
    from fusefs.values.names import BaseUrl
    from fusefs.values.reference import Reference


def wanted_mount(
    sources: Sequence[Reference | BaseUrl],
    mountpoint: Path,
    options: dict[str, Any],
    *,
    show: Callable[[str], None] = say,
) -> MountOptions:
    """What a person asked for.

    Args:
        sources: as they were written.
        mountpoint: where.
        options: of the command.
        show: told the models of a host that stands in the place of a model.

    Raises:
        click.ClickException: the options do not agree, or a host stands in the place of a model.
        FusefsError: the lock or the signature cannot be used, or the host does not answer.
    """
    from fusefs.engine.demands import Demands
    from fusefs.engine.options import MountOptions

    check_mount_options(options)
    settings = settings_of(options)
    lock = read_lock(options["lock_file"]) if options["lock_file"] else None
    names = only_models(locked(sources, lock), settings, show=show)
    return MountOptions(
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
        selection=selection_of(options),
        hub_cache=hub_cache_for(names),
    )


def start_mount(options: MountOptions, *, foreground: bool = False) -> Path:
    """Mount; a bar on the terminal shows what is hashed meanwhile, and warnings go to stderr.

    Returns:
        The mount point, absolute and real.

    Raises:
        FusefsError: why it could not be mounted.
    """
    from fusefs.daemon.logs import to_stderr
    from fusefs.daemon.mounting import start
    from fusefs.view.serving import HashingBar

    to_stderr(verbose=options.verbose, quiet=True)
    progress = HashingBar()

    def say_warning(line: str) -> None:
        progress.clear()
        warn(line)

    bar = None if options.verbose else progress
    try:
        return start(options, foreground=foreground, warn=say_warning, progress=bar)
    except FusefsError as exc:
        folder = folder_meant(options.names)
        if folder is None:
            raise
        raise MountError(f"{exc}; for the folder {folder!r} of this machine write ./{folder}") from exc
