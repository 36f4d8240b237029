"""`fusefs help`: the pages of the manual, which are part of the package."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from fusefs.cli.answers import say

if TYPE_CHECKING:
    from fusefs.view.table import Line

PLAIN_WIDTH = 80
"""Columns where there is no terminal."""


@click.command("help", short_help="Show a page of the manual, or list them.")
@click.argument("topic", required=False)
@click.pass_context
def manual(ctx: click.Context, topic: str | None) -> None:
    """Show a page of the manual: TOPIC is one of those that `fusefs help` lists, or the name of a command."""
    from fusefs.view.manual import about, contents
    from fusefs.view.manual import manual as shown
    from fusefs.view.terminal import width

    columns = width() or PLAIN_WIDTH
    pages = _pages()
    if topic is None:
        _print(contents({name: about(page) for name, page in pages.items()}, columns), paged=False)
        return
    wanted = topic.lower().removesuffix(".md").replace("_", "-")
    parent = ctx.parent
    command = parent.command.get_command(parent, topic) if parent and isinstance(parent.command, click.Group) else None
    if wanted in pages:
        _print(shown(pages[wanted], columns), paged=True)
    elif command is not None:
        say_help = command.get_help(click.Context(command, info_name=topic, parent=parent))
        for line in say_help.splitlines():
            say(line)
    else:
        raise click.UsageError(f"No page about {topic[:80]!r}: `fusefs help` lists the topics")


def _pages() -> dict[str, str]:
    """The text of each page by its topic."""
    from importlib.resources import files

    found = [page for page in files("fusefs").joinpath("docs").iterdir() if page.name.endswith(".md")]
    return {page.name.removesuffix(".md"): page.read_text(encoding="utf-8") for page in sorted(found, key=_name)}


def _name(page: object) -> str:
    return str(getattr(page, "name", ""))


def _print(lines: list[Line], *, paged: bool) -> None:
    """To a terminal by its pager, where a page is longer than the screen; else as plain text."""
    if not (paged and sys.stdout.isatty()):
        for line in lines:
            say("".join(text for text, _ in line))
        return
    text = "\n".join("".join(click.style(t, bold="bold" in style) for t, style in line) for line in lines) + "\n"
    # The pager gets what our own stream would draw: a terminal of ASCII has no blocks and no arrows.
    encoding = sys.stdout.encoding or "ascii"
    click.echo_via_pager(text.encode(encoding, sys.stdout.errors or "replace").decode(encoding))
