"""Offering: tells the fetcher where the blobs of one model can be had, and by which chunk lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.artifacts.listartifact import annotated
from fusefs.sources.base import Learner
from fusefs.sources.bound import BoundSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusefs.engine.demands import Demands
    from fusefs.engine.pool import SourcePool
    from fusefs.fetch.fetcher import Fetcher
    from fusefs.values.chunks import Blob
    from fusefs.values.digest import Digest
    from fusefs.values.names import Name


def offer_blobs(
    fetcher: Fetcher,
    pool: SourcePool,
    name: Name,
    manifest: tuple[Digest, bytes],
    blobs: Iterable[Blob],
    demands: Demands,
) -> None:
    """Tell the fetcher of blobs of one model; of the same ones again does no harm.

    Args:
        fetcher: who is told.
        pool: where they can be had.
        name: of the model.
        manifest: its digest, and its bytes.
        blobs: some of the model.
        demands: what the person wants of the model.
    """
    digest, raw = manifest
    texts = annotated(raw)
    for source in pool.of(name):
        if isinstance(source, Learner):
            source.learn(name, digest, raw)
    having = [BoundSource(source, name, digest, texts) for source in pool.of(name)]
    places = [BoundSource(place, name) for place in pool.list_places()]
    blobs = list(blobs)
    for blob in blobs:
        fetch = fetcher.track(blob)
        for origin in having:
            fetch.add_origin(origin)
        for place in places:
            fetch.choice.add_place(place)
    demands.tell(fetcher, name, blobs, having)
