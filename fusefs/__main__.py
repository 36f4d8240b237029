"""The command line: reads what a person wrote, calls one function, and says in one line what went wrong.

Heavy imports are made inside the commands, so that `fusefs --help` and `fusefs status` start at once.
"""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

import click

from fusefs import __version__, cli_cache
from fusefs.cli import streams
from fusefs.cli.answers import DONE, FAILED, fail, finish, say, tell, warn, write_json
from fusefs.cli.parameters import (
    PATH,
    cache_dir_of,
    cache_option,
    check_both,
    fetch_options,
    lists_option,
    places_arguments,
    settings_of,
    sources_argument,
    verbose_option,
)
from fusefs.commands import serve
from fusefs.daemon import hardening
from fusefs.errors import FusefsError
from fusefs.values.printable import contained

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fusefs.values.names import Name
    from fusefs.values.report import Item

WRONG_USAGE, INTERRUPTED, READER_GONE = 2, 130, 141


class _Commands(click.Group):
    """Lists the commands in the order in which a newcomer needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 # click's signature
        return list(self.commands)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", message="fusefs %(version)s")
def cli() -> None:
    """Mount a machine-learning model from a registry and fetch only what is read, every byte proved.

    \b
      mkdir /tmp/llama
      fusefs mount llama3.2:1b /tmp/llama     returns at once: nothing is downloaded yet
      ls -l /tmp/llama                        ordinary files of their final size
      fusefs status                           what is mounted, which parts have arrived
      fusefs umount /tmp/llama

    A SOURCE is a model's name as Ollama writes it: `llama3.2:1b`, `host:port/namespace/model:tag`, `model@sha256:…`.
    Write `http://` before it for a registry without TLS, `https+insecure://` to skip the check of its certificate.
    """  # noqa: D301 # click wants the character itself


@cli.command(short_help="Mount models at an empty folder.")
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
    help="A large blob without a chunk list that decides: wait until all of it is proved, allow reads before, or "
    "refuse them.",
)
@lists_option
@click.option(
    "--verify",
    type=click.Choice(["boot", "always"]),
    default="boot",
    show_default=True,
    help="Hash what the cache has again on its first use in each boot, or in each mount (then never with --sealed "
    "symlink: what a link leads to is beyond the mount).",
)
@click.option(
    "--fill/--no-fill", default=False, help="After the first open of a file, fetch the rest of it in the background."
)
@click.option(
    "--sealed",
    type=click.Choice(["file", "symlink"]),
    default="file",
    show_default=True,
    help="Show what is proved whole already as files, or as symbolic links into the cache: faster, and they outlive "
    "the daemon.",
)
@click.option("--allow-other", is_flag=True, help="Let other users read the mount.")
@click.option("-f", "--foreground", is_flag=True, help="Stay in the foreground: for systemd, and to look for faults.")
@click.option("--log-file", type=PATH, metavar="FILE", help="Where the daemon logs. [default: see `fusefs status`]")
@verbose_option
def mount(sources: tuple[Name, ...], mountpoint: Path, **options: Any) -> None:
    """Mount one or more models at MOUNTPOINT, an empty folder.

    Returns when the mount answers; a daemon serves it until `fusefs umount`.  One model shows its files at the root
    of the mount, several a folder each.  A file appears with its final size; reading it fetches what is missing.
    """
    from fusefs.daemon.mounting import MountOptions, start

    check_both(sources, mountpoint)
    if options["verify"] == "always" and options["sealed"] == "symlink":
        raise click.UsageError("--verify always cannot hash what --sealed symlink leads to: leave one of them out")
    start(
        MountOptions(
            names=sources,
            mountpoint=mountpoint,
            cache_dir=cache_dir_of(options["cache_dir"]),
            stores=options["stores"],
            settings=settings_of(options),
            layout=options["layout"],
            symlinks=options["sealed"] == "symlink",
            allow_other=options["allow_other"],
            log_file=options["log_file"],
            verbose=options["verbose"],
        ),
        foreground=options["foreground"],
        warn=warn,
    )


@cli.command(short_help="End a mount, whatever is going on in it.")
@click.argument("mountpoint", type=PATH)
def umount(mountpoint: Path) -> None:
    """End the mount at MOUNTPOINT, whatever is going on in it; also cleans up after a crash.

    What was fetched stays in the cache.  A program that still reads from the mount gets an error.
    """
    from fusefs.daemon.unmounting import unmount

    unmount(mountpoint)


@cli.command()
@click.argument("mountpoint", type=PATH, required=False)
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
@click.option("--watch", is_flag=True, help="Redraw twice a second, until Ctrl-C or the mount ends.")
@click.option("--all", "everything", is_flag=True, help="Show every file, however many there are.")
def status(mountpoint: Path | None, *, as_json: bool, watch: bool, everything: bool) -> int:
    """Show what is mounted and which parts of each file are present.

    A file's bar has a block for each part of the file: ` ` nothing of it is there, `░▒▓` some, `█` all.
    Exits with 1 when a daemon died, or that of the mount that was named does not answer.
    """
    from fusefs.daemon.statuses import gather
    from fusefs.view.terminal import moves, show

    if watch and not as_json and moves(sys.stdout):
        _watch(mountpoint, everything=everything)
        return DONE
    report = gather(mountpoint)
    if as_json:
        write_json(report)
    else:
        show(report, everything=everything)
    # A silent one counts only if it was named: every mount is that for a moment, while it is being made.
    failed = ("dead",) if mountpoint is None else ("dead", "silent")
    return FAILED if any(mount.state in failed for mount in report.mounts) else DONE


def _watch(mountpoint: Path | None, *, everything: bool) -> None:
    from fusefs.daemon.statuses import gather
    from fusefs.errors import MountError
    from fusefs.view.terminal import watch

    gather(mountpoint)  # a mount that never was is an error; one that ends while we look is not
    try:
        with streams.ended_by_sigterm():
            watch(lambda: gather(mountpoint), everything=everything)
    except MountError:
        say(f"{mountpoint} is no longer mounted")
    except KeyboardInterrupt:
        pass


@cli.command(short_help="Fetch models whole, and prove every byte.")
@sources_argument
@cache_option
@fetch_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document at the end instead of progress.")
@verbose_option
def pull(sources: tuple[Name, ...], **options: Any) -> int:
    """Fetch models whole, prove every byte, and keep them in the cache.

    Goes on where an earlier pull or a mount stopped, and shares the cache with mounts that run now.
    Exits with 1 when a model or a blob could not be fetched or proved, and says which and why.
    """
    import time

    from fusefs.daemon.logs import to_stderr
    from fusefs.engine.pulling import PullOptions, all_failed
    from fusefs.engine.pulling import pull as work
    from fusefs.view.screen import screen
    from fusefs.view.summary import kept, not_pulled, pulled

    to_stderr(verbose=options["verbose"], quiet=True)
    wanted = PullOptions(sources, cache_dir_of(options["cache_dir"]), options["stores"], settings_of(options))
    last: Sequence[Item] = ()

    def look(items: Sequence[Item]) -> None:
        nonlocal last
        last = items
        shown.show(items, time.monotonic())

    try:
        with screen(time.monotonic(), silent=options["as_json"]) as shown:
            report = work(wanted, look)
    except KeyboardInterrupt:
        tell(kept(last))
        return INTERRUPTED
    except FusefsError as exc:
        if options["as_json"]:
            write_json(all_failed(sources, exc))
        raise
    return finish(report, pulled(report), not_pulled(report), as_json=options["as_json"])


@cli.command(short_help="Hash everything in the cache; drop what does not match.")
@cache_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document at the end instead of progress.")
@verbose_option
def verify(cache_dir: Path | None, *, as_json: bool, verbose: bool) -> int:
    """Hash everything in the cache; what does not match is dropped, so that it is fetched again.

    Mounts may go on meanwhile.  Exits with 1 when something had to be dropped.
    """
    import time

    from fusefs.daemon.logs import to_stderr
    from fusefs.upkeep.verifying import verify_all
    from fusefs.view.screen import screen
    from fusefs.view.summary import not_verified, verified

    to_stderr(verbose=verbose, quiet=True)
    with streams.ended_by_sigterm(), screen(time.monotonic(), silent=as_json) as shown:
        report = verify_all(cache_dir_of(cache_dir), lambda items: shown.show(items, time.monotonic()))
    return finish(report, verified(report), not_verified(report), as_json=as_json)


for _command in (*cli_cache.COMMANDS, *serve.COMMANDS):
    cli.add_command(_command)


# ---- the one error boundary


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done, 1 failed, 2 wrong usage, 130 interrupted, 141 whoever read our output has seen enough; what went wrong
        stands on stderr, in one line.
    """
    try:
        result = cli.main(args=arguments, prog_name="fusefs", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as exc:
        return _usage(exc)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except SystemExit:  # click's answer to a broken pipe
        return READER_GONE
    except Exception as exc:
        return _failed(exc)
    return result if isinstance(result, int) else DONE


def _usage(exc: click.ClickException) -> int:
    context = exc.ctx if isinstance(exc, click.UsageError) else None
    if isinstance(exc, click.exceptions.NoArgsIsHelpError):
        click.echo(exc.format_message(), err=True)
        return WRONG_USAGE
    if isinstance(exc, click.NoSuchOption) and context is not None and context.parent is None:
        fail(f"No such option {exc.option_name} before the command; options stand behind it: fusefs COMMAND --help")
        return WRONG_USAGE
    help_command = f" (see {context.command_path} --help)" if context else ""
    fail(exc.format_message().rstrip(".") + help_command)
    return WRONG_USAGE


def _failed(exc: BaseException) -> int:
    """One line for a person; the traceback only for one who asked for it with -v."""
    while isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    if isinstance(exc, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(exc, BrokenPipeError):
        return READER_GONE
    verbose = any(argument in ("-v", "--verbose") for argument in sys.argv)
    if verbose:
        sys.stderr.write(contained("".join(traceback.format_exception(exc))))
    if isinstance(exc, FusefsError):
        fail(str(exc))
    elif isinstance(exc, OSError) and exc.strerror:
        fail(f"{exc.filename}: {exc.strerror}" if exc.filename else exc.strerror)
    else:
        fail(
            f"internal error, please report it: {type(exc).__name__}: {exc}" + ("" if verbose else " (-v shows where)")
        )
    return FAILED


def main() -> NoReturn:
    """The program."""
    hardening.allow_descriptors()
    streams.prepare()
    code = run()
    streams.finish()
    sys.exit(code)
