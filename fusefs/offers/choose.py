"""Which catalog a folder is: an OLLAMA_MODELS store (a cache of ours is one too), or folders of files."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from fusefs.offers.folders import Folder
from fusefs.offers.indexer import Indexer
from fusefs.offers.kept import KeptDigests
from fusefs.offers.plain import PlainCatalog
from fusefs.offers.roots import Roots
from fusefs.offers.store import StoreCatalog, is_store
from fusefs.system.places import cache_home

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.offers.indexer import Progress
    from fusefs.offers.leftout import Allowed, LeftOut

LocalCatalog: TypeAlias = StoreCatalog | PlainCatalog


def catalog_of(
    directory: Path, allowed: Allowed, left_out: LeftOut, kept: KeptDigests, chunk_size: int, progress: Progress | None
) -> tuple[LocalCatalog, Indexer]:
    """The models of a folder, and what hashes their files.

    Args:
        directory: absolute.
        allowed: what is offered beyond the default.
        left_out: takes what is not.
        kept: digests of earlier runs.
        chunk_size: bytes of a chunk in the lists that are computed.
        progress: called while files are hashed.

    Raises:
        ServeError: it is not there, or cannot be entered.
    """
    if is_store(directory):
        indexer = Indexer(kept, chunk_size, Roots(directory, closed_too=allowed.private), progress)
        return StoreCatalog(directory, indexer, allowed, left_out), indexer
    folder = Folder(directory, allowed, left_out)
    indexer = Indexer(kept, chunk_size, folder.roots, progress)
    return PlainCatalog(folder, indexer, left_out), indexer


def default_kept() -> Path | None:
    """Where digests of local files are kept; None for a user who has no place for a cache."""
    place = cache_home()
    return place / "serve" if place is not None else None
