"""`fusefs run`: a program, with models mounted for as long as it runs."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fusefs.cli.answers import fail, tell, warn
from fusefs.cli.mountoptions import mount_options
from fusefs.cli.parameters import PATH, PLACE_OR_HOST
from fusefs.cli.standard import ended_by_sigterm
from fusefs.commands.started import start_mount, wanted_mount
from fusefs.errors import FusefsError
from fusefs.values.names import Name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusefs.fuse.identity import Identity
    from fusefs.values.names import BaseUrl
    from fusefs.values.reference import Reference

VARIABLE = "FUSEFS_MODEL"
"""Has the path of the mount in the environment of the program."""

_LAYOUTS = {
    "ollama": {"OLLAMA_MODELS": "{}"},
    "hf": {"HF_HUB_CACHE": "{}", "HF_HUB_OFFLINE": "1"},
}
"""Variables by which a program finds a mount of a layout that it knows."""

_WORDS = "fusefs.words"
"""Key of the context's `meta`: the program and its arguments."""

_USAGE = "fusefs run SOURCE... -- COMMAND [ARG]..."


class _WithProgram(click.Command):
    """What stands behind `--` is the program's, and no option of ours."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta[_WORDS] = tuple(args[at + 1 :])
            args = args[:at]
        elif not {"-h", "--help"}.intersection(args):  # or what was meant for the program is called wrong
            raise click.UsageError(f"Missing '--' before the COMMAND: {_USAGE}", ctx)
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "--", "COMMAND", "[ARG]..."]


@click.command(cls=_WithProgram, short_help="Run a program on models, mounted while it runs.")
@click.argument("sources", metavar="SOURCE...", nargs=-1, type=PLACE_OR_HOST)
@click.option("--at", type=PATH, metavar="DIR", help="Mount at this empty folder. [default: a temporary one]")
@mount_options
def run(sources: tuple[Reference | BaseUrl, ...], at: Path | None, **options: Any) -> int:
    """Mount models, run COMMAND, and unmount when it ends.

    \b
      fusefs run llama3.2:1b -- llama-cli -m {}/model.gguf
      fusefs run ./models/bert -- sh -c 'python load.py "$FUSEFS_MODEL"'

    In COMMAND and its arguments `{}` is replaced by the path of the mount, which $FUSEFS_MODEL has as well; `{{}}` is
    a literal `{}`.  The path is a folder: of one model it holds the files, of several a folder each, as with `mount`.
    With --layout ollama $OLLAMA_MODELS is set as well, and with --layout hf $HF_HUB_CACHE and $HF_HUB_OFFLINE, so that
    programs find models by their names.  COMMAND starts at once, and what it reads is fetched.

    COMMAND has the terminal and the standard streams.  It gets the signals that `fusefs run` gets, and its exit code
    is that of `fusefs run`: 128 + n when the signal n ended it, 127 when there is no such program.
    """  # noqa: D301 # click wants the character itself
    words: tuple[str, ...] = click.get_current_context().meta.get(_WORDS, ())
    if not words:
        raise click.UsageError(f"Missing COMMAND behind '--': {_USAGE}")
    if not sources and options["lock_file"] is None:
        raise click.UsageError(f"Missing argument 'SOURCE...': {_USAGE}")
    if options["replace"] and at is None:
        raise click.UsageError("--replace takes the place of a mount at --at DIR: name that, too")
    if "{}" not in words[0] and shutil.which(words[0]) is None:
        return _not_started(words[0], PermissionError() if os.path.exists(words[0]) else FileNotFoundError())
    wanted = wanted_mount(sources, at or Path(), options, show=tell)
    holder = os.pidfd_open(os.getpid())
    wanted = replace(wanted, holder=holder, temporary="" if at is not None else _label(wanted.names))
    with ended_by_sigterm():
        mountpoint = start_mount(wanted)
        os.close(holder)  # the daemon has its own
        env = {VARIABLE: "{}", **_LAYOUTS.get(wanted.layout, {})}
        return _run(words, env, mountpoint, temporary=at is None)


def _run(words: Sequence[str], env: Mapping[str, str], mountpoint: Path, *, temporary: bool) -> int:
    """Run the program on the mount, and end that with it; the exit code."""
    from fusefs.fuse.identity import identity
    from fusefs.system.descriptors import restore_limit
    from fusefs.system.program import Program, held_signals

    made = identity(mountpoint)
    with held_signals() as mask:
        restore_limit()
        try:
            filled = {name: _filled(value, mountpoint) for name, value in env.items()}
            return Program([_filled(word, mountpoint) for word in words], os.environ | filled, mask).wait()
        except OSError as exc:
            return _not_started(words[0], exc)
        finally:
            _leave(mountpoint, made, temporary=temporary)


def _leave(mountpoint: Path, made: Identity | None, *, temporary: bool) -> None:
    from fusefs.daemon.temporary import remove_place
    from fusefs.daemon.unmounting import leave

    try:
        if not leave(mountpoint, made):
            warn(f"{mountpoint} is still used by a process that COMMAND has left; what that has open it can read on")
    except FusefsError as exc:
        warn(str(exc))
    if temporary:
        remove_place(mountpoint)


def _not_started(word: str, exc: OSError) -> int:
    from fusefs.system.program import NOT_FOUND, NOT_STARTED

    if isinstance(exc, FileNotFoundError):
        fail(f"{word}: no such program; install it, or name it by its path")
        return NOT_FOUND
    fail(f"{word}: cannot be run ({exc.strerror or 'no permission'})")
    return NOT_STARTED


def _filled(word: str, path: Path) -> str:
    return re.sub(r"\{\{\}\}|\{\}", lambda found: "{}" if found[0] == "{{}}" else str(path), word)


def _label(names: Sequence[Reference]) -> str:
    """What the last part of a temporary path is made of."""
    if len(names) != 1:
        return "models"
    (name,) = names
    return (name.folder[0] if isinstance(name, Name) else os.path.basename(os.path.abspath(name.path))) or "models"
