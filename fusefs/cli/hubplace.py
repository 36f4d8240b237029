"""Hub place: which cache of the Hugging Face Hub's library a command looks into, or fills."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.fuse.mountpoint import mounted, real_path
from fusefs.system.hubplaces import hub_cache
from fusefs.values.hubname import HubName

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fusefs.values.reference import Reference


def hub_cache_for(names: Iterable[Reference]) -> Path | None:
    """The cache of the Hub's library; None where no name is of the Hub, or it is a mount of ours.

    Where `HF_HUB_CACHE` leads to a mount of `--layout hf` there are no files yet: to hash them would fetch all
    of them.
    """
    if not any(isinstance(name, HubName) for name in names):
        return None
    cache = hub_cache()
    if cache is None:
        return None
    where = real_path(cache)
    return None if any(found.ours and where.is_relative_to(found.mountpoint) for found in mounted()) else where
