"""From names to models and the places where their blobs can be had: what `mount` and `pull` set up alike."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from typing import TYPE_CHECKING

import trio

from fusefs.artifacts.ollama import snapshot_of
from fusefs.engine.resolve import ask, last_known, resolve
from fusefs.errors import CacheError, FusefsError, InvalidManifest, InvalidName, NotFound, SourceError
from fusefs.net.circuit import Circuits
from fusefs.sources.bound import BoundSource
from fusefs.sources.order import open_sources
from fusefs.sources.registry.credentials import KeyRing
from fusefs.sources.retry import Retrying
from fusefs.values.report import SourceState
from fusefs.vfs.layout import layout_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from fusefs.artifacts.manifest import Manifest
    from fusefs.cache.disk import DiskCache
    from fusefs.cache.documents.writer import Keeper
    from fusefs.fetch.fetcher import Fetcher
    from fusefs.sources.base import Source
    from fusefs.values.chunks import Blob
    from fusefs.values.counters import Counters
    from fusefs.values.digest import Digest
    from fusefs.values.names import Name
    from fusefs.values.settings import Settings
    from fusefs.values.snapshot import Snapshot


log = logging.getLogger(__name__)

AT_ONCE = 8
"""Names that are asked for at once: with a round trip of 100 ms a thousand take 13 s, and no registry minds."""


class SourcePool:
    """The sources of several names, those of one registry shared: they share its connections and tokens.

    Blocking; `close` may be called from any thread, and ends what is in flight.
    """

    def __init__(self, stores: Sequence[Path], settings: Settings, counters: Counters) -> None:
        self._stores = stores
        self._settings = settings
        self._counters = counters
        self._open: dict[tuple[str, str], list[Source]] = {}
        self._circuits = Circuits(settings, several=bool(settings.mirrors))
        self._keys = KeyRing.default()
        self._lock = threading.Lock()

    def of(self, name: Name) -> list[Source]:
        """Where `name` can be had, best first."""
        key = name.scheme, name.host.lower()
        with self._lock:
            if key not in self._open:
                self._open[key] = open_sources(
                    name,
                    stores=self._stores,
                    settings=self._settings,
                    counters=self._counters,
                    circuits=self._circuits,
                    keys=self._keys,
                )
            return self._open[key]

    def stores_of(self, name: Name) -> list[Source]:
        """Those among them that need no network."""
        return self.of(name)[: len(self._stores)]

    def close(self) -> None:
        """Close every source.  Idempotent."""
        for source in self._all():
            source.close()

    def refresh(self) -> None:
        """Look at everything with new eyes: credentials are read again, and who failed or lied is asked again."""
        self._circuits.forget()
        for source in self._all():
            if isinstance(source, Retrying):
                if source.remote is not None:
                    source.remote.refresh()
                if source.standing is not None:
                    source.standing.forgive()

    def in_flight(self) -> list[str]:
        """One line a request under way, of which no part is secret."""
        return [
            line
            for source in self._all()
            if isinstance(source, Retrying) and source.remote is not None
            for line in source.remote.in_flight()
        ]

    def states(self) -> tuple[SourceState, ...]:
        """How each registry and mirror does, in the order in which they are asked; then other hosts in trouble."""
        resting = self._circuits.troubled()
        found: dict[str, SourceState] = {}
        for source in self._all():
            if isinstance(source, Retrying) and source.remote is not None:
                trouble, standing = resting.pop(source.remote.host, ""), source.standing
                aside = standing.blobs if standing is not None else 0
                whole = source.remote.ignores_range
                if aside or trouble or whole or source.label not in found:
                    found[source.label] = SourceState(
                        label=source.label,
                        state="resting" if trouble else "set aside" if aside else "ok",
                        reason=trouble or (standing.reason if standing is not None else ""),
                        blobs_set_aside=aside,
                        ignores_range=whole,
                    )
        for host, reason in resting.items():
            found.setdefault(host, SourceState(label=host, state="resting", reason=reason))
        return tuple(found.values())

    def _all(self) -> list[Source]:
        with self._lock:
            return [source for sources in self._open.values() for source in sources]


async def resolve_all(
    names: Sequence[Name],
    pool: SourcePool,
    cache: DiskCache,
    keeper: Keeper,
    *,
    patience: float = math.inf,
    failed: dict[Name, FusefsError] | None = None,
) -> list[Snapshot]:
    """The models of `names`, in their order.

    Args:
        names: what a person typed.
        pool: who is asked.
        cache: who helps when nobody answers.
        keeper: who keeps the manifests for when nobody does; of few names they are written when this returns.
        patience: seconds for the network, for all names together; after that the manifests that the cache has are
            used, and a name that it does not have is waited for as long as it takes.
        failed: takes the names that cannot be had, with the reason; the others go on.  None: the first one ends it.

    Raises:
        FusefsError: a name that nobody knows, or that cannot be asked for now; of several the first that said so.
        InvalidName: two names that differ in case alone are two models.
    """
    deadline = trio.current_time() + patience
    local: dict[Name, Manifest] = {}
    with trio.move_on_at(deadline):
        await trio.to_thread.run_sync(_ask_stores, names, pool, cache, keeper, local, abandon_on_cancel=True)
    found = dict(local)  # the thread may have been left behind, and go on
    left = iter([name for name in dict.fromkeys(names) if name not in found])
    failures: list[FusefsError] = []
    async with trio.open_nursery() as nursery:

        async def work() -> None:
            for name in left:
                try:
                    found[name] = await _resolve_until(deadline, name, pool, cache, keeper)
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
    if len(names) <= AT_ONCE:
        await trio.to_thread.run_sync(keeper.write)
    return list(_snapshots([(name, found[name]) for name in names if name in found], keeper, failed))


def _snapshots(
    found: Iterable[tuple[Name, Manifest]], keeper: Keeper, failed: dict[Name, FusefsError] | None
) -> Iterator[Snapshot]:
    """A manifest whose names cannot be files is no reason to leave the others out."""
    for name, manifest in found:
        try:
            yield snapshot_of(name, manifest, keeper.seen(manifest.digest) * 10**9)
        except InvalidManifest as exc:
            if failed is None:
                raise
            failed[name] = exc


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


async def _resolve_until(deadline: float, name: Name, pool: SourcePool, cache: DiskCache, keeper: Keeper) -> Manifest:
    def first() -> Manifest:
        return resolve(name, pool.of(name), cache, keeper)

    def remember() -> Manifest:
        return last_known(name, SourceError("no answer in time", source=name.host), cache)

    if await trio.to_thread.run_sync(cache.links.mtime, name) is not None:
        with trio.move_on_at(deadline):
            return await trio.to_thread.run_sync(first, abandon_on_cancel=True)
        with contextlib.suppress(SourceError):  # what the cache has is no manifest
            return await trio.to_thread.run_sync(remember)
    return await trio.to_thread.run_sync(first, abandon_on_cancel=True)


def origins(fetcher: Fetcher, models: Iterable[Snapshot], pool: SourcePool) -> dict[Blob, str]:
    """Tell the fetcher where each blob of the models can be had.

    Returns:
        Every distinct blob, and the first of the names that has it.
    """
    named: dict[Blob, str] = {}
    for model in models:
        having = [BoundSource(source, model.reference) for source in pool.of(model.reference)]
        for blob in model.blobs:
            fetch = fetcher.track(blob)
            for origin in having:
                fetch.add_origin(origin)
            named.setdefault(blob, str(model.reference))
    return named


def warn_of_whole_reads(fetcher: Fetcher, models: Iterable[Snapshot]) -> None:
    """Say of which models files are read whole first, because nobody is believed.  Blocking, but short."""
    for model in models:
        fetches = [fetcher.track(blob) for blob in model.blobs]
        whole = [fetch for fetch in fetches if fetch.is_read_whole_first()]
        if whole:
            shared = any(fetch.of_several for fetch in whole)
            log.warning(
                "%s: files without a chunk list that is bound to their digest: %d; each is read whole before its first "
                "byte is served (%s)",
                model.reference,
                len(whole),
                "models of several registries share them: mount those apart"
                if shared
                else "--lists registry takes the registry's word for the lists",
            )


def labels_of(models: Sequence[Snapshot]) -> dict[Digest, str]:
    """What a person calls each blob: its path in a mount of the models.

    Raises:
        InvalidManifest, InvalidName: they cannot be mounted together, or at all.
    """
    labels: dict[Digest, str] = {}
    for file in layout_of(models):
        if not isinstance(file.content, bytes):
            labels.setdefault(file.content.blob.digest, file.path)
    return labels


async def in_thread(work: Callable[[], None]) -> None:
    """Clean-up that may block a little; it is done although whatever needs it is being cancelled."""
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(work)


def check_stores(stores: Iterable[Path]) -> tuple[Path, ...]:
    """The absolute paths of local stores.

    Raises:
        CacheError: one is no OLLAMA_MODELS directory, or may not be read.
    """
    found = []
    for store in stores:
        for folder in (store / "manifests", store / "blobs"):
            try:
                next(folder.iterdir(), None)
            except OSError as exc:
                raise CacheError(
                    f"store {store} is no OLLAMA_MODELS directory: {folder.name} in it cannot be read ({exc.strerror})"
                ) from exc
        found.append(store.absolute())
    return tuple(found)


def sole_error(group: BaseException) -> BaseException:
    """What went wrong, out of the groups that trio's nurseries wrap round it: ours rather than a consequence."""
    leaves = list(_leaves(group))
    return next((leaf for leaf in leaves if isinstance(leaf, FusefsError)), leaves[0])


def _leaves(exc: BaseException) -> Iterable[BaseException]:
    if isinstance(exc, BaseExceptionGroup):
        for inner in exc.exceptions:
            yield from _leaves(inner)
    else:
        yield exc
