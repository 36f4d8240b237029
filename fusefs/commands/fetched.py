"""Fetching for commands that need the chunk lists of models: what `pull` shows, and the lists."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from fusefs.cli.answers import warn

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.engine.indexing import ModelLists
    from fusefs.values.names import Name
    from fusefs.values.report import PullReport
    from fusefs.values.settings import Settings


def fetched_lists(
    names: tuple[Name, ...], settings: Settings, cache_dir: Path, options: dict[str, Any], chunk_size: int | None
) -> tuple[PullReport, list[ModelLists]]:
    """The lists of all blobs of models that are not their own only chunk, fetched as far as they are not here.

    Args:
        names: the models.
        settings: of the command.
        cache_dir: where they are kept.
        options: of the command: `stores`, `verbose`.
        chunk_size: of the lists; None for what there is.

    Raises:
        FusefsError: the cache cannot be used.
        KeyboardInterrupt: it was ended.
    """
    from fusefs.daemon.logs import to_stderr
    from fusefs.engine.indexing import lists_of
    from fusefs.engine.options import PullOptions
    from fusefs.view.hashing import HashingView
    from fusefs.view.screen import screen

    to_stderr(verbose=options["verbose"], quiet=True)
    least = settings.single_chunk_limit
    wanted = PullOptions(names, cache_dir, options["stores"], settings, warn, larger_than=least)
    progress = HashingView()
    # Stdout is for what the command was asked for.
    with screen(time.monotonic(), out=sys.stderr) as shown:
        report, models = lists_of(wanted, lambda items: shown.show(items, time.monotonic()), progress, chunk_size)
    progress.clear()
    for note in report.notes:
        warn(note)
    return report, models
