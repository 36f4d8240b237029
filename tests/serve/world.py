"""A really started server in a thread, and a client that says exactly what it got."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import urllib3

from fusefs.serve.server import Server
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 1024
SHOWN_TIMEOUT = 30.0


@dataclass(frozen=True)
class Answer:
    """A response, read whole."""

    status: int
    headers: urllib3.HTTPHeaderDict
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[str, str]:
        """Code and message of the first error."""
        first = self.json()["errors"][0]
        return first["code"], first["message"]


class Client:
    """HTTP requests to one server, without retries or redirects, paths sent as they are written."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._pool = urllib3.HTTPConnectionPool(parts.hostname, parts.port, maxsize=64, timeout=SHOWN_TIMEOUT)

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        response = self._pool.urlopen(method, path, headers=sent, retries=False, redirect=False)
        return Answer(response.status, response.headers, response.data)

    def manifest(self, repository: str, reference: str = "latest") -> dict[str, Any]:
        answer = self.get(f"/v2/{repository}/manifests/{reference}")
        assert answer.status == 200, answer
        loaded = answer.json()
        assert isinstance(loaded, dict)
        return loaded

    def layers(self, repository: str) -> dict[str, tuple[str, int]]:
        """Digest and size by name."""
        return {layer["name"]: (layer["digest"], layer["size"]) for layer in self.manifest(repository)["layers"]}

    def tree(self, repository: str) -> dict[str, bytes]:
        """Every file of a model, fetched and proved."""
        files = {}
        for name, (digest, size) in self.layers(repository).items():
            answer = self.get(f"/v2/{repository}/blobs/{digest}")
            assert (answer.status, len(answer.body)) == (200, size)
            assert str(Digest.of(answer.body)) == digest
            files[name] = answer.body
        return files

    def close(self) -> None:
        self._pool.close()


@dataclass
class Running:
    """A server that answers."""

    server: Server
    client: Client
    thread: threading.Thread

    def raw(self, sent: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
        """A connection on which `sent` was sent."""
        sock = socket.create_connection(("127.0.0.1", self.port), SHOWN_TIMEOUT, (source, 0))
        sock.sendall(sent)
        return sock

    @property
    def port(self) -> int:
        return int(self.server.url.rsplit(":", 1)[1])

    def stop(self, within: float = SHOWN_TIMEOUT) -> None:
        self.server.stop()
        self.thread.join(within)
        assert not self.thread.is_alive(), f"the server did not stop within {within} s"


@contextmanager
def serving(
    directory: Path,
    index_dir: Path,
    host: str = "127.0.0.1",
    *,
    chunk_size: int = CHUNK,
    wait: bool = True,
    **options: Any,
) -> Iterator[Running]:
    """Serve `directory` on a free port; `options` are those of Server; `wait`: until all is hashed."""
    server = Server(directory, host, chunk_size=chunk_size, index_dir=index_dir, **options)
    failed: list[Exception] = []
    ready = threading.Event()

    def work() -> None:
        try:
            server.run(lambda _url: ready.set())
        except Exception as exc:
            failed.append(exc)
        finally:
            ready.set()

    thread = threading.Thread(target=work, name="server", daemon=True)
    thread.start()
    assert ready.wait(SHOWN_TIMEOUT)
    if failed:
        raise failed[0]
    assert not wait or server.wait_hashed(SHOWN_TIMEOUT)
    client = Client(server.url)
    try:
        running = Running(server, client, thread)
        yield running
    finally:
        client.close()
        running.stop()
    assert not failed, failed


def read_all(sock: socket.socket) -> bytes:
    """Everything until the other side ends the connection, or resets it."""
    got = bytearray()
    try:
        while piece := sock.recv(1 << 16):
            got += piece
    except ConnectionResetError:
        pass
    return bytes(got)


def write_tree(folder: Path, files: dict[str, bytes]) -> None:
    """Write files by relative name."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def noise(size: int, seed: object = 0) -> bytes:
    """`size` bytes that look random and are the same for the same seed."""
    return hashlib.shake_128(repr(seed).encode()).digest(size)


def write_store(root: Path, name: str, layers: dict[str, bytes], *, host: str = "registry.ollama.ai") -> Digest:
    """Write a model `namespace/model/tag` into an OLLAMA_MODELS directory; layers by media type.

    Returns:
        The manifest's digest.
    """
    blobs = root / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    listed = []
    for media_type, content in layers.items():
        digest = Digest.of(content)
        (blobs / digest.file_name).write_bytes(content)
        listed.append({"mediaType": media_type, "digest": str(digest), "size": len(content)})
    raw = json.dumps({"schemaVersion": 2, "layers": listed}).encode()
    link = root / "manifests" / host / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.write_bytes(raw)
    return Digest.of(raw)


def touch_later(path: Path) -> None:
    """Give `path` another mtime, however coarse the clock of its file system is."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
