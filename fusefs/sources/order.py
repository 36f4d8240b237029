"""Which sources a model has, in the order in which they are asked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fusefs.net.circuit import Circuits
from fusefs.net.origin import WebOrigin
from fusefs.net.url import Url
from fusefs.sources.modelstore import LocalStore
from fusefs.sources.registry.credentials import KeyRing
from fusefs.sources.registry.registry import RegistrySource
from fusefs.sources.retry import Retrying
from fusefs.sources.tree.treesource import TreeSource
from fusefs.sources.tree.web import WebFiles
from fusefs.values.names import BaseUrl
from fusefs.values.voucher import Proof, registry_of
from fusefs.values.webtree import WebTree

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fusefs.sources.base import Source
    from fusefs.values.counters import Counters
    from fusefs.values.names import Name
    from fusefs.values.settings import Settings

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
    `<namespace>/<model>` whatever the host in the name.

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
    if isinstance(name, WebTree):
        files = WebFiles(name.scheme, name.host, settings, circuits)
        trees: list[tuple[Source, Proof, str]] = [(LocalStore(store), Proof.STORE, "") for store in stores]
        trees.append((TreeSource(files), Proof.REGISTRY, registry_of(name)))
        return _retrying(trees, settings, counters)
    keys = keys or KeyRing.default()
    registry = RegistrySource(name.scheme, name.host, settings, keys=keys, circuits=circuits)
    sources: list[tuple[Source, Proof, str]] = [(LocalStore(store), Proof.STORE, "") for store in stores]
    brief = replace(settings, stall=min(settings.stall, MIRROR_STALL), timeout=settings.timeout / _MIRROR_SHARE)
    sources += [
        (RegistrySource(mirror.scheme, mirror.host, brief, keys=keys.passwords(), circuits=circuits), Proof.NONE, "")
        for mirror in _mirrors(settings, name)
    ]
    sources.append((registry, Proof.REGISTRY, registry_of(name)))
    return _retrying(sources, settings, counters)


def _retrying(sources: Sequence[tuple[Source, Proof, str]], settings: Settings, counters: Counters) -> list[Source]:
    several = len(sources) > 1
    return [
        Retrying(source, timeout=settings.timeout, counters=counters, several=several, proof=proof, who=who)
        for source, proof, who in sources
    ]


def _mirrors(settings: Settings, name: Name) -> list[BaseUrl]:
    """Each once, and without the registry itself, which is asked last in any case."""
    found = {_origin(mirror): mirror for mirror in map(BaseUrl.parse, settings.mirrors)}
    found.pop(_origin(BaseUrl(name.scheme, name.host)), None)
    return list(found.values())


def _origin(url: BaseUrl) -> WebOrigin:
    return Url.parse(f"{'http' if url.scheme == 'http' else 'https'}://{url.host}").origin
