"""Compressed layers: whom they are had from."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from fusefs.artifacts.manifest import Layer
from fusefs.cache.disk import DiskCache
from fusefs.engine.unpacking import PackedLayer
from fusefs.errors import NotFound, SourceError
from fusefs.sources.bound import BoundSource
from fusefs.values.names import Name
from tests.fake_source import FakeSource

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.values.chunks import Chunk

NAME = Name.parse("http://h/library/m")
DATA = b"what it is decompressed" * 1000


def refuse(_asked: Chunk, _right: bytes) -> bytes:
    raise SourceError("busy", temporary=True)


def test_p6_a_compressed_layer_is_had_from_the_next_source_when_one_fails(tmp_path: Path) -> None:
    first, second = FakeSource("first"), FakeSource("second")
    for source in (first, second):
        blob = source.add(gzip.compress(DATA, mtime=0))
    first.always = refuse
    layer = Layer("application/vnd.oci.image.layer.v1.tar+gzip", blob)
    packed = PackedLayer(layer, DiskCache.open(tmp_path), [BoundSource(source, NAME) for source in (first, second)])
    assert b"".join(packed.pieces()) == DATA
    second.always = refuse
    with pytest.raises(SourceError, match="busy"):
        list(packed.pieces())
    with pytest.raises(NotFound, match="no source has the layer"):
        list(PackedLayer(layer, DiskCache.open(tmp_path), []).pieces())
