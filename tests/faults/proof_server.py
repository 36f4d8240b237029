"""ProofServer: a registry without chunk lists, and beside it Merkle proofs of its blobs, over the real HTTP client.

`MerkleSource` is how a source of that kind would be written: everything but lists and evidence is the registry's.
"""

from __future__ import annotations

import json
import re
import urllib.request
from typing import TYPE_CHECKING, Self

from fusefs.errors import NotFound, TransportError
from fusefs.values.chunks import ChunkList
from tests.faulty_registry import FaultyRegistry
from tests.loopback_server import LoopbackServer
from tests.merkle import MerkleEvidence, MerkleTree

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler
    from types import TracebackType

    from fusefs.sources.base import Body, Source
    from fusefs.values.chunks import Blob, Chunk
    from fusefs.values.names import Name
    from fusefs.values.voucher import Voucher
    from tests.merkle import Proof


class ProofServer:
    """Serves one model of one blob.

    Attributes:
        registry: has the bytes.
        model: its model.
        blob: its blob.
        root: what a manifest of its kind would say.
        port: where proofs are.
        forged: proofs are those of other bytes.
        mute: proofs cannot be had.
        asked: of which chunks a proof was asked for, in order.
    """

    def __init__(self, data: bytes, other: bytes, chunk_size: int) -> None:
        self.registry = FaultyRegistry(chunksums=False)
        self.forged = False
        self.mute = False
        self.asked: list[int] = []
        self.chunk_size = chunk_size
        self._data = data
        self._tree, self._other = MerkleTree(data, chunk_size), MerkleTree(other, chunk_size)
        self.root = self._tree.root
        self._server = LoopbackServer(self._answer)
        self.port = self._server.port

    def __enter__(self) -> Self:
        self.registry.__enter__()
        self._server.start()
        self.model = self.registry.add_model("library/m:latest", {"model.gguf": self._data}, config=None)
        self.blob: Blob = self.model.blobs["model.gguf"]
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._server.stop()
        self.registry.__exit__(kind, exc, tb)
        assert not self._server.problems

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        match = re.fullmatch(r"/proof/(\d+)", handler.path)
        assert match
        index = int(match[1])
        self.asked.append(index)
        if self.mute:
            handler.close_connection = True
            return
        proof = (self._other if self.forged else self._tree).proof(index)
        body = json.dumps([[left, node.hex()] for left, node in proof]).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


class MerkleSource:
    """A Source: `inner`, with evidence for every range of one blob."""

    def __init__(self, inner: Source, port: int, blob: Blob, root: bytes, chunk_size: int, voucher: Voucher) -> None:
        self.label = inner.label
        self.manifest = inner.manifest
        self.close = inner.close
        self.host = self.label
        self.ignores_range = False
        self._inner = inner
        self._port = port
        self._blob = blob
        self._chunk_size = chunk_size
        self._evidence = MerkleEvidence(voucher, root, chunk_size, self._ask)

    def chunk_list(self, name: Name, blob: Blob) -> ChunkList | None:
        """As Source.chunk_list."""
        if blob != self._blob:
            return self._inner.chunk_list(name, blob)
        return ChunkList.evidenced(blob.size, self._chunk_size, self._evidence.voucher)

    def open_range(self, name: Name, blob: Blob, chunk: Chunk) -> Body:
        """As Source.open_range."""
        body = self._inner.open_range(name, blob, chunk)
        return _Proved(body, self._evidence) if blob == self._blob else body

    def refresh(self) -> None:
        """As Remote.refresh."""

    def in_flight(self) -> list[str]:
        """As Remote.in_flight."""
        return []

    def _ask(self, index: int) -> Proof:
        if index * self._chunk_size >= self._blob.size:
            raise NotFound(f"no chunk {index}", source=self.label)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/proof/{index}", timeout=5) as answer:
                return [(bool(left), bytes.fromhex(node)) for left, node in json.load(answer)]
        except OSError as exc:
            raise TransportError(f"no proof of chunk {index}: {exc}", source=self.label) from exc


class _Proved:
    """A Body that is Evidenced."""

    def __init__(self, body: Body, evidence: MerkleEvidence) -> None:
        self.given = body.given
        self.readinto = body.readinto
        self.close = body.close
        self._evidence = evidence

    def evidence(self) -> MerkleEvidence:
        """As Evidenced.evidence."""
        return self._evidence
