"""Engine: what a mount and a pull are made of alike: cache, sources, the writer of manifests, the fetcher.

Made and taken down in one place, so that no setting reaches the one and not the other.
"""

from __future__ import annotations

import math
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from fusefs.cache.disk import DiskCache
from fusefs.cache.documents.writer import Keeper
from fusefs.cache.space.quota import Limits
from fusefs.engine.comparing import compare_here
from fusefs.engine.demands import NO_DEMANDS
from fusefs.engine.layers import LayerOpener
from fusefs.engine.local import LocalModels
from fusefs.engine.models import origins, resolve_all
from fusefs.engine.pool import SourcePool
from fusefs.errors import FusefsError
from fusefs.fetch.fetcher import Fetcher
from fusefs.values.counters import Counters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from fusefs.engine.demands import Demands
    from fusefs.engine.options import MountOptions, PullOptions
    from fusefs.values.chunks import Blob
    from fusefs.values.names import Name
    from fusefs.values.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Engine:
    """The parts, while `running` lasts.

    Attributes:
        cache: what is on disk.
        pool: the sources of all names.
        keeper: writes manifests into the cache.
        fetcher: makes chunks present; it runs.
        counters: what happened so far.
        nursery: where tasks live that end before all of these are closed.
        demands: what the person wants of the models.
        local: what is known of them from this machine.
        warn: told at once what a person should know.
    """

    cache: DiskCache
    pool: SourcePool
    keeper: Keeper
    fetcher: Fetcher
    counters: Counters
    nursery: trio.Nursery
    demands: Demands = NO_DEMANDS
    local: LocalModels = field(default_factory=LocalModels)
    warn: Callable[[str], None] = lambda _: None

    @classmethod
    @asynccontextmanager
    async def running(cls, options: MountOptions | PullOptions, *, shared: bool = False) -> AsyncIterator[Engine]:
        """Set everything up; what is set up first is taken down last.

        Args:
            options: where the cache and the stores are, and how to behave.
            shared: other users may read the blobs in the cache.

        Raises:
            CacheError: the cache cannot be used.
        """
        settings = options.settings
        async with AsyncExitStack() as stack:
            # Half of the budget for chunks in flight, half for chunks that the disk does not take.
            cache = await trio.to_thread.run_sync(
                lambda: DiskCache.open(
                    options.cache_dir,
                    spill_capacity=settings.memory // 2,
                    stores=options.stores,
                    limits=Limits(settings.cache_size, settings.keep_free),
                    shared=shared,
                )
            )
            stack.callback(cache.release)
            counters = Counters()
            pool = SourcePool(options.stores, settings, counters, options.demands.lock)
            stack.push_async_callback(in_thread, pool.close)
            keeper = Keeper(cache)
            stack.push_async_callback(in_thread, keeper.close)
            fetcher = Fetcher(cache, settings, counters)
            stack.callback(fetcher.close)
            nursery = await stack.enter_async_context(trio.open_nursery())
            stack.callback(nursery.cancel_scope.cancel)
            # Workers wait for their source and cannot be cancelled: closing the sources is what ends them.
            stack.push_async_callback(in_thread, pool.close)
            await nursery.start(fetcher.run)
            parts = cache, pool, keeper, fetcher, counters, nursery
            yield cls(*parts, options.demands, options.local, options.warn)

    async def resolve(
        self,
        names: Sequence[Name],
        *,
        patience: float = math.inf,
        failed: dict[Name, FusefsError] | None = None,
        recalled: dict[Name, str] | None = None,
    ) -> list[Snapshot]:
        """The models of `names`, in their order; see `resolve_all`."""
        return await resolve_all(
            names,
            self.pool,
            self.cache,
            self.keeper,
            LayerOpener(self.fetcher, self.pool, self.cache, self.demands, self.warn),
            patience=patience,
            failed=failed,
            recalled=recalled,
            local=self.local,
        )

    def offer(self, models: Iterable[Snapshot]) -> dict[Blob, str]:
        """Tell the fetcher where each blob of the models can be had.

        Returns:
            Every distinct blob, and the first of the names that has it.

        Raises:
            InvalidSetting, NotSigned: a model is not what the person wants it to be.
        """
        return origins(self.fetcher, models, self.pool, self.cache, self.demands)

    async def compare(self, models: Iterable[Snapshot]) -> None:
        """Compare what the cache has of models that were offered with their signature, before anything is served.

        Raises:
            NotSigned: a model is not what was signed.
            FusefsError: what the cache has cannot be read.
        """
        if self.demands.signed is not None:
            here = self.demands.signed, self.fetcher, self.cache, list(models), self.local.files
            await trio.to_thread.run_sync(compare_here, *here)


async def in_thread(work: Callable[[], None]) -> None:
    """Clean-up that may block a little; it is done although whatever needs it is being cancelled."""
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(work)


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
