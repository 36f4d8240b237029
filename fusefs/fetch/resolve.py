"""Resolve: a model's name to its manifest, from its sources, else from the cache (P7)."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from fusefs.errors import CacheError, Cancelled, DigestMismatch, FusefsError, InvalidManifest, NotCached, NotFound
from fusefs.manifest import MAX_MANIFEST_SIZE, Manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusefs.cache.disk import DiskCache
    from fusefs.cache.keeping import Keeper
    from fusefs.names import Name
    from fusefs.sources.base import Source

log = logging.getLogger(__name__)


def resolve(name: Name, sources: Sequence[Source], cache: DiskCache, keeper: Keeper) -> Manifest:
    """Find the manifest of `name`, and keep it in the cache for when there is no network.  Blocking.

    A name with a digest that the cache has asks nobody.  Otherwise the sources are asked in order, and when none can
    be reached, the manifest that the name had last is used.

    Raises:
        ModelNotFound, NotFound: no source has the model.
        SourceError: no source could be reached, and the cache does not know the name.
        InvalidManifest: what was found is not a manifest that can be mounted.
        DigestMismatch: it is not the manifest that the name pins.
    """
    try:
        return ask(name, sources, cache, keeper)
    except Cancelled:
        raise
    except FusefsError as exc:
        return last_known(name, exc, cache)


def ask(name: Name, sources: Sequence[Source], cache: DiskCache, keeper: Keeper) -> Manifest:
    """The same of what `sources` have now alone (or the cache, by digest).

    Raises:
        FusefsError: as `resolve`.
    """
    if name.digest is not None:
        with contextlib.suppress(CacheError, DigestMismatch):
            return Manifest.parse(cache.read(name.digest, MAX_MANIFEST_SIZE))
    failure: FusefsError = NotFound(f"{name}: no source to ask")
    for source in sources:
        try:
            manifest = Manifest.parse(source.manifest(name))
        except Cancelled:
            raise
        except FusefsError as exc:
            # A store that lacks the model says nothing about the registry that is asked next; trouble does.
            failure = exc
            continue
        if name.digest is not None and manifest.digest != name.digest:
            raise DigestMismatch(f"{source.label}: manifest", expected=name.digest, actual=manifest.digest)
        keeper.add(name, manifest.digest, manifest.raw)
        return manifest
    raise failure


def last_known(name: Name, failure: FusefsError, cache: DiskCache) -> Manifest:
    """The manifest that the name had when it was resolved last; only when nobody could be asked.

    Raises:
        FusefsError: `failure`, when the cache cannot help.
    """
    if name.digest is None and not isinstance(failure, NotFound):
        with contextlib.suppress(NotCached, InvalidManifest):
            manifest = Manifest.parse(cache.links.read(name))
            log.warning("%s; using the manifest of %s that was cached before", failure, name)
            return manifest
    raise failure
