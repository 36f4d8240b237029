"""Which sources a model has, in the order in which they are asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.sources.local import LocalStore
from fusefs.sources.registry import RegistrySource
from fusefs.sources.retry import Retrying

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fusefs.config import Settings
    from fusefs.names import Name
    from fusefs.sources.base import Source
    from fusefs.stats import Counters


def open_sources(name: Name, *, stores: Sequence[Path], settings: Settings, counters: Counters) -> list[Source]:
    """Local stores first, then the registry of `name`; each tries again by itself.

    Whoever opens them closes them.  A source serves every model of its scheme and host.

    Raises:
        SourceError: the host of `name` cannot be part of a URL.
    """
    sources: list[Source] = [LocalStore(store) for store in stores]
    sources.append(RegistrySource(name.scheme, name.host, settings))
    return [Retrying(source, timeout=settings.timeout, counters=counters) for source in sources]
