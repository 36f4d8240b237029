"""Content-Encoding: nothing is unpacked, bytes of a blob are judged by their digest, and text must be text."""

from __future__ import annotations

import gzip
import json
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fusefs.errors import ResponseError, WrongResponse
from fusefs.sources.registry.credentials import KeyRing
from fusefs.sources.registry.registry import RegistrySource
from fusefs.values.digest import Digest
from fusefs.values.settings import Settings
from tests.faulty_registry import FaultyRegistry
from tests.reading import read_blob, read_range
from tests.wire_faults import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faulty_registry import Model

DATA = b"0123456789" * 20
BOMB = gzip.compress(bytes(64 << 20))
"""64 KiB that would become a thousand times as much."""

NOTHING = ["", "identity", "none", "aws-chunked", "binary", "utf-8", "UTF-8", "ISO-8859-1", "identity, aws-chunked"]
SOMETHING = ["gzip", "x-gzip", "deflate", "br", "zstd", "compress", "identity, gzip", "aws-chunked,gzip", "?"]


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as made:
        yield made


@pytest.fixture
def source(registry: FaultyRegistry, tmp_path: Path) -> Iterator[RegistrySource]:
    keys = KeyRing(None, tmp_path / "none")
    with closing(RegistrySource("http", registry.host, Settings(timeout=5, stall=2), keys=keys)) as made:
        yield made


@pytest.fixture
def model(registry: FaultyRegistry) -> Model:
    return registry.add_model("library/m:latest", {"model.gguf": DATA}, chunk_size=100)


def of_blob(encoding: str, start: int = 0, end: int = len(DATA) - 1) -> Answer:
    frame = {"Content-Range": f"bytes {start}-{end}/{len(DATA)}", "Content-Encoding": encoding}
    return Answer(206, DATA[start : end + 1], frame)


@pytest.mark.parametrize("encoding", NOTHING + SOMETHING)
def test_the_bytes_of_a_blob_are_taken_whatever_is_said_of_them(
    registry: FaultyRegistry, source: RegistrySource, model: Model, encoding: str
) -> None:
    """Storage keeps what an upload was sent in; whether the bytes are right is for their digest to say."""
    blob = model.blobs["model.gguf"]
    path = f"/v2/library/m/blobs/{blob.digest}"
    registry.expect(path, span=(0, 199), answer=of_blob(encoding))
    registry.expect(path, span=(50, 99), answer=of_blob(encoding, 50, 99))
    assert read_blob(source, model.name, blob) == DATA
    assert read_range(source, model.name, blob, 50, 99) == DATA[50:100]


@pytest.mark.parametrize("encoding", NOTHING)
def test_a_manifest_and_a_list_that_are_not_encoded_are_read(
    registry: FaultyRegistry, source: RegistrySource, model: Model, encoding: str
) -> None:
    blob = model.blobs["model.gguf"]
    headers = {"Content-Encoding": encoding}
    registry.expect("/v2/library/m/manifests/latest", answer=Answer(200, model.manifest, headers))
    text = f"{Digest.of(DATA)} 0-{len(DATA) - 1}\n".encode()
    registry.expect(f"/v2/library/m/chunksums/{blob.digest}", answer=Answer(200, text, headers))
    assert source.manifest(model.name) == model.manifest
    assert len(source.chunk_list(model.name, blob) or ()) == 1


@pytest.mark.parametrize("encoding", SOMETHING)
def test_p10_a_manifest_and_a_list_that_are_compressed_are_refused_unread(
    registry: FaultyRegistry, source: RegistrySource, model: Model, encoding: str
) -> None:
    blob = model.blobs["model.gguf"]
    registry.expect("/v2/library/m/manifests/latest", answer=Answer(200, BOMB, {"Content-Encoding": encoding}))
    registry.expect(f"/v2/library/m/chunksums/{blob.digest}", answer=Answer(200, BOMB, {"Content-Encoding": encoding}))
    with pytest.raises(WrongResponse, match="compressed though identity was asked for"):
        source.manifest(model.name)
    with pytest.raises(WrongResponse, match="compressed though identity was asked for"):
        source.chunk_list(model.name, blob)
    assert all(request.headers["accept-encoding"] == "identity" for request in registry.requests)


@pytest.mark.parametrize(("encoding", "good"), [("gzip", False), ("utf-8", True), ("", True)])
def test_p10_a_token_that_is_compressed_is_refused_unread(
    registry: FaultyRegistry, source: RegistrySource, model: Model, encoding: str, good: bool
) -> None:
    challenge = {"WWW-Authenticate": f'Bearer realm="{registry.url}/token"'}
    registry.expect("/v2/library/m/manifests/latest", answer=Answer(401, b"{}", challenge))
    body = json.dumps({"token": "t"}).encode() if good else BOMB
    registry.expect(
        "/token?scope=repository%3Alibrary%2Fm%3Apull", answer=Answer(200, body, {"Content-Encoding": encoding})
    )
    if good:
        registry.expect("/v2/library/m/manifests/latest", answer=Answer(200, model.manifest))
        assert source.manifest(model.name) == model.manifest
    else:
        with pytest.raises(WrongResponse, match="compressed"):
            source.manifest(model.name)


def test_p10_a_compressed_error_document_is_not_shown(
    registry: FaultyRegistry, source: RegistrySource, model: Model
) -> None:
    answer = Answer(503, BOMB[:500], {"Content-Encoding": "gzip"})
    registry.expect("/v2/library/m/manifests/latest", answer=answer)
    with pytest.raises(ResponseError, match=r"responded with status 503: no messages$"):
        source.manifest(model.name)
