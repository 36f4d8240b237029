"""Forecast: which files of a mount will be fetched whole on their first read, for want of a chunk list that counts.

It is better to know that before a read of ten bytes takes an hour.  Whether there is a list only whoever has it can
say, so each is asked for once, when the mount answers already; it is kept for the first read.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from fusefs.errors import FusefsError
from fusefs.values.chunklimits import most_chunks
from fusefs.values.sizes import size_text

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from fusefs.fetch.blobfetch import BlobFetch
    from fusefs.fetch.fetcher import Fetcher
    from fusefs.values.digest import Digest
    from fusefs.values.names import Name
    from fusefs.values.settings import Settings
    from fusefs.values.snapshot import Snapshot

log = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds that the command waits for it; what is known later is in the log and in `status`."""

_MOST = 64
"""Files that are asked about: a store of thousands must not ask for thousands of lists that nobody may need."""

_AT_ONCE = 4
_LONG = 1 << 18
"""Chunks of a long list at least.  Of those one is asked for at a time: a few of them take all the memory that there
is for lists, and who reads meanwhile needs some of it."""

_SHOWN = 3
"""Files that a line names."""


class Forecast:
    """Of the models of one mount."""

    def __init__(
        self,
        fetcher: Fetcher,
        models: Iterable[Snapshot],
        settings: Settings,
        labels: Mapping[Digest, str],
        in_place: Container[Digest] = (),
    ) -> None:
        """Prepare it.

        Args:
            fetcher: whose blobs they are.
            models: of registries.
            settings: with another `unproved` than `wait` nothing is foretold.
            labels: what a person calls each blob.
            in_place: blobs that are here, and are not fetched.
        """
        self._fetcher = fetcher
        self._labels = labels
        self._large: dict[Name, list[BlobFetch]] = {}
        if settings.unproved == "wait":
            for model in models:
                wanted = [blob for blob in dict.fromkeys(model.blobs) if blob.digest not in in_place]
                large = [blob for blob in wanted if blob.size > settings.single_chunk_limit]
                if large:
                    self._large[model.reference] = [fetcher.track(blob) for blob in large]

    async def look(self, done: trio.Event) -> None:
        """Find out, say it in the log, and set `done`."""
        short, long = trio.CapacityLimiter(_AT_ONCE), trio.CapacityLimiter(1)

        async def one(fetch: BlobFetch) -> None:
            async with long if most_chunks(fetch.blob.size) >= _LONG else short:
                with suppress(FusefsError):  # trouble is told to who reads
                    await self._fetcher.foresee(fetch)

        fetches = dict.fromkeys(fetch for large in self._large.values() for fetch in large)
        async with trio.open_nursery() as nursery:
            for fetch in [*fetches][:_MOST]:
                nursery.start_soon(one, fetch)
        for line in self.lines():
            log.warning("%s", line)
        done.set()

    def lines(self) -> list[str]:
        """One line a model and reason, of files of which it is known by now, and which are not here yet."""
        found = []
        for name, large in self._large.items():
            why: dict[str, list[BlobFetch]] = {}
            for fetch in sorted(large, key=lambda one: -one.blob.size):
                if fetch.whole_first and fetch.state != "sealed":
                    why.setdefault(fetch.choice.remedy(name), []).append(fetch)
            found += [f"{name}: {self._what(whole)}; {remedy}" for remedy, whole in why.items()]
        return found

    def _what(self, whole: Sequence[BlobFetch]) -> str:
        """Which files, and how large they are."""
        named = [f"{self._label(fetch)} ({size_text(fetch.blob.size)})" for fetch in whole[:_SHOWN]]
        if len(whole) > _SHOWN:
            named.append(f"{len(whole) - _SHOWN} more")
        text = ", ".join(named[:-1]) + (" and " if named[1:] else "") + named[-1]
        total = f", {size_text(sum(fetch.blob.size for fetch in whole))} in all," if whole[1:] else ""
        is_, its = ("are", "their") if whole[1:] else ("is", "its")
        return f"{text}{total} {is_} read whole before {its} first byte is served"

    def _label(self, fetch: BlobFetch) -> str:
        return self._labels.get(fetch.blob.digest, fetch.blob.digest.short)
