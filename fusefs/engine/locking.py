"""Locking: what some models are made of now, with the chunk lists that there are, for `fusefs lock`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from fusefs.artifacts.hubtree import HubTree
from fusefs.engine.engine import Engine, sole_error
from fusefs.engine.pool import check_stores
from fusefs.values.hubname import HubName
from fusefs.values.lockfile import Lock, LockedModel, list_digest

if TYPE_CHECKING:
    from fusefs.engine.options import PullOptions
    from fusefs.fetch.fetcher import Fetcher
    from fusefs.values.chunks import Blob
    from fusefs.values.digest import Digest
    from fusefs.values.names import Name
    from fusefs.values.snapshot import Snapshot


def lock(options: PullOptions) -> Lock:
    """Ask for manifests and lists, and fetch nothing else.  Blocking.

    A list that is not proved yet is taken at the word of whoever has it now: from here on it is the person's.

    Raises:
        FusefsError: a model cannot be had, or a list cannot be asked for now.
    """
    settings = replace(options.settings, lists="registry", unproved="wait")
    try:
        return trio.run(_lock, replace(options, stores=check_stores(options.stores), settings=settings))
    except BaseExceptionGroup as group:
        raise sole_error(group) from group


async def _lock(options: PullOptions) -> Lock:
    async with Engine.running(options) as engine:
        models = await engine.resolve(options.names)
        blobs = engine.offer(models)
        await trio.to_thread.run_sync(engine.keeper.work)
        lists: dict[Digest, Digest] = {}
        for blob in blobs:
            if blob.size > options.settings.single_chunk_limit:
                found = await trio.to_thread.run_sync(_list_of, engine.fetcher, blob, abandon_on_cancel=True)
                if found is not None:
                    lists[blob.digest] = found
        return Lock(tuple(_locked(model, lists) for model in models))
    raise AssertionError  # the stack swallows nothing


def _list_of(fetcher: Fetcher, blob: Blob) -> Digest | None:
    """Of the list by which a blob would be served now."""
    fetch = fetcher.track(blob)
    chunks, _ = fetch.local_list() or fetch.remote_list()
    return list_digest(chunks) if chunks.complete else None


def _locked(model: Snapshot, lists: dict[Digest, Digest]) -> LockedModel:
    blobs = tuple(dict.fromkeys(model.blobs))
    name = _lasting(model).pinned(model.digest)
    paths: dict[Digest, list[str]] = {blob.digest: [] for blob in blobs}
    for file in model.files:
        if not isinstance(file.content, bytes) and file.content.is_whole and file.content.blob.digest in paths:
            paths[file.content.blob.digest].append(file.path)
    pinned = {blob.digest: lists[blob.digest] for blob in blobs if blob.digest in lists}
    return LockedModel(name, blobs, pinned, {digest: tuple(some) for digest, some in paths.items() if some})


def _lasting(model: Snapshot) -> Name:
    """Its name; of the Hub with the commit, by which it can be had when the revision leads elsewhere."""
    name = model.reference
    return name.at(HubTree.parse(model.document).commit) if isinstance(name, HubName) else name
