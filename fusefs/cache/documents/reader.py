"""Recall: the manifest that a name had last, out of the cache, and never one that has changed on disk.

A manifest lies in the cache twice: as the link of its name, and as a blob.  What digest belongs to a name is only known
from its link, so a link must be vouched for: by the note beside it (`Links.noted`), or where there is none, by a blob
that has the name of its digest, whatever that blob holds.  One flipped bit, and neither vouches any more.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Literal

from fusefs.artifacts.manifest import MAX_MANIFEST_SIZE
from fusefs.errors import DigestMismatch, NotCached
from fusefs.system.files import disk_errors, reader_of, remove_foreign
from fusefs.system.spot import exists_at
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from fusefs.cache.documents.named import NamedBlobs
    from fusefs.values.names import Name

log = logging.getLogger(__name__)

Finding = Literal["good", "mended", "dropped", "unknown"]
"""Of a link: it and its blob are right; one of the two had changed and is right again; it had changed and is gone;
nobody vouches for it (somebody wrote it by hand)."""


def recall(cache: NamedBlobs, name: Name) -> bytes:
    """The manifest of `name`; from its blob when the link has rotted.  Blocking, but short.

    Raises:
        NotCached: there is no link; or it has changed, and nothing else says what it was; or nobody vouches for it.
        CacheError: the disk cannot be read.
    """
    data = _bytes(cache, name)
    if data and _vouched(cache, name, data):
        return data
    copy = _copy(cache, name)
    if copy is not None:
        return copy
    if data:
        log.info("%s: its manifest in the cache has changed on disk and is not used", name)
    raise NotCached(f"{name}: not in the cache, or changed on disk")


def mend(cache: NamedBlobs, name: Name) -> Finding:
    """Look whether link and blob of a manifest are what they were, and make each right from the other.  Blocking.

    Raises:
        CacheError: the disk does not let us.
    """
    links = cache.links
    data = _bytes(cache, name)
    if data and _vouched(cache, name, data):
        digest = Digest.of(data)
        try:
            cache.read(digest, len(data))
        except DigestMismatch:
            cache.put(digest, reader_of(data), len(data))
            return "mended"
        except NotCached:
            pass
        return "good"
    copy = _copy(cache, name)
    with disk_errors(links.spot(name)):
        if copy is not None:
            links.write(name, copy)
            return "mended"
        if data and links.noted(name) is None:
            return "unknown"
        remove_foreign(links.spot(name))
        links.remove(name)
    return "dropped"


def _bytes(cache: NamedBlobs, name: Name) -> bytes:
    """What the link holds; nothing when there is none, or something that is no file."""
    with contextlib.suppress(NotCached):
        return cache.links.read(name)
    return b""


def _vouched(cache: NamedBlobs, name: Name, data: bytes) -> bool:
    digest, noted = Digest.of(data), cache.links.noted(name)
    if noted is not None:
        return digest == noted
    return exists_at(cache.place(digest).sealed)


def _copy(cache: NamedBlobs, name: Name) -> bytes | None:
    """The blob that the note beside the link names, if it is right."""
    noted = cache.links.noted(name)
    if noted is not None:
        with contextlib.suppress(NotCached, DigestMismatch):
            return cache.read(noted, MAX_MANIFEST_SIZE)
    return None
