"""From names to models and the places where their blobs can be had: what `mount` and `pull` set up alike."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

import trio

from fusefs.errors import CacheError, FusefsError, SourceError
from fusefs.fetch.resolve import last_known, resolve
from fusefs.fetch.worker import Origin
from fusefs.sources.open import open_sources
from fusefs.vfs.layout import Model, layout_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from fusefs.cache.disk import DiskCache
    from fusefs.chunks import Blob
    from fusefs.config import Settings
    from fusefs.digest import Digest
    from fusefs.fetch.fetcher import Fetcher
    from fusefs.manifest import Manifest
    from fusefs.names import Name
    from fusefs.sources.base import Source
    from fusefs.stats import Counters


class SourcePool:
    """The sources of several names, those of one registry shared: they share its connections and tokens.

    Blocking; `close` may be called from any thread, and ends what is in flight.
    """

    def __init__(self, stores: Sequence[Path], settings: Settings, counters: Counters) -> None:
        self._stores = stores
        self._settings = settings
        self._counters = counters
        self._open: dict[tuple[str, str], list[Source]] = {}

    def of(self, name: Name) -> list[Source]:
        """Where `name` can be had, best first."""
        key = name.scheme, name.host.lower()
        if key not in self._open:
            self._open[key] = open_sources(name, stores=self._stores, settings=self._settings, counters=self._counters)
        return self._open[key]

    def close(self) -> None:
        """Close every source.  Idempotent."""
        for sources in self._open.values():
            for source in sources:
                source.close()


async def resolve_all(
    names: Sequence[Name], pool: SourcePool, cache: DiskCache, *, patience: float = math.inf
) -> list[Model]:
    """The models of `names`, in their order.

    Args:
        names: what a person typed.
        pool: who is asked.
        cache: who helps when nobody answers.
        patience: seconds for the network, for all names together; after that the manifests that the cache has are
            used, and a name that it does not have is waited for as long as it takes.

    Raises:
        FusefsError: a name that nobody knows, or that cannot be asked for now.
    """
    deadline = trio.current_time() + patience
    return [await _resolve_until(deadline, name, pool, cache) for name in names]


async def _resolve_until(deadline: float, name: Name, pool: SourcePool, cache: DiskCache) -> Model:
    def ask() -> Model:
        return _model(name, resolve(name, pool.of(name), cache), cache)

    def remember() -> Model:
        return _model(name, last_known(name, SourceError("no answer in time", source=name.host), cache), cache)

    if await trio.to_thread.run_sync(cache.links.mtime, name) is not None:
        with trio.move_on_at(deadline):
            return await trio.to_thread.run_sync(ask, abandon_on_cancel=True)
        with contextlib.suppress(SourceError):  # what the cache has is no manifest
            return await trio.to_thread.run_sync(remember)
    return await trio.to_thread.run_sync(ask, abandon_on_cancel=True)


def _model(name: Name, manifest: Manifest, cache: DiskCache) -> Model:
    return Model(name, manifest, _first_seen_ns(manifest.digest, cache))


def _first_seen_ns(digest: Digest, cache: DiskCache) -> int:
    """When this manifest came into the cache: a time that the next mount shows too (P3)."""
    with contextlib.suppress(CacheError):
        return int(cache.get(digest).mtime) * 10**9
    return 0


def origins(fetcher: Fetcher, models: Iterable[Model], pool: SourcePool) -> dict[Blob, str]:
    """Tell the fetcher where each blob of the models can be had.

    Returns:
        Every distinct blob, and the first of the names that has it.
    """
    named: dict[Blob, str] = {}
    for model in models:
        for blob in model.manifest.blobs():
            fetch = fetcher.track(blob)
            for source in pool.of(model.name):
                fetch.add_origin(Origin(source, model.name))
            named.setdefault(blob, str(model.name))
    return named


def labels_of(models: Sequence[Model]) -> dict[Digest, str]:
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
