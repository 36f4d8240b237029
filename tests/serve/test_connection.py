"""One client: what it may ask in which form, how long it may take, and what becomes of one that does not."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING

import pytest

from fusefs.serve.limits import ClientLimits
from fusefs.values.digest import Digest
from tests.patience import eventually
from tests.serve.test_lifecycle import open_files
from tests.serve.world import noise, read_all, serving, write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from tests.serve.world import Running

SIZE = 24 << 20
"""Bytes: more than the kernel buffers between two processes."""
CONTENT = noise(SIZE, "connection")
DIGEST = Digest.of(CONTENT)
ASK = b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
BLOB = f"GET /v2/local/m/blobs/{DIGEST} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
SOON = ClientLimits(head_time=0.3, idle_time=0.3, linger_time=0.3)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("connection") / "models"
    write_tree(root / "m", {"f": CONTENT})
    return root


def status_of(answer: bytes) -> int:
    return int(answer.split()[1])


def asked(running: Running) -> int:
    """The status of one request on a connection of its own."""
    with running.raw(ASK) as sock:
        return status_of(sock.recv(100))


@pytest.mark.parametrize("begun", [b"G", b"GET /v2/ HTTP/1.1\r\n", b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_p10_half_a_request_ends_in_time(models: Path, begun: bytes) -> None:
    with serving(models, models.parent / "index", chunk_size=1 << 20, limits=SOON) as running:
        with running.raw(begun) as sock:
            answer = read_all(sock)
        assert status_of(answer) == 408
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["errors"][0]["code"] == "TIMEOUT"


def test_p10_a_request_that_comes_byte_by_byte_ends_in_time(models: Path) -> None:
    """Progress does not help: the time is for all headers together."""
    limits = ClientLimits(head_time=1.0, linger_time=0.3)
    with serving(models, models.parent / "index", chunk_size=1 << 20, limits=limits) as running, running.raw() as sock:
        sock.settimeout(0.05)
        sent = 0

        def refused() -> bool:
            nonlocal sent
            try:
                sock.sendall(b"x")
                sent += 1
                sock.recv(1)  # the refusal, or the end
            except TimeoutError:
                return False
            except ConnectionError:
                pass
            return True

        eventually("refused", refused)
        assert sent > 1


def test_p10_a_connection_that_asks_nothing_ends_in_time_without_a_word(models: Path) -> None:
    with serving(models, models.parent / "index", chunk_size=1 << 20, limits=SOON) as running:
        with running.raw() as sock:
            assert read_all(sock) == b""
        with running.raw(ASK) as sock:
            answer = read_all(sock)
        assert (status_of(answer), answer.count(b"HTTP/1.1")) == (200, 1)


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 40_000,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 10_000,
    ],
)
def test_p10_headers_without_end_are_refused(models: Path, raw: bytes) -> None:
    with serving(models, models.parent / "index", chunk_size=1 << 20) as running:
        with running.raw() as sock:
            try:
                sock.sendall(raw)
            except ConnectionError:
                return  # refused before all of it was sent
            answer = read_all(sock)
        assert not answer or status_of(answer) == 431
        assert running.client.get("/v2/").status == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
        b"GET /v2/ HTTP/2.0\r\nHost: localhost\r\n\r\n",
        b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
    ],
)
def test_p10_what_is_not_plain_http11_is_refused(models: Path, raw: bytes) -> None:
    with serving(models, models.parent / "index", chunk_size=1 << 20) as running:
        with running.raw(raw) as sock:
            answer = read_all(sock)
        assert status_of(answer) in (400, 501)
        assert answer.startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize(
    "upgrade", ["h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", "websocket\r\nSec-WebSocket-Key: eA=="]
)
def test_p10_an_upgrade_is_answered_as_if_it_were_none(models: Path, upgrade: str) -> None:
    headers = f"Host: localhost\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: {upgrade}"
    request = f"GET /v2/ HTTP/1.1\r\n{headers}\r\n\r\n"
    with serving(models, models.parent / "index", chunk_size=1 << 20) as running:
        with running.raw(request.encode()) as sock:
            answer = read_all(sock)
        assert status_of(answer) == 200
        assert answer.endswith(b"\r\n\r\n{}")


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 1000000000000\r\n\r\n" + bytes(5000),
        b"Content-Length: 1000000000000\r\nExpect: 100-continue\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
def test_p10_the_body_of_a_request_is_not_waited_for(models: Path, body: bytes) -> None:
    with serving(models, models.parent / "index", chunk_size=1 << 20, limits=SOON) as running:
        for method, status in ((b"GET", 200), (b"POST", 405)):
            with running.raw(method + b" /v2/ HTTP/1.1\r\nHost: localhost\r\n" + body) as sock:
                answer = read_all(sock)
            assert status_of(answer) == status
            assert b"connection: close" in answer.lower()


def test_requests_that_come_together_are_answered_in_order(models: Path) -> None:
    range_request = BLOB.replace(b"\r\n\r\n", b"\r\nRange: bytes=5-9\r\n\r\n")
    last = ASK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with (
        serving(models, models.parent / "index", chunk_size=1 << 20) as running,
        running.raw(ASK + range_request + ASK + last) as sock,
    ):
        answers = read_all(sock).split(b"HTTP/1.1 ")[1:]
    assert [int(answer.split()[0]) for answer in answers] == [200, 206, 200, 200]
    assert answers[1].endswith(CONTENT[5:10])


def test_p10_a_client_that_does_not_take_its_answer_is_cut_off(models: Path) -> None:
    limits = ClientLimits(pace_time=0.5)
    with serving(models, models.parent / "index", chunk_size=1 << 20, limits=limits) as running:
        with running.raw(BLOB) as sock:
            sock.settimeout(30)
            assert sock.recv(1, socket.MSG_PEEK)
            eventually("its file is closed", lambda: models / "m" / "f" not in open_files())
            assert running.client.get("/v2/").status == 200
            body = read_all(sock).partition(b"\r\n\r\n")[2]
        assert len(body) < SIZE


@pytest.mark.slow
def test_a_slow_client_that_takes_enough_gets_all_of_its_answer(models: Path) -> None:
    """It waits ten times longer than the time in which a client must take something, but takes something in each."""
    limits = ClientLimits(pace_time=1.0, pace_bytes=64 << 10)
    part = 3 << 20
    request = BLOB.replace(b"\r\n\r\n", f"\r\nRange: bytes=0-{part - 1}\r\nConnection: close\r\n\r\n".encode())
    with serving(models, models.parent / "index", chunk_size=1 << 20, limits=limits) as running:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)  # so that it is slow to the server, too
            sock.settimeout(30)
            sock.connect(("127.0.0.1", running.port))
            sock.sendall(request)
            got, begun = bytearray(), time.monotonic()
            while piece := sock.recv(256 << 10):
                got += piece
                if len(got) < part:
                    time.sleep(
                        len(piece) / (768 << 10)
                    )  # the subject is a client that is slow: nothing else to wait for
            took = time.monotonic() - begun
        right = bytes(got).partition(b"\r\n\r\n")[2] == CONTENT[:part]
    assert right
    assert took > 2.0  # twice the time of a client that takes nothing


def test_p10_no_client_has_more_connections_than_its_share(models: Path) -> None:
    limits = ClientLimits(connections=40, per_client=10)
    with serving(models, models.parent / "index", chunk_size=1 << 20, limits=limits) as running:
        mine = [running.raw(BLOB) for _ in range(10)]
        try:
            for sock in mine:
                assert sock.recv(8) == b"HTTP/1.1"  # each is being answered, and none is slow yet
            with running.raw(ASK) as refused:
                assert status_of(read_all(refused)) == 503
            with running.raw(ASK, source="127.0.0.2") as other:
                assert status_of(other.recv(100)) == 200
            mine.pop().close()
            eventually("one more is answered", lambda: asked(running) == 200)
        finally:
            for sock in mine:
                sock.close()


@pytest.mark.parametrize("sent", [b"", b"GET ", ASK])
def test_p10_connections_that_ask_for_nothing_make_room(models: Path, sent: bytes) -> None:
    limits = ClientLimits(connections=40, per_client=10)
    with serving(models, models.parent / "index", chunk_size=1 << 20, limits=limits) as running:
        idle = [running.raw(sent, source=f"127.0.0.{2 + i % 6}") for i in range(100)]
        try:
            for source in ("127.0.0.2", "127.0.0.9"):
                with running.raw(ASK, source=source) as sock:
                    assert status_of(sock.recv(100)) == 200
        finally:
            for sock in idle:
                sock.close()


def test_p10_answers_that_nobody_takes_make_room_when_they_have_stalled(models: Path) -> None:
    limits = ClientLimits(connections=40, per_client=10, stalled_time=0.2)
    with serving(models, models.parent / "index", chunk_size=1 << 20, limits=limits) as running:
        stuck = [running.raw(BLOB) for _ in range(10)]
        try:
            for sock in stuck:
                assert sock.recv(8) == b"HTTP/1.1"
            eventually("one more is answered", lambda: asked(running) == 200)
        finally:
            for sock in stuck:
                sock.close()


def test_limits_fit_the_descriptors_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    for soft, connections, per_client in ((64, 16, 4), (1024, 496, 124), (1 << 20, 512, 128), (-1, 512, 128)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        found = ClientLimits().within_descriptors()
        assert (found.connections, found.per_client) == (connections, per_client)
