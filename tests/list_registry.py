"""ListRegistry: answers by path on the loopback address, for what a registry may have, or not have, beside a model."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from fusefs.artifacts.listartifact import ListArtifact, descriptor
from fusefs.artifacts.manifest import OCI_INDEX, OCI_MANIFEST
from fusefs.values.chunks import Blob, ChunkList
from fusefs.values.digest import Digest
from tests.loopback_server import LoopbackServer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http.server import BaseHTTPRequestHandler


@dataclass
class Given:
    """An answer."""

    body: bytes = b""
    kind: str = "application/octet-stream"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


NOT_FOUND = Given(b"404 page not found\n", "text/plain; charset=utf-8", 404)
UNKNOWN = Given(b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}', "application/json", 404)


class ListRegistry:
    """Give it answers by path; what has none is 404.

    Attributes:
        answers: by path, without the query.
        asked: every path so far, in order, without the query.
        heads: the header of each.
        host: `127.0.0.1:PORT`.
    """

    def __init__(self, repository: str = "library/m") -> None:
        self.base = f"/v2/{repository}"
        self.answers: dict[str, Given] = {}
        self.asked: list[str] = []
        self.heads: list[dict[str, str]] = []
        self._lock = threading.Lock()
        self._server = LoopbackServer(self._handle)
        self.host = f"127.0.0.1:{self._server.port}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        assert not self._server.problems

    def manifest(self, reference: str, raw: bytes, kind: str = OCI_MANIFEST) -> None:
        """Have a manifest under a tag, and under its digest."""
        for name in (reference, str(Digest.of(raw))):
            self.answers[f"{self.base}/manifests/{name}"] = Given(raw, kind)

    def blob(self, data: bytes) -> None:
        """Have a blob."""
        self.answers[f"{self.base}/blobs/{Digest.of(data)}"] = Given(data)

    def lists(self, reference: str, lists: Mapping[Blob, ChunkList], model: bytes | None) -> ListArtifact:
        """Have lists: their texts, and the manifest of them under `reference`."""
        artifact = artifact_of(lists, model)
        for chunks in lists.values():
            self.blob(text_of(chunks))
        self.manifest(reference, artifact.raw)
        return artifact

    def index(self, *artifacts: ListArtifact) -> bytes:
        """An index that names these."""
        return index_of(*artifacts)

    def count(self, part: str) -> int:
        """How many requests so far had `part` in their path."""
        return sum(part in path for path in self.asked)

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        with self._lock:
            self.asked.append(path)
            self.heads.append(dict(request.headers.items()))
        given = self.answers.get(path) or (UNKNOWN if "/manifests/" in path else NOT_FOUND)
        request.send_response(given.status)
        for name, value in {"Content-Type": given.kind, "Content-Length": len(given.body), **given.headers}.items():
            request.send_header(name, str(value))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(given.body)


def text_of(chunks: ChunkList) -> bytes:
    """The text of a list."""
    return "".join(chunks.format()).encode()


def list_of(data: bytes, chunk_size: int) -> ChunkList:
    """The list of some bytes."""
    uniform = ChunkList.uniform(len(data), chunk_size)
    return ChunkList.from_pairs(len(data), [(Digest.of(data[one.start : one.stop]), one) for one in uniform])


def artifact_of(lists: Mapping[Blob, ChunkList], model: bytes | None) -> ListArtifact:
    """The manifest of some lists."""
    texts = {blob.digest: Blob(Digest.of(text_of(one)), len(text_of(one))) for blob, one in lists.items()}
    return ListArtifact.of(texts, None if model is None else descriptor(OCI_MANIFEST, model))


def index_of(*artifacts: ListArtifact) -> bytes:
    """An index that names these, as the referrers of a manifest are listed."""
    entries: list[dict[str, Any]] = [
        descriptor(OCI_MANIFEST, one.raw) | {"artifactType": "application/vnd.fusefs.chunksums.v1"} for one in artifacts
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
