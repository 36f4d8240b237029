"""SourcePool: the sources of several names, those of one registry shared."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from fusefs.errors import CacheError
from fusefs.net.circuit import Circuits
from fusefs.sources.listplaces import open_list_places
from fusefs.sources.order import open_sources
from fusefs.sources.registry.credentials import KeyRing
from fusefs.sources.retry import Retrying
from fusefs.values.report import SourceState
from fusefs.values.voucher import Proof

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from fusefs.sources.base import Source
    from fusefs.values.counters import Counters
    from fusefs.values.lockfile import Lock
    from fusefs.values.names import Name
    from fusefs.values.settings import Settings


class SourcePool:
    """The sources of several names, those of one registry shared: they share its connections and tokens.

    Blocking; `close` may be called from any thread, and ends what is in flight.
    """

    def __init__(
        self, stores: Sequence[Path], settings: Settings, counters: Counters, lock: Lock | None = None
    ) -> None:
        self._stores = stores
        self._pinned = lock
        self._settings = settings
        self._counters = counters
        self._open: dict[tuple[str, str, str], list[Source]] = {}
        self._circuits = Circuits(settings, several=bool(settings.mirrors))
        self._keys = KeyRing.default()
        self._lists: list[Source] | None = None
        self._lock = threading.Lock()

    def of(self, name: Name) -> list[Source]:
        """Where `name` can be had, best first."""
        key = type(name).__name__, name.scheme, name.host.lower()
        with self._lock:
            if key not in self._open:
                self._open[key] = open_sources(
                    name,
                    stores=self._stores,
                    settings=self._settings,
                    counters=self._counters,
                    circuits=self._circuits,
                    keys=self._keys,
                    lock=self._pinned,
                )
            return self._open[key]

    def stores_of(self, name: Name) -> list[Source]:
        """Those among them that need no network."""
        return self.of(name)[: len(self._stores)]

    def list_places(self) -> list[Source]:
        """Where chunk lists are besides, in order."""
        with self._lock:
            if self._lists is None:
                self._lists = open_list_places(
                    self._settings, keys=self._keys, counters=self._counters, circuits=self._circuits
                )
            return self._lists

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
                blocked = standing.blobs if standing is not None else 0
                whole = source.remote.ignores_range
                if blocked or trouble or whole or source.label not in found:
                    found[source.label] = SourceState(
                        label=source.label,
                        state="resting" if trouble else "blocked" if blocked else "ok",
                        reason=trouble or (standing.reason if standing is not None else ""),
                        blobs_blocked=blocked,
                        ignores_range=whole,
                        mirror=source.voucher.proof == Proof.NONE,
                    )
        for host, reason in resting.items():
            found.setdefault(host, SourceState(label=host, state="resting", reason=reason))
        return tuple(found.values())

    def _all(self) -> list[Source]:
        with self._lock:
            return [source for sources in self._open.values() for source in sources] + (self._lists or [])


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
