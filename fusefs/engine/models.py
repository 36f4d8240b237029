"""From names to models and the places where their blobs can be had: what `mount` and `pull` set up alike."""

from __future__ import annotations

import contextlib
import logging
import math
from typing import TYPE_CHECKING

import trio

from fusefs.artifacts.contents import Contents
from fusefs.artifacts.snapshots import snapshot_of
from fusefs.engine.demands import NO_DEMANDS
from fusefs.engine.local import LocalModels
from fusefs.engine.offering import offer_blobs
from fusefs.engine.resolve import ask, last_known, resolve
from fusefs.errors import FusefsError, InvalidName, NotFound, SourceError
from fusefs.fetch.load import most_ahead
from fusefs.prefetch.siblings import SMALL, Siblings
from fusefs.system.hubplaces import hub_is_off
from fusefs.values.hubname import HubName
from fusefs.vfs.layout import layout_of

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from fusefs.artifacts.manifest import Manifest
    from fusefs.cache.disk import DiskCache
    from fusefs.cache.documents.writer import Keeper
    from fusefs.engine.demands import Demands
    from fusefs.engine.layers import LayerOpener
    from fusefs.engine.pool import SourcePool
    from fusefs.fetch.fetcher import Fetcher
    from fusefs.values.chunks import Blob
    from fusefs.values.digest import Digest
    from fusefs.values.names import Name
    from fusefs.values.settings import Settings
    from fusefs.values.snapshot import Snapshot


log = logging.getLogger(__name__)

AT_ONCE = 8
"""Names that are asked for at once: with a round trip of 100 ms a thousand take 13 s, and no registry minds."""


async def resolve_all(
    names: Sequence[Name],
    pool: SourcePool,
    cache: DiskCache,
    keeper: Keeper,
    opener: LayerOpener | None = None,
    *,
    patience: float = math.inf,
    failed: dict[Name, FusefsError] | None = None,
    recalled: dict[Name, str] | None = None,
    local: LocalModels | None = None,
) -> list[Snapshot]:
    """The models of `names`, in their order.

    Args:
        names: what a person typed.
        pool: who is asked.
        cache: who helps when nobody answers.
        keeper: who keeps the manifests for when nobody does; of few names they are written when this returns.
        opener: who looks into layers whose files the manifests do not name; None: those are shown as one file each.
        patience: seconds for the network, for all names together; after that the manifests that the cache has are
            used, and a name that it does not have is waited for as long as it takes.
        failed: takes the names that cannot be had, with the reason; the others go on.  None: the first one ends it.
        recalled: takes the names of which the cache's manifest is used, with the reason.
        local: what the Hub's library knows of the names, for those that the cache does not have.

    Raises:
        FusefsError: a name that nobody knows, or that cannot be asked for now; of several the first that said so.
        InvalidName: two names that differ in case alone are two models.
    """
    deadline = trio.current_time() + patience
    recalled = {} if recalled is None else recalled
    known = local or LocalModels()
    stored: dict[Name, Manifest] = {}
    with trio.move_on_at(deadline):
        await trio.to_thread.run_sync(_ask_stores, names, pool, cache, keeper, stored, abandon_on_cancel=True)
    found = dict(stored)  # the thread may have been left behind, and go on
    left = iter([name for name in dict.fromkeys(names) if name not in found])
    failures: list[FusefsError] = []
    async with trio.open_nursery() as nursery:

        async def work() -> None:
            for name in left:
                try:
                    found[name] = await _resolve_until(deadline, name, pool, cache, keeper, recalled, known)
                except FusefsError as exc:
                    if failed is not None:
                        failed[name] = exc
                        continue
                    failures.append(exc)
                    nursery.cancel_scope.cancel()

        for _ in range(min(AT_ONCE, len(names))):
            nursery.start_soon(work)
    if failures:
        raise failures[0]
    _check_case(found)
    for line in recalled_lines(recalled):
        log.warning("%s", line)
    if len(names) <= AT_ONCE:
        await trio.to_thread.run_sync(keeper.write)
    return await _snapshots([(name, found[name]) for name in names if name in found], keeper, opener, failed)


def recalled_lines(recalled: Mapping[Name, str]) -> list[str]:
    """One line for each reason for which manifests of the cache are used: a host that is silent, or refuses us."""
    names: dict[str, list[Name]] = {}
    for name, reason in recalled.items():
        names.setdefault(reason, []).append(name)
    return [
        f"{reason}; using the manifest of {of[0]} that was cached before"
        + (f", and {len(of) - 1} more" if of[1:] else "")
        for reason, of in names.items()
    ]


async def _snapshots(
    found: Iterable[tuple[Name, Manifest]],
    keeper: Keeper,
    opener: LayerOpener | None,
    failed: dict[Name, FusefsError] | None,
) -> list[Snapshot]:
    """A manifest whose names cannot be files is no reason to leave the others out."""
    snapshots = []
    for name, manifest in found:
        try:
            contents = Contents() if opener is None else await opener.contents(name, manifest)
            snapshots.append(snapshot_of(name, manifest, keeper.seen(manifest.digest) * 10**9, contents))
        except FusefsError as exc:
            if failed is None:
                raise
            failed[name] = exc
    return snapshots


def packed_lines(models: Iterable[Snapshot]) -> list[str]:
    """One line for each model of which layers are compressed, so that nothing of them is read lazily."""
    return [
        f"{model.reference}: layers that are compressed, and kept decompressed in the cache as a whole: "
        f"{len(model.made)} ({sum(blob.size for blob in model.made)} bytes)"
        for model in models
        if model.made
    ]


def _check_case(found: Mapping[Name, Manifest]) -> None:
    """To Ollama and to the cache names that differ in case alone are one, to other registries two models.

    Raises:
        InvalidName: they are two: without a network the one would be taken for the other.
    """
    first: dict[tuple[str, ...], Name] = {}
    for name, manifest in found.items():
        other = first.setdefault((name.scheme, *name.key), name)
        if found[other].digest != manifest.digest and name.path != other.path and not (name.digest and other.digest):
            raise InvalidName(
                f"{other.short} and {name.short} differ in case alone and are two models, which a cache keeps as one; "
                "name both by digest, or take a cache for each"
            )


def _ask_stores(
    names: Iterable[Name], pool: SourcePool, cache: DiskCache, keeper: Keeper, found: dict[Name, Manifest]
) -> None:
    """Fill `found` with what takes no network, in one thread: a hop for each of a thousand names would take longer."""
    for name in names:
        try:
            found[name] = ask(name, pool.stores_of(name), cache, keeper)
        except NotFound:
            continue
        except FusefsError:
            return  # a store in trouble is asked again by those who can wait for it together


async def _resolve_until(
    deadline: float,
    name: Name,
    pool: SourcePool,
    cache: DiskCache,
    keeper: Keeper,
    recalled: dict[Name, str],
    local: LocalModels,
) -> Manifest:
    def first() -> Manifest:
        try:
            return resolve(name, pool.of(name), cache, keeper, recalled)
        except SourceError as exc:
            return _of_library(name, exc, keeper, recalled, local)

    def remember() -> Manifest:
        failure = SourceError("no answer in time", source=name.host)
        try:
            return last_known(name, failure, cache, recalled)
        except SourceError:
            return _of_library(name, failure, keeper, recalled, local)

    if name in local.documents or await trio.to_thread.run_sync(cache.links.mtime, name) is not None:
        with trio.move_on_at(deadline):
            return await trio.to_thread.run_sync(first, abandon_on_cancel=True)
        with contextlib.suppress(SourceError):  # what the cache has is no manifest
            return await trio.to_thread.run_sync(remember)
    return await trio.to_thread.run_sync(first, abandon_on_cancel=True)


def _of_library(
    name: Name, failure: SourceError, keeper: Keeper, recalled: dict[Name, str], local: LocalModels
) -> Manifest:
    """What a name of the Hub was made of when its library asked last; only when nobody else can be asked.

    It is kept by its digest alone, for nobody here has asked what the name means.

    Raises:
        SourceError: `failure`, when the library does not know, either.
    """
    manifest = local.documents.get(name)
    if manifest is None or isinstance(failure, NotFound) or name.digest not in (None, manifest.digest):
        if isinstance(name, HubName) and hub_is_off():
            raise SourceError(f"{failure}, and no cache here knows {name.short}: unset it to ask") from failure
        raise failure
    keeper.add(name.pinned(manifest.digest), manifest.digest, manifest.raw)
    missing = "; what of it was never downloaded is missing" if name in local.partial else ""
    recalled[name] = f"{failure}; the cache of the Hub's library knows it{missing}"
    return manifest


def origins(
    fetcher: Fetcher, models: Iterable[Snapshot], pool: SourcePool, cache: DiskCache, demands: Demands = NO_DEMANDS
) -> dict[Blob, str]:
    """Tell the fetcher where each blob of the models can be had.

    Returns:
        Every distinct blob, and the first of the names that has it.

    Raises:
        InvalidSetting, NotSigned: a model is not what the person wants it to be.
    """
    named: dict[Blob, str] = {}
    for model in models:
        demands.check(model)
        offer_blobs(fetcher, pool, model.reference, (model.digest, model.document), model.blobs, demands)
        demands.tell_shards(fetcher, cache, model)
        for blob in model.blobs:
            named.setdefault(blob, str(model.reference))
        for blob in model.made:  # who made it has told the fetcher how
            named.setdefault(blob, str(model.reference))
    return named


def group_small(fetcher: Fetcher, models: Iterable[Snapshot], settings: Settings, in_place: Container[Digest]) -> None:
    """Tell the fetcher which small files belong together, but for blobs that are read `in_place`."""
    if "siblings" in settings.without:
        return
    most = most_ahead(settings)
    for model in models:
        siblings = Siblings(model.files, largest=settings.single_chunk_limit, most=most, elsewhere=in_place)
        for blob in model.blobs:
            if blob.size <= SMALL:
                fetch = fetcher.track(blob)
                fetch.siblings = (*fetch.siblings, siblings)


def tell_files(fetcher: Fetcher, models: Iterable[Snapshot]) -> None:
    """Tell the fetcher which files lie in each archive: every one may have a header that tells of its tensors."""
    found: dict[Blob, set[range]] = {}
    for model in models:
        for file in model.files:
            part = file.content
            if not isinstance(part, bytes) and not part.is_whole:
                found.setdefault(part.blob, set()).add(range(part.off, part.off + part.size))
    for blob, ranges in found.items():
        fetcher.track(blob).tell_files(tuple(ranges))


def labels_of(models: Sequence[Snapshot]) -> dict[Digest, str]:
    """What a person calls each blob: its path in a mount of the models.

    Raises:
        InvalidManifest, InvalidName: they cannot be mounted together, or at all.
    """
    labels: dict[Digest, str] = {}
    for file in layout_of(models):
        # Of an archive many files are a part, and none of them is what is fetched.
        if not isinstance(file.content, bytes) and file.content.is_whole:
            labels.setdefault(file.content.blob.digest, file.path)
    return labels
