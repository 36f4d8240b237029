"""What the Hugging Face Hub's library has in its cache, for commands that take models from there or put them there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fusefs.cli.answers import tell, warn
from fusefs.cli.hubplace import hub_cache_for
from fusefs.values.hubname import HubName

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fusefs.engine.engine import Engine
    from fusefs.engine.local import LocalModels
    from fusefs.values.names import Name
    from fusefs.values.selection import Selection
    from fusefs.values.snapshot import Snapshot


class LibrarysFiles:
    """Of the models of one command."""

    def __init__(self, names: Sequence[Name], cache_dir: Path, selection: Selection, *, silent: bool) -> None:
        """Look nowhere yet.

        Args:
            names: the models.
            cache_dir: our cache.
            selection: the files that are wanted.
            silent: show no progress.
        """
        self._names = [name for name in names if isinstance(name, HubName)]
        self._others = [name for name in names if not isinstance(name, HubName)]
        self._cache_dir = cache_dir
        self._hub_cache = hub_cache_for(names)
        self._selection = selection
        self._silent = silent
        self._models: Sequence[Snapshot] = ()
        self._local: LocalModels | None = None
        self._filling = False

    def check_fillable(self) -> None:
        """Return when the models can be put there, which they shall be.

        Raises:
            click.UsageError: one of them is not of the Hub, or there is no such place.
        """
        if self._others:
            raise click.UsageError(
                f"--into-hf-cache is for models of the Hugging Face Hub (hf://…), and {self._others[0].short} is none"
            )
        if self._hub_cache is None:
            raise click.UsageError(
                "--into-hf-cache: the cache of the Hub's library is a mount of fusefs, or nowhere; name another "
                "with HF_HUB_CACHE"
            )
        self._filling = True

    def find(self) -> LocalModels:
        """What it has of them; large files that are new there are hashed."""
        from fusefs.engine.local import LocalModels, LocalOpener
        from fusefs.values.settings import MIB
        from fusefs.view.serving import HashingBar

        if self._hub_cache is None:
            return LocalModels()
        bar = HashingBar()
        progress = None if self._silent else bar
        opener = LocalOpener(MIB, others=False, warn=warn, progress=progress, selection=self._selection)
        try:
            # What is right there stays there, whatever our cache has: its digests are kept, so that it is hashed once.
            opener.adopt(self._names, self._hub_cache, None if self._filling else self._cache_dir)
        finally:
            bar.clear()
        self._local = opener.models
        return opener.models

    def keep(self, _engine: Engine, models: Sequence[Snapshot]) -> None:
        """Remember what the models are made of, when all of them is here."""
        self._models = models

    def fill(self) -> list[str]:
        """Put the models there.

        Returns:
            A line for each.

        Raises:
            ServeError: the disk does not take them.
        """
        from fusefs.engine.hubfilling import HubFiller
        from fusefs.view.serving import HashingBar

        if not self._models or self._hub_cache is None or self._local is None:
            return []
        bar = HashingBar()
        filler = HubFiller(
            self._hub_cache,
            self._cache_dir,
            self._local.files,
            told=tell,
            progress=(lambda *_: None) if self._silent else bar,
        )
        try:
            done = [(model, filler.fill(model)) for model in self._models]
        finally:
            bar.clear()
        return [f"{model.reference.short}: {one.files} files in {one.snapshot}, {one.new} new" for model, one in done]
