"""A client of HTTP/1.0, as proxies are: it knows no chunked bodies, and the end of the connection ends an answer."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.serve.world import serving

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kind", ["chunksums", "blobs"])
def test_an_answer_ends(tmp_path: Path, kind: str) -> None:
    model = tmp_path / "models" / "m"
    model.mkdir(parents=True)
    (model / "weights.bin").write_bytes(b"x" * 5000)
    with serving(tmp_path / "models", tmp_path / "index") as running:
        digest = running.client.get("/v2/local/m/manifests/latest").json()["layers"][0]["digest"]
        whole = running.client.get(f"/v2/local/m/{kind}/{digest}")
        assert int(whole.headers["Content-Length"]) == len(whole.body)
        where = urlsplit(running.client.url)
        with socket.create_connection((where.hostname, where.port), timeout=10) as sock:
            sock.sendall(f"GET /v2/local/m/{kind}/{digest} HTTP/1.0\r\n\r\n".encode())
            answer = b""
            while piece := sock.recv(1 << 16):
                answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0]
    assert body == whole.body
