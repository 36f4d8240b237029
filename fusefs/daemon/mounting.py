"""The composition root of a mount: makes every part, hands each what it needs, and takes all of it down again.

`start` is what the command calls; `run` is the mount itself, from set-up to unmount, on trio.
"""

from __future__ import annotations

import gc
import logging
import os
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from fusefs.daemon import background, control, hardening, logs
from fusefs.daemon.account import Account
from fusefs.daemon.dump import dump
from fusefs.daemon.holder import Holder
from fusefs.daemon.reach import wait_abandoned
from fusefs.daemon.replacing import make_way, replaceable
from fusefs.daemon.sealedlinks import sealed_links
from fusefs.daemon.signals import WATCHED, Handlers, obey
from fusefs.daemon.statuses import probe
from fusefs.daemon.temporary import make_place, remove_place
from fusefs.daemon.watchdog import Watchdog
from fusefs.engine.comparing import compare_local
from fusefs.engine.engine import Engine, sole_error
from fusefs.engine.forecast import PATIENCE as FORECAST_PATIENCE
from fusefs.engine.forecast import Forecast
from fusefs.engine.local import LocalModels, LocalOpener
from fusefs.engine.models import group_small, labels_of, packed_lines, recalled_lines, tell_files
from fusefs.engine.pool import check_stores
from fusefs.engine.unproved import unproved_lines
from fusefs.errors import MountError
from fusefs.fuse import kernel, session
from fusefs.fuse.identity import identity
from fusefs.fuse.mountpoint import check_device, check_mountpoint, mounted_at
from fusefs.fuse.natives import Natives
from fusefs.fuse.operations import FuseOperations
from fusefs.fuse.pages import forget_pages
from fusefs.values.hubname import HubName
from fusefs.values.names import Name
from fusefs.values.reference import LocalPath
from fusefs.vfs.blobfile import BlobFile
from fusefs.vfs.filesystem import FileSystem
from fusefs.vfs.inplacefile import InPlaceFile
from fusefs.vfs.layout import check_names, layout_of
from fusefs.vfs.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

    from fusefs.cache.documents.writer import Keeper
    from fusefs.daemon.handshake import Ready
    from fusefs.engine.options import MountOptions
    from fusefs.fetch.fetcher import Fetcher
    from fusefs.offers.indexer import Progress
    from fusefs.values.chunks import Blob
    from fusefs.values.digest import Digest
    from fusefs.values.snapshot import Snapshot
    from fusefs.vfs.mountedblob import MountedBlob

log = logging.getLogger(__name__)

ANSWER = 10.0
"""Seconds in which stat on the new mount must answer: it needs no network, so more means that it never will."""

PATIENCE = 4.0
"""Seconds that a mount waits for the network when the cache has the manifests too (P7): several round trips over the
slowest link that anybody would fetch a model on."""


def start(
    options: MountOptions,
    *,
    foreground: bool,
    warn: Callable[[str], None] = lambda _: None,
    progress: Progress | None = None,
) -> Path:
    """Mount.  Returns when the mount answers, or in the foreground when it has ended.

    Args:
        options: what a person asked for.
        foreground: stay until the mount has ended.
        warn: told what the set-up had to warn of, unless that goes to a log in the foreground.
        progress: called while files of this machine are hashed, before anything is mounted.

    Returns:
        The mount point, absolute and real.

    Raises:
        FusefsError: why it could not be mounted.
    """
    check_device()
    check_names(options.names, options.layout)
    there = replaceable(options.mountpoint) if options.replace else None
    if there is None and not options.temporary:
        _check_stale(options.mountpoint)
        there = check_mountpoint(options.mountpoint)
    # A daemon leaves the folder that relative paths start from.
    options = replace(
        options,
        mountpoint=there or Path(),
        cache_dir=options.cache_dir.absolute(),
        stores=check_stores(options.stores),
        log_file=logs.chosen_log(options.log_file) if options.log_file else None,
        local=_local(options, warn, progress),
    )
    if foreground:
        if options.log_file:
            logs.to_file(options.log_file, verbose=options.verbose)
        else:
            logs.to_stderr(verbose=options.verbose)
        _run(options, lambda: background.notify("READY=1"))
        return options.mountpoint
    if options.temporary:  # at the last moment: who is killed before it leaves nothing
        options = replace(options, mountpoint=make_place(options.temporary, others=options.allow_other))
    options = replace(options, log_file=options.log_file or _default_log(options), background=True)

    def work(ready: Ready) -> None:
        logs.to_file(options.log_file, verbose=options.verbose, stderr=True)
        try:
            with logs.warnings() as warnings:
                _run(replace(options, warn=ready.meanwhile), lambda: ready(warnings.take()))
        finally:
            if options.temporary:
                remove_place(options.mountpoint)

    try:
        background.start(work, log_file=options.log_file, warn=warn)
    except BaseException:
        if options.temporary:
            remove_place(options.mountpoint)
        raise
    return options.mountpoint


def _default_log(options: MountOptions) -> Path | None:
    """Temporary mounts of one model share a log: of their own, each at another place, nobody would remove any."""
    where = options.mountpoint
    return logs.default_log(where.parent.parent / where.name if options.temporary else where)


def _local(options: MountOptions, warn: Callable[[str], None], progress: Progress | None) -> LocalModels:
    """Look at folders and at the Hub's cache here and not in the daemon: a person sees the hashing, and can end it."""
    opener = LocalOpener(
        options.settings.memory // 4,
        others=options.allow_other,
        warn=warn,
        progress=progress,
        selection=options.selection,
    )
    for source in dict.fromkeys(options.names):
        if isinstance(source, LocalPath):
            opener.open(source)
    signed = options.demands.signed
    if signed is not None:
        compare_local(signed, opener.models)
    if options.hub_cache is not None:
        names = [name for name in dict.fromkeys(options.names) if isinstance(name, HubName)]
        opener.adopt(names, options.hub_cache, options.cache_dir)
    return opener.models


def _check_stale(mountpoint: Path) -> None:
    """A mount whose daemon died looks like a live one until somebody asks it something.

    Raises:
        MountError: there is one.
    """
    there = mounted_at(mountpoint)
    if there is not None and there.ours and probe(there.mountpoint) == "dead":
        raise MountError(
            f"{mountpoint}: a mount was left there by a crash; clean up first: fusefs umount {mountpoint}, "
            "or take its place with --replace"
        )


def _run(options: MountOptions, ready: Callable[[], None]) -> None:
    # A store of a thousand models is half a million objects that live as long as the mount.  To look for garbage among
    # them takes a third of the time to mount, and later stops every reader for a tenth of a second each time.
    gc.disable()
    hardening.keep_few_capabilities()
    hardening.keep_memory_private()

    def now_ready() -> None:
        gc.freeze()
        gc.enable()
        hardening.gain_no_privileges()  # the mount is made; as root nothing that follows takes more rights than we have
        ready()

    try:
        trio.run(run, options, now_ready)
    except BaseExceptionGroup as group:
        raise sole_error(group) from group
    finally:
        gc.enable()


async def run(options: MountOptions, ready: Callable[[], None]) -> None:
    """Set up, call `ready` once when the mount answers, and serve until SIGTERM, SIGINT or unmount.

    Raises:
        FusefsError: it could not be set up, or the connection to the kernel broke (perhaps in an ExceptionGroup).
        KeyboardInterrupt: a signal came before the mount was ready.
    """
    was_ready = False

    def now_ready() -> None:
        nonlocal was_ready
        was_ready = True
        ready()

    handlers = Handlers()
    holder = Holder(options.holder, options.mountpoint, temporary=bool(options.temporary))
    with trio.open_signal_receiver(*WATCHED) as received:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(obey, received, nursery, handlers)
            if options.holder >= 0:
                nursery.start_soon(holder.watch, nursery.cancel_scope)
            await _serve(options, now_ready, handlers, holder)
            nursery.cancel_scope.cancel()
    if not was_ready:
        raise KeyboardInterrupt


async def _serve(options: MountOptions, ready: Callable[[], None], handlers: Handlers, holder: Holder) -> None:
    """The mount's life.  What is set up first is taken down last."""
    shared = options.symlinks and options.allow_other
    async with Engine.running(options, shared=shared) as engine, AsyncExitStack() as stack:
        fetcher, pool, counters, nursery = engine.fetcher, engine.pool, engine.counters, engine.nursery
        if engine.cache.features.complaint:
            log.warning("cache directory %s: %s", engine.cache.root, engine.cache.features.complaint)
        names = [name for name in options.names if isinstance(name, Name)]
        recalled: dict[Name, str] = {}
        resolved = await engine.resolve(names, patience=PATIENCE, recalled=recalled)
        every = _in_order(options, resolved)
        models = options.selection.of(every)
        for line in options.selection.idle(every, options.local.seen):
            log.warning("%s", line)
        fetched = list(map(options.selection.only, resolved))
        files = layout_of(models, options.layout)
        named = engine.offer(resolved)
        await engine.compare(resolved)
        links: dict[Digest, Path] = {}
        if options.symlinks:
            unsettled = {b.digest for model in fetched for b in model.blobs if fetcher.track(b).choice.compares_shards}
            settled = [model for model in models if unsettled.isdisjoint(b.digest for b in model.blobs)]
            links = await trio.to_thread.run_sync(sealed_links, settled, engine.cache)
        tree = Tree(files, links)
        group_small(fetcher, fetched, options.settings, options.local.files)
        tell_files(fetcher, fetched)
        forecast = Forecast(fetcher, fetched, options.settings, labels_of(models), options.local.files)

        file_system = FileSystem(tree, _opener(fetcher, options), counters, look=looker(fetcher, options.local.files))
        fetcher.lied = lambda blob: nursery.start_soon(forget_pages, file_system.inodes_of(blob))
        watchdog = Watchdog(file_system.reads, options.settings.timeout, pool.in_flight)
        handlers.refresh = pool.refresh
        handlers.dump = partial(dump, file_system.reads, engine)
        natives = Natives(_unwanted(options))
        stack.callback(natives.end)
        unproved = unproved_lines(fetched, options.settings)
        for line in unproved:
            log.warning("%s", line)
        notes = [*recalled_lines(recalled), *packed_lines(fetched), *unproved]
        mount = Account(options, file_system, engine, named, watchdog, natives, notes)
        mount.foretold = forecast.lines

        ended = trio.Event()
        if options.replace:
            await trio.to_thread.run_sync(make_way, options.mountpoint)
            await trio.to_thread.run_sync(check_mountpoint, options.mountpoint)
        operations = FuseOperations(file_system, natives)
        made = await nursery.start(_session, options, operations, ended)
        stack.callback(ended.set)
        holder.made = identity(options.mountpoint)
        mount.wiring = made.wiring
        if made.wiring.why_not:
            natives.unanswered(made.wiring.why_not)
            log.info("One thread answers the kernel, and a reader that is killed may wait: %s", made.wiring.why_not)
        if made.minor is not None:
            mount.tuning = await trio.to_thread.run_sync(kernel.tune, made.minor)
            operations.window = kernel.Window(made.minor)
            if mount.tuning.complaint:
                log.info("The kernel was not tuned fully: %s", mount.tuning.complaint)
        await stack.enter_async_context(control.serving(nursery, options.mountpoint, mount.document))
        await _answers(options.mountpoint)
        log.info("Mounted %s at %s.", ", ".join(map(str, options.names)), options.mountpoint)
        foretold = trio.Event()
        nursery.start_soon(forecast.look, foretold)
        with trio.move_on_after(FORECAST_PATIENCE):
            await foretold.wait()
        ready()
        nursery.start_soon(_keep, engine.keeper)
        nursery.start_soon(watchdog.run)
        if options.background and made.minor is not None:
            nursery.start_soon(_end_abandoned, made.minor, operations, ended)
        await ended.wait()
        log.info("Unmounted %s.", options.mountpoint)


async def _end_abandoned(minor: int, operations: FuseOperations, ended: trio.Event) -> None:
    await wait_abandoned(minor, lambda: operations.handles)
    ended.set()


async def _keep(keeper: Keeper) -> None:
    await trio.to_thread.run_sync(keeper.work, abandon_on_cancel=True)


def _in_order(options: MountOptions, fetched: Iterable[Snapshot]) -> list[Snapshot]:
    """All models in the order in which they were named."""
    by_name = {snapshot.reference: [snapshot] for snapshot in fetched} | options.local.snapshots
    return [snapshot for name in options.names for snapshot in by_name[name]]


def _unwanted(options: MountOptions) -> str:
    """Why the kernel shall not read files by itself; empty when it may."""
    if not options.passthrough:
        return "--no-passthrough"
    if options.settings.verify == "always":
        return "--verify always"
    if "passthrough" in options.settings.without:
        return "it was switched off"
    return "" if os.geteuid() == 0 else "only root's daemon may (--sealed symlink needs no root)"


def _opener(fetcher: Fetcher, options: MountOptions) -> Callable[[Blob], MountedBlob]:
    def opened(blob: Blob) -> MountedBlob:
        here = options.local.files.get(blob.digest)
        if here is not None:
            return InPlaceFile(here)
        return BlobFile(fetcher, fetcher.track(blob), fill=options.settings.fill)

    return opened


def looker(fetcher: Fetcher, in_place: Collection[Digest]) -> Callable[[Iterable[Blob]], Awaitable[None]]:
    """`Fetcher.look`, but for blobs that are read in place: nothing that the cache knows is said of them."""

    async def look(blobs: Iterable[Blob]) -> None:
        await fetcher.look([blob for blob in blobs if blob.digest not in in_place])

    return look


async def _session(  # noqa: ASYNC128 # session.serve is what says started
    options: MountOptions,
    operations: FuseOperations,
    ended: trio.Event,
    *,
    task_status: trio.TaskStatus[session.Session],
) -> None:
    source = ",".join(map(str, options.names))
    try:
        await session.serve(
            operations,
            options.mountpoint,
            session.mount_options(source, allow_other=options.allow_other),
            wired="wire" not in options.settings.without,
            handles=operations.natives if operations.natives.wanted else None,
            task_status=task_status,
        )
    finally:
        ended.set()


async def _answers(mountpoint: Path) -> None:
    """Wait until a program that looks at the mount point sees the mount.

    Raises:
        MountError: it does not.
    """
    with trio.move_on_after(ANSWER):
        await trio.to_thread.run_sync(os.stat, mountpoint, abandon_on_cancel=True)
        return
    raise MountError(f"{mountpoint}: mounted, but it does not answer; unmount it: fusefs umount {mountpoint}")
