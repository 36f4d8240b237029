"""LoadServer: a registry of many models whose bytes are made as they are asked for, and that lies now and then.

Which requests go wrong, and how, is drawn from a seed; which of them come in which order is not, with many clients.
"""

from __future__ import annotations

import json
import random
import re
import socket
import struct
import threading
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from fusefs.artifacts.manifest import DOCKER_MANIFEST
from tests.loopback_server import LoopbackServer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from http.server import BaseHTTPRequestHandler
    from types import TracebackType

    from tests.faults.load_content import Content

FAULTS = ("wrong", "flipped", "reset-before", "reset-amid", "short", "500", "503", "pause", "pause-amid", "silence")
_WEIGHTS = (10, 10, 10, 10, 10, 10, 10, 14, 14, 2)
PAUSE = 1.0
"""Seconds of a pause, after which the answer goes on as if nothing had been.  A silence ends only with the client."""


class LoadServer:
    """Serves each Content as the one layer `model.gguf` of a model.

    Attributes:
        contents: by name.
        injected: how often each fault was played.
        requests: that came.
        sent: bytes of blobs.
    """

    def __init__(self, contents: Sequence[Content], *, faulty: float = 0.0, seed: int = 0) -> None:
        self.contents = {content.name: content for content in contents}
        self.injected: Counter[str] = Counter()
        self.requests = 0
        self.sent = 0
        self._faulty = faulty
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._server = LoopbackServer(self._handle)
        self._manifests = {name: _manifest(content) for name, content in self.contents.items()}

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._ending.set()
        self._server.stop()
        assert not self._server.problems, self._server.problems

    def source(self, content: Content) -> str:
        """What a person types."""
        return f"http://127.0.0.1:{self._server.port}/library/{content.name}:latest"

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        match = re.fullmatch(r"/v2/library/(\w+)/(manifests|chunksums|blobs)/.*", handler.path)
        assert match is not None, handler.path
        content = self.contents[match[1]]
        with self._lock:
            self.requests += 1
            fault = self._random.choices(FAULTS, _WEIGHTS)[0] if self._random.random() < self._faulty else ""
            if fault:
                self.injected[fault] += 1
        if fault == "reset-before":
            _reset(handler)
        elif fault in ("500", "503"):
            _head(handler, int(fault), 0, {})
        elif match[2] == "manifests":
            # What a manifest holds nothing proves, and http:// says so: it may fail, but does not lie.
            self._send(handler, 200, [self._manifests[content.name]], {"Content-Type": DOCKER_MANIFEST}, "")
        elif match[2] == "chunksums":
            self._send(handler, 200, [content.chunk_list], {"Content-Type": "text/plain"}, fault)
        else:
            self._range(handler, content, fault)

    def _range(self, handler: BaseHTTPRequestHandler, content: Content, fault: str) -> None:
        assert handler.path.endswith(str(content.blob.digest)), handler.path
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers["Range"])
        assert match is not None
        start, stop = int(match[1]), int(match[2]) + 1
        headers = {"Content-Range": f"bytes {start}-{stop - 1}/{content.size}"}
        self._send(handler, 206, list(content.parts(start, stop)), headers, fault)

    def _send(
        self, handler: BaseHTTPRequestHandler, status: int, pieces: list[bytes], headers: dict[str, str], fault: str
    ) -> None:
        size = sum(map(len, pieces))
        if fault == "pause":
            self._ending.wait(PAUSE)
        _head(handler, status, size, headers)
        amid = size // 2
        for piece in pieces:
            if amid is not None and amid < len(piece) and fault:
                handler.wfile.write(piece[:amid])
                if not self._go_on(handler, fault):
                    return
                piece = _other(piece[amid:], fault)
                amid = size
            else:
                amid -= len(piece)
            handler.wfile.write(piece)
            with self._lock:
                self.sent += len(piece) if status == 206 else 0
        handler.wfile.flush()

    def _go_on(self, handler: BaseHTTPRequestHandler, fault: str) -> bool:
        """Amid a body: what the fault does there, and whether more comes."""
        handler.wfile.flush()
        if fault == "reset-amid":
            _reset(handler)
        elif fault == "short":
            handler.close_connection = True
        elif fault == "pause-amid":
            self._ending.wait(PAUSE)
        elif fault == "silence":
            self._await_end(handler.connection)
            handler.close_connection = True
        return fault not in ("reset-amid", "short", "silence")

    def _await_end(self, connection: socket.socket) -> None:
        """Until the client has gone."""
        connection.settimeout(0.5)
        while not self._ending.is_set():
            with suppress(TimeoutError):
                connection.recv(1)
                return


def _other(data: bytes, fault: str) -> bytes:
    """The rest of a body, changed as the fault says."""
    if fault == "wrong":
        return bytes(len(data))
    return bytes([data[0] ^ 1]) + data[1:] if fault == "flipped" and data else data


def _manifest(content: Content) -> bytes:
    layer = {
        "mediaType": "application/vnd.ollama.image.model",
        "digest": str(content.blob.digest),
        "size": content.size,
        "name": "model.gguf",
    }
    return json.dumps({"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "layers": [layer]}).encode()


def _reset(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True


def _head(handler: BaseHTTPRequestHandler, status: int, size: int, headers: dict[str, str]) -> None:
    handler.send_response(status)
    for key, value in {**headers, "Content-Length": str(size)}.items():
        handler.send_header(key, value)
    handler.end_headers()
