"""Which sources a model has, in the order in which they are asked."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from fusefs.errors import MissingExtra
from fusefs.net.circuit import Circuits
from fusefs.net.url import Url
from fusefs.sources.hub.hub import HubSource
from fusefs.sources.modelstore import LocalStore
from fusefs.sources.registry.credentials import KeyRing
from fusefs.sources.registry.endpoint import Endpoint
from fusefs.sources.registry.registry import RegistrySource
from fusefs.sources.retry import Retrying
from fusefs.sources.tree.treesource import TreeSource
from fusefs.sources.tree.web import WebFiles
from fusefs.values.hubname import HubName
from fusefs.values.mirror import Mirror
from fusefs.values.voucher import Proof, registry_of
from fusefs.values.webtree import BUCKETS, WebTree

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fusefs.net.origin import WebOrigin
    from fusefs.sources.base import Source
    from fusefs.sources.tree.treeserver import RemoteFiles
    from fusefs.values.counters import Counters
    from fusefs.values.names import Name
    from fusefs.values.settings import Settings

log = logging.getLogger(__name__)

MIRROR_STALL = 3.0
"""Seconds without a byte from a mirror before the next source is asked: two SYNs, and many round trips."""

_MIRROR_SHARE = 4
"""A whole answer of a mirror may take this part of `--timeout`: one that trickles must leave time for the others."""


def open_sources(
    name: Name,
    *,
    stores: Sequence[Path],
    settings: Settings,
    counters: Counters,
    circuits: Circuits | None = None,
    keys: KeyRing | None = None,
) -> list[Source]:
    """Local stores first, then the mirrors, then the registry of `name`; each tries again by itself.

    Whoever opens them closes them.  A source serves every model of its scheme and host; a mirror is asked for
    `<namespace>/<model>` whatever the host in the name, and told that host besides.

    Args:
        name: of a model.
        stores: local OLLAMA_MODELS directories.
        settings: timeouts, and the mirrors.
        counters: what happens.
        circuits: what is known of each host; their own by default.
        keys: where credentials lie; where Ollama and Docker keep them by default.

    Raises:
        SourceError: the host of `name` cannot be part of a URL.
    """
    circuits = circuits or Circuits(settings, several=bool(settings.mirrors))
    if isinstance(name, HubName):
        if settings.mirrors:
            log.warning("--mirror is for registries and does not apply to %s, which is a Hub.", registry_of(name))
        hub: list[tuple[Source, Proof, str]] = [(LocalStore(store), Proof.STORE, "") for store in stores]
        hub.append((HubSource(name.hub, settings, circuits), Proof.REGISTRY, registry_of(name)))
        return _retrying(hub, settings, counters)
    if isinstance(name, WebTree):
        if settings.mirrors:
            what = "a bucket" if name.scheme in BUCKETS else "a web server"
            log.warning("--mirror is for registries and does not apply to %s, which is %s.", registry_of(name), what)
        files = _files_of(name, settings, circuits)
        trees: list[tuple[Source, Proof, str]] = [(LocalStore(store), Proof.STORE, "") for store in stores]
        trees.append((TreeSource(files), Proof.REGISTRY, registry_of(name)))
        return _retrying(trees, settings, counters)
    keys = keys or KeyRing.default()
    registry = RegistrySource(name.scheme, name.host, settings, keys=keys, circuits=circuits)
    sources: list[tuple[Source, Proof, str]] = [(LocalStore(store), Proof.STORE, "") for store in stores]
    brief = replace(settings, stall=min(settings.stall, MIRROR_STALL), timeout=settings.timeout / _MIRROR_SHARE)
    sources += [
        (_mirror(mirror, registry, brief, keys.passwords(), circuits), Proof.NONE, "")
        for mirror in _mirrors(settings, registry)
    ]
    sources.append((registry, Proof.REGISTRY, registry_of(name)))
    return _retrying(sources, settings, counters)


def _retrying(sources: Sequence[tuple[Source, Proof, str]], settings: Settings, counters: Counters) -> list[Source]:
    several = len(sources) > 1
    return [
        Retrying(source, timeout=settings.timeout, counters=counters, several=several, proof=proof, who=who)
        for source, proof, who in sources
    ]


def _files_of(name: WebTree, settings: Settings, circuits: Circuits) -> RemoteFiles:
    """Where a tree's files lie.

    Raises:
        MissingExtra: it is a bucket, and what reads one is not installed.
    """
    if name.scheme not in BUCKETS:
        return WebFiles(name.scheme, name.host, settings, circuits)
    try:
        from fusefs.sources.tree.bucket import BucketFiles
    except ModuleNotFoundError as exc:
        package = (exc.name or "").partition(".")[0]
        if package != "obstore":
            raise  # of our own, so that it is a bug
        raise MissingExtra(f"a bucket of {BUCKETS[name.scheme]}", "cloud", package) from exc
    return BucketFiles(name.scheme, name.host, settings)


def _mirror(
    mirror: Mirror, registry: RegistrySource, settings: Settings, keys: KeyRing, circuits: Circuits
) -> RegistrySource:
    base, endpoint = mirror.base, Endpoint(mirror.prefix, registry.label, registry.url)
    return RegistrySource(base.scheme, base.host, settings, keys=keys, circuits=circuits, endpoint=endpoint)


def _mirrors(settings: Settings, registry: RegistrySource) -> list[Mirror]:
    """Each once, and without the registry itself, which is asked last in any case."""
    found = {(_origin(mirror), mirror.prefix): mirror for mirror in map(Mirror.parse, settings.mirrors)}
    found.pop((Url.parse(registry.url).origin, ""), None)
    return list(found.values())


def _origin(mirror: Mirror) -> WebOrigin:
    base = mirror.base
    return Url.parse(f"{'http' if base.scheme == 'http' else 'https'}://{base.host}").origin
