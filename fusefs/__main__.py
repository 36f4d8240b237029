"""The program: finds the command that a person wrote, runs it, and says in one line what went wrong."""

from __future__ import annotations

import itertools
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn

import click

from fusefs import __version__
from fusefs.cli import standard
from fusefs.cli.answers import DONE, FAILED, INTERRUPTED, fail
from fusefs.commands import COMMANDS
from fusefs.errors import FusefsError
from fusefs.system import descriptors
from fusefs.values.printable import contained

if TYPE_CHECKING:
    from collections.abc import Sequence

WRONG_USAGE, READER_GONE = 2, 141


class _Commands(click.Group):
    """Lists the commands in the order in which a newcomer needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 # click's signature
        return list(self.commands)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", message="fusefs %(version)s")
def cli() -> None:
    """Mount machine-learning models: only the parts that are read are fetched, and every byte is verified.

    \b
      fusefs run llama3.2:1b -- llama-cli -m {}/model.gguf

    \b
      mkdir /tmp/llama
      fusefs mount llama3.2:1b /tmp/llama     returns at once: nothing is downloaded yet
      ls -l /tmp/llama                        ordinary files of their final size
      fusefs status                           the mounts, and the parts that have arrived
      fusefs umount /tmp/llama

    A SOURCE is a model's name as Ollama writes it, `llama3.2:1b`, or one of any registry, `oci://host/any/depth:tag`;
    `@sha256:…` pins it.  Write `http://` before it for a registry without TLS, `https+insecure://` to skip the check
    of its certificate.
    A host alone, `http://host:port`, lists the models that it has.  A folder of this machine, `./models/llama`, is
    mounted in place; one on a web server or in a bucket, `https://host/dir/` or `s3://bucket/dir`, by its SHA256SUMS.
    """  # noqa: D301 # click wants the character itself


for _command in COMMANDS:
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
    ours = itertools.takewhile(lambda argument: argument != "--", sys.argv)  # behind it are those of another program
    verbose = any(argument in ("-v", "--verbose") for argument in ours)
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
    descriptors.raise_limit()
    standard.prepare()
    code = run()
    standard.finish()
    sys.exit(code)


if __name__ == "__main__":
    main()
