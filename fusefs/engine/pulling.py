"""The composition root of a pull: every blob of some models, fetched whole, proved, and sealed in the cache."""

from __future__ import annotations

import logging
import math
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from fusefs.engine.engine import Engine, sole_error
from fusefs.engine.inplacesource import offer_local
from fusefs.engine.models import labels_of, recalled_lines
from fusefs.engine.pool import check_stores
from fusefs.engine.unproved import unproved_lines
from fusefs.errors import CacheFull, FusefsError
from fusefs.fetch.flight import Priority
from fusefs.values.report import PULLED, Item, PullReport, SourceProblem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from fusefs.engine.options import PullOptions
    from fusefs.fetch.blobfetch import BlobFetch
    from fusefs.fetch.fetcher import Fetcher
    from fusefs.values.chunks import Blob
    from fusefs.values.names import Name
    from fusefs.values.snapshot import Snapshot

    Show = Callable[[Sequence[Item]], None]
    """Told the newest state of all items, a few times a second."""

    Then = Callable[[Engine, Sequence[Snapshot]], None]
    """What is to be done with the models when all of them is here and proved; blocking."""

log = logging.getLogger(__name__)

FRAME = 0.25
"""Seconds between two looks at the progress."""

AT_ONCE = 4
"""Blobs under way at once: a model of many small files must not wait for one round trip after the other."""


def pull(options: PullOptions, show: Show, then: Then | None = None) -> PullReport:
    """Fetch and prove everything.  Blocking.

    Args:
        options: what, and where to.
        show: see `Show`.
        then: see `Then`; not called when something failed.

    Returns:
        What became of each blob; what could not be had is in there, too.

    Raises:
        FusefsError: the cache cannot be used.
        KeyboardInterrupt: SIGINT or SIGTERM; what has arrived is kept.
    """
    options = replace(options, stores=check_stores(options.stores))
    try:
        report = trio.run(_run, options, show, then)
    except BaseExceptionGroup as group:
        raise sole_error(group) from group
    if report is None:
        raise KeyboardInterrupt
    return report


async def _run(options: PullOptions, show: Show, then: Then | None) -> PullReport | None:
    report = None
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end_on_signal, signals, nursery.cancel_scope)
            report = await _pull(options, show, then)
            nursery.cancel_scope.cancel()
    return report


async def _end_on_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()
        return


async def _pull(options: PullOptions, show: Show, then: Then | None) -> PullReport:
    began = trio.current_time()
    async with Engine.running(options) as engine:
        if engine.cache.features.complaint:
            options.warn(f"cache directory {engine.cache.root}: {engine.cache.features.complaint}")
        failed: dict[Name, FusefsError] = {}
        recalled: dict[Name, str] = {}
        resolved = await engine.resolve(options.names, failed=failed, recalled=recalled)
        offer_local(engine, resolved)
        await trio.to_thread.run_sync(engine.keeper.work)
        for text in engine.keeper.lost:
            options.warn(text)
        fetcher, offered = engine.fetcher, engine.offer(resolved)
        await engine.compare(resolved)
        models = options.selection.of(resolved)
        for text in options.selection.idle(resolved):
            options.warn(text)
        chosen = {blob for model in models for blob in (*model.blobs, *model.made)}
        chosen = {blob for blob in chosen if blob.size > options.larger_than and blob.digest not in options.leave}
        blobs = [blob for blob in offered if blob in chosen]
        _check_room(blobs, options.settings.cache_size)
        engine.cache.quota.wanted.update(blob.digest for blob in blobs)  # no part of it makes room for another

        await fetcher.look(blobs, math.inf)
        labels = labels_of(models)
        jobs = [_Job(fetcher.track(blob), labels.get(blob.digest, blob.digest.short)) for blob in blobs]
        done = trio.Event()
        # Not awaited itself: when we are cancelled it may wait for a source, and it is we who close those.
        engine.nursery.start_soon(_work, fetcher, jobs, show, done)
        await done.wait()
        files = tuple(job.item for job in jobs)
        if then is not None and not failed and all(item.state == "sealed" for item in files):
            await trio.to_thread.run_sync(then, engine, models)
        seconds = trio.current_time() - began
        problems = _problems(options.names, failed)
        notes = (*recalled_lines(recalled), *unproved_lines(models, options.settings))
        return PullReport(_texts(options.names), files, engine.counters.snapshot(), seconds, problems, notes)
    raise AssertionError  # the stack swallows nothing


def all_failed(names: Iterable[Name], reason: FusefsError) -> PullReport:
    """The report of a pull that could not begin."""
    texts = _texts(names)
    return PullReport(texts, (), {}, 0.0, tuple(SourceProblem(text, str(reason)) for text in texts))


def _texts(names: Iterable[Name]) -> tuple[str, ...]:
    return tuple(map(str, names))


def _problems(names: Iterable[Name], failed: Mapping[Name, FusefsError]) -> tuple[SourceProblem, ...]:
    return tuple(SourceProblem(str(name), str(failed[name])) for name in dict.fromkeys(names) if name in failed)


def _check_room(blobs: Iterable[Blob], limit: int | None) -> None:
    """Say now what would otherwise turn out after gigabytes.

    Raises:
        CacheFull: all of it together is larger than the cache may become.
    """
    size = sum(blob.size for blob in blobs)
    if limit is not None and size > limit:
        raise CacheFull(
            f"{size} bytes do not fit into --cache-size {limit}; `fusefs mount` fetches only the parts that are read"
        )


class _Job:
    """One blob to pull, and what is shown of it."""

    def __init__(self, fetch: BlobFetch, label: str) -> None:
        self.fetch = fetch
        self.item = Item(label=label, digest=str(fetch.blob.digest), size=fetch.blob.size)
        self.look()

    def look(self) -> None:
        """Bring the item up to date."""
        if self.item.state not in PULLED:
            self.item.done = self.fetch.present
        if self.item.state == "fetching" and self.item.done >= self.item.size:
            self.item.state = "proving"


async def _work(fetcher: Fetcher, jobs: Sequence[_Job], show: Show, done: trio.Event) -> None:
    limit = trio.CapacityLimiter(AT_ONCE)
    items = [job.item for job in jobs]

    async def one(job: _Job) -> None:
        async with limit:
            await _complete(fetcher, job)

    async def all_of_them() -> None:
        async with trio.open_nursery() as nursery:
            for job in jobs:
                nursery.start_soon(one, job)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_redraw, jobs, items, show)
        await all_of_them()
        nursery.cancel_scope.cancel()
    for job in jobs:
        job.look()
    show(items)
    done.set()


async def _redraw(jobs: Sequence[_Job], items: Sequence[Item], show: Show) -> None:
    while True:
        for job in jobs:
            job.look()
        show(items)
        await trio.sleep(FRAME)


async def _complete(fetcher: Fetcher, job: _Job) -> None:
    """One blob; that it cannot be had is no reason to stop the others."""
    job.item.state = "fetching"
    try:
        # An empty blob is proved by being empty; the cache keeps no file for it.
        await fetcher.look([job.fetch.blob], math.inf)
        if job.fetch.state != "sealed" or job.fetch.choice.compares_shards:
            await fetcher.complete(job.fetch, Priority.READ_AHEAD)
    except FusefsError as exc:
        log.info("%s could not be pulled.", job.item.label, exc_info=exc)
        job.item.state, job.item.problem = "failed", str(exc)
    else:
        job.item.state = "sealed" if job.fetch.blob.digest.proves else "unproved"
        job.item.done = job.item.size
