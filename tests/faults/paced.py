"""PacedRegistry: an honest registry of one large blob that sends so many bytes and no more, and counts.

It exists beside `tests.faulty_registry` because a blob of more than one chunk is larger than 64 MiB for the real
command, and because a process is to be killed at a chosen byte of its transfer, without sleeping.
"""

from __future__ import annotations

import json
import re
import threading
from typing import TYPE_CHECKING, Self

from fusefs.artifacts.manifest import DOCKER_MANIFEST
from fusefs.values.chunks import Blob, ChunkList
from fusefs.values.digest import Digest
from tests.loopback_server import LoopbackServer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http.server import BaseHTTPRequestHandler
    from types import TracebackType

_PIECE = 1 << 16
UNLIMITED = 1 << 60


class PacedRegistry:
    """Serves `data` as the one layer `model.gguf` of `name`.

    Attributes:
        name: what a person types.
        port: where it listens.
        blob: the layer.
        asked: the ranges asked for, inclusive, since `begin`.
        sent: bytes of the blob sent since `begin`.
        paths: every path asked for since `begin`.
    """

    def __init__(self, data: bytes, *, chunk_size: int = 1 << 20, port: int = 0) -> None:
        self.data = data
        self.blob = Blob(Digest.of(data), len(data))
        self.chunks = ChunkList.uniform(len(data), chunk_size)
        self.asked: list[tuple[int, int]] = []
        self.sent = 0
        self.paths: list[str] = []
        pairs = ((Digest.of(data[chunk.start : chunk.stop]), chunk) for chunk in self.chunks)
        self._list = "".join(f"{digest} {chunk}\n" for digest, chunk in pairs).encode()
        layer = {
            "mediaType": "application/vnd.ollama.image.model",
            "digest": str(self.blob.digest),
            "size": len(data),
            "name": "model.gguf",
        }
        document = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "layers": [layer]}
        self._manifest = json.dumps(document).encode()
        self._quota = UNLIMITED
        self._round = 0
        self._ending = False
        self._changed = threading.Condition()
        self._server = LoopbackServer(self._handle, None, port)
        self.port = self._server.port
        self.name = f"http://127.0.0.1:{self.port}/library/m:latest"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        with self._changed:
            self._ending = True  # also for a request that is only now being read
            self._changed.notify_all()
        self._server.stop()
        assert not self._server.problems, self._server.problems

    def begin(self, quota: int = UNLIMITED) -> None:
        """From now on send at most `quota` bytes; whoever is still being served from before is cut off."""
        with self._changed:
            self._round += 1
            self._quota = quota
            self.asked, self.sent, self.paths = [], 0, []
            self._changed.notify_all()

    def forget_clients(self) -> None:
        """End every connection, those that wait to be accepted too: what a killed client asked is not heard late."""
        self._end()
        self._server = LoopbackServer(self._handle, None, self.port)
        self._ending = False
        self._server.start()

    def more(self, quota: int = UNLIMITED) -> None:
        """Send on, up to `quota` bytes since `begin`."""
        with self._changed:
            self._quota = quota
            self._changed.notify_all()

    def wait_sent(self, count: int, timeout: float = 30) -> None:
        """Until `count` bytes were sent since `begin`."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.sent >= count, timeout), f"{self.sent} of {count} bytes sent"

    def wait_asked(self, count: int = 1, timeout: float = 30) -> None:
        """Until `count` ranges were asked for since `begin`."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.asked) >= count, timeout), "nobody asks"

    def asked_chunks(self) -> list[int]:
        """Every chunk that was asked for since `begin`, as often as it was."""
        with self._changed:
            return [i for start, end in self.asked for i in self.chunks.covering(start, end + 1 - start)]

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path
        with self._changed:
            self.paths.append(path)
        if "/manifests/" in path:
            self._answer(handler, 200, self._manifest, {"Content-Type": DOCKER_MANIFEST})
        elif "/chunksums/" in path:
            self._answer(handler, 200, self._list, {"Content-Type": "text/plain"})
        elif path.endswith(f"/blobs/{self.blob.digest}"):
            self._range(handler)
        else:
            self._answer(handler, 404, b"{}", {})

    def _range(self, handler: BaseHTTPRequestHandler) -> None:
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers["Range"])
        assert match is not None
        start, end = int(match[1]), int(match[2])
        with self._changed:
            self.asked.append((start, end))
            now = self._round
            self._changed.notify_all()
        headers = {"Content-Range": f"bytes {start}-{end}/{self.blob.size}"}
        self._head(handler, 206, end + 1 - start, headers)
        for off in range(start, end + 1, _PIECE):
            piece = self.data[off : min(off + _PIECE, end + 1)]
            self._await_quota(len(piece), now)
            handler.wfile.write(piece)
            handler.wfile.flush()

    def _await_quota(self, size: int, now: int) -> None:
        """Wait until `size` more bytes may be sent, and count them."""
        with self._changed:
            self._changed.wait_for(lambda: self._ending or self._round != now or self.sent + size <= self._quota)
            if self._ending or self._round != now:
                raise ConnectionAbortedError
            self.sent += size
            self._changed.notify_all()

    def _answer(self, handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self._head(handler, status, len(body), headers)
        handler.wfile.write(body)
        handler.wfile.flush()

    def _head(self, handler: BaseHTTPRequestHandler, status: int, size: int, headers: Mapping[str, str]) -> None:
        handler.send_response(status)
        for key, value in {**headers, "Content-Length": str(size)}.items():
            handler.send_header(key, value)
        handler.end_headers()
