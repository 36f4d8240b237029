"""Sealed links: which blobs a mount shows as symbolic links into the cache (`--sealed symlink`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.cache.disk import MOST_HELD

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fusefs.cache.disk import DiskCache
    from fusefs.values.chunks import Blob
    from fusefs.values.digest import Digest
    from fusefs.values.snapshot import Snapshot


def sealed_links(models: Iterable[Snapshot], cache: DiskCache) -> dict[Digest, Path]:
    """The blobs of those models that are proved whole now, and where each lies; they are held.  Blocking.

    Who follows a link is beyond our reach, so only what is proved.  All of a model or nothing: a model of which a part
    is links is one that some programs refuse to load, because its files are not in one folder.
    """
    links: dict[Digest, Path] = {}
    whole = [blobs for blobs in map(_blobs, models) if all(cache.proved(blob) for blob in blobs)]
    # Only so many can be held: those that gain most.
    for blobs in sorted(whole, key=lambda blobs: sum(blob.size for blob in blobs), reverse=True):
        new = [blob for blob in blobs if blob.digest not in links]
        if len(links) + len(new) <= MOST_HELD and all(cache.hold(blob.digest) for blob in new):
            links |= {blob.digest: cache.path(blob.digest) for blob in new}
    return links


def _blobs(model: Snapshot) -> set[Blob]:
    """What the files of a model show, but for empty ones, which nobody keeps.

    None where a file is a part of a blob, or nothing proves it.
    """
    slices = [file.content for file in model.files if not isinstance(file.content, bytes)]
    shown = all(part.is_whole and part.blob.digest.proves for part in slices)
    return {part.blob for part in slices if part.size} if shown else set()
