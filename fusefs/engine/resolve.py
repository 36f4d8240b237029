"""Resolve: a model's name to its manifest, from its sources, else from the cache (P7).

The registry in the name decides what a tag means, or a store that the person named: a mirror gives bytes, not truth.
Who pins the digest needs nobody's word: no source can give another manifest.

A name may stand for an index (`fusefs.artifacts.imageindex`).  Then the manifest in it for this machine is asked
for by its digest; the cache keeps both documents, and the name stands for that manifest there.
"""

from __future__ import annotations

import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING

from fusefs.artifacts.imageindex import choose_from_index, is_index
from fusefs.artifacts.manifest import MAX_MANIFEST_SIZE, Manifest
from fusefs.cache.documents.reader import recall
from fusefs.errors import (
    CacheError,
    Cancelled,
    DigestMismatch,
    FusefsError,
    IntegrityError,
    InvalidManifest,
    NotFound,
    SourceError,
)
from fusefs.sources.bound import BoundSource
from fusefs.sources.failover import Failover
from fusefs.sources.retry import MANIFEST_TIMEOUT
from fusefs.system.machine import architecture
from fusefs.values.digest import Digest
from fusefs.values.hubname import HubName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusefs.cache.disk import DiskCache
    from fusefs.cache.documents.writer import Keeper
    from fusefs.sources.base import Source
    from fusefs.values.names import Name

log = logging.getLogger(__name__)


def resolve(
    name: Name, sources: Sequence[Source], cache: DiskCache, keeper: Keeper, recalled: dict[Name, str] | None = None
) -> Manifest:
    """Find the manifest of `name`, and keep it in the cache for when there is no network.  Blocking.

    A name with a digest that the cache has asks nobody.  Otherwise the sources are asked in order, for a while again
    and again when none can be reached; then the manifest that the name had last is used.

    Args:
        name: of a model.
        sources: who is asked.
        cache: who helps when nobody answers.
        keeper: who keeps what was found.
        recalled: as `last_known`.

    Raises:
        ModelNotFound, NotFound: no source has the model.
        SourceError: no source could be reached, and the cache does not know the name.
        InvalidManifest: what was found is not a manifest that can be mounted.
        DigestMismatch: it is not the manifest that the name pins.
    """
    try:
        return ask(name, sources, cache, keeper, longest=MANIFEST_TIMEOUT)
    except Cancelled:
        raise
    except FusefsError as exc:
        try:
            return last_known(name, exc, cache, recalled)
        except SourceError as failure:
            _offer_digest(name, failure, sources)
            raise


def _offer_digest(name: Name, failure: SourceError, sources: Sequence[Source]) -> None:
    """Name a way to go on by a mirror's word, which is the person's to take.

    Raises:
        SourceError: `failure` and the name with the digest of what a mirror has under the tag.
    """
    for source in _bound(name, sources) if name.digest is None else ():
        if source.decides:
            continue
        with contextlib.suppress(FusefsError):
            raw = source.manifest()
            digest = Digest.of(raw) if is_index(raw) else Manifest.parse(raw).digest
            break
    else:
        return
    raise SourceError(
        f"{failure}; the mirror {source.label} has another word for it, which is yours to take: {name}@{digest}",
        temporary=failure.temporary,
    ) from failure


def ask(
    name: Name, sources: Sequence[Source], cache: DiskCache, keeper: Keeper, *, longest: float | None = None
) -> Manifest:
    """The same of what `sources` have now alone (or the cache, by digest).

    Args:
        name: of the model.
        sources: best first.
        cache: may have it by digest.
        keeper: keeps it.
        longest: seconds for which they are asked again and again; None: each once.

    Raises:
        FusefsError: as `resolve`.
    """
    asked = _bound(name, sources)
    if name.digest is None:
        asked = asked.that_decide()
        if (kept := _of_commit(name, cache)) is not None:
            return kept
    else:
        with contextlib.suppress(CacheError, DigestMismatch):
            return _cached(name, cache, name.digest)
    turns = asked.turns(told=partial(_told, name))
    for source in turns.rounds(None if longest is None else asked.patience(longest)):
        try:
            manifest = _manifest_of(source, name, cache, keeper)
        except Cancelled:
            raise
        except FusefsError as exc:
            turns.failed(exc)
            continue
        keeper.add(name, manifest.digest, manifest.raw)
        return manifest
    raise NotFound(f"{name}: no source to ask")


def _bound(name: Name, sources: Sequence[Source]) -> Failover:
    return Failover([BoundSource(source, name) for source in sources])


def _told(name: Name, _source: BoundSource, exc: FusefsError, last: bool) -> None:  # as Told
    """A store that lacks the model says nothing about the registry that is asked next; trouble does."""
    if not last:
        lied = isinstance(exc, IntegrityError | InvalidManifest)
        log.log(logging.WARNING if lied else logging.INFO, "%s: %s; the next source is asked", name, exc)


def _cached(name: Name, cache: DiskCache, digest: Digest) -> Manifest:
    """The manifest that the cache has by a digest, or by that of an index.

    Raises:
        CacheError, DigestMismatch, InvalidManifest: it has none.
    """
    raw = cache.read(digest, MAX_MANIFEST_SIZE)
    chosen = choose_from_index(raw, architecture())
    return _parsed(name, raw if chosen is None else cache.read(chosen, MAX_MANIFEST_SIZE))


def _manifest_of(source: BoundSource, name: Name, cache: DiskCache, keeper: Keeper) -> Manifest:
    raw = source.manifest()
    _check_digest(source, raw, name.digest)
    try:
        chosen = choose_from_index(raw, architecture())
        if chosen is None:
            return _parsed(name, raw)
        with contextlib.suppress(CacheError, DigestMismatch):
            return _kept(_parsed(name, cache.read(chosen, MAX_MANIFEST_SIZE)), name, raw, keeper)
        inner = source.under(name.pinned(chosen)).manifest()
        _check_digest(source, inner, chosen)
        return _kept(_parsed(name, inner), name, raw, keeper)
    except InvalidManifest as exc:
        raise InvalidManifest(f"{source.label}: {exc}") from exc


def _kept(manifest: Manifest, name: Name, index: bytes, keeper: Keeper) -> Manifest:
    """Keep the index, too, by its digest, for who names that without a network; gives the manifest."""
    digest = Digest.of(index)
    keeper.add(name.pinned(digest), digest, index)
    return manifest


def _check_digest(source: BoundSource, raw: bytes, wanted: Digest | None) -> None:
    if wanted is not None and not wanted.matches(raw):
        raise DigestMismatch(f"{source.label}: manifest", expected=wanted, actual=Digest.of(raw))


def last_known(name: Name, failure: FusefsError, cache: DiskCache, recalled: dict[Name, str] | None = None) -> Manifest:
    """The manifest that the name had when it was resolved last; only when nobody could be asked.

    Args:
        name: of a model.
        failure: why nobody could be asked.
        cache: who remembers.
        recalled: takes the name with that reason, for a caller who tells it; None: it is logged.

    Raises:
        FusefsError: `failure`, when the cache cannot help.
    """
    if name.digest is None and not isinstance(failure, NotFound):
        with contextlib.suppress(CacheError, InvalidManifest):
            manifest = _parsed(name, recall(cache, name))
            if recalled is None:
                log.warning("%s; using the manifest of %s that was cached before", failure, name)
            else:
                recalled[name] = str(failure)
            return manifest
    raise failure


def _parsed(name: Name, raw: bytes) -> Manifest:
    """A manifest of the kind that the name has.

    Raises:
        InvalidManifest: it is none; a registry's names its blobs by sha256, and git's hash of a file is weaker.
    """
    manifest = Manifest.parse(raw)
    if bool(manifest.commit) != isinstance(name, HubName):
        kind = "a tree of the Hugging Face Hub" if manifest.commit else "a manifest of a registry"
        raise InvalidManifest(f"{name.short}: this is {kind}")
    if isinstance(name, HubName) and name.fixed not in ("", manifest.commit):
        raise InvalidManifest(f"{name.short}: this is the tree of another commit, {manifest.commit}")
    return manifest


def _of_commit(name: Name, cache: DiskCache) -> Manifest | None:
    """The tree of a commit, which is the same for ever: the Hub, which counts requests, is asked for it once."""
    if isinstance(name, HubName) and name.fixed == name.tag:
        with contextlib.suppress(CacheError, InvalidManifest):
            return _parsed(name, recall(cache, name))
    return None
