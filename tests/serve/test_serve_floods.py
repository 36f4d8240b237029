"""Floods of clients that do not read, do not finish a request, or do not ask: what they cost, and who is still served.

The server is a process of its own, so that its memory is its own.  Clients come from many addresses of 127.0.0.0/8.
"""

from __future__ import annotations

import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusefs.values.digest import Digest
from tests.patience import HANGS
from tests.serve.world import noise, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZE = 32 << 20
"""Bytes of the large file: far more than the kernel buffers for one connection."""
CONTENT = noise(SIZE, "floods")
BLOB = f"GET /v2/local/m/blobs/{Digest.of(CONTENT)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
SMALL = noise(200_000, "small")
ASK_SMALL = (
    f"GET /v2/local/m/blobs/{Digest.of(SMALL)} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
)
BODY = b"POST /v2/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n\r\n"
ROUNDS = 20
"""Requests of the healthy client under each flood."""

SLOWEST = 0.5 * HANGS
"""Seconds that a healthy request may take under a flood on a busy machine; it took a minute, or never ended."""

GROWTH = 250 << 20
"""Bytes of memory that any flood may cost: 300 clients that do not read cost 650 MiB, and 75 MiB of pieces now."""

MOUNTS = 24
"""Connections of the healthy client, as a mount has them."""


class Flooded:
    """A server process under attack."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def rss(self) -> int:
        """Bytes of memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1]) << 10

    def connect(self, source: str, sent: bytes = b"") -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), 30, (source, 0))
        with suppress(ConnectionError):  # refused already, which is what a flood may be
            sock.sendall(sent)
        return sock

    def healthy(self, source: str) -> float:
        """Seconds until the whole small file came, proved; a refusal is tried again, as every client of ours does."""
        begun = time.monotonic()
        while time.monotonic() - begun < HANGS:
            got = bytearray()
            try:
                with self.connect(source, ASK_SMALL) as sock:
                    while piece := sock.recv(1 << 20):
                        got += piece
            except ConnectionError:
                continue
            head, _, body = bytes(got).partition(b"\r\n\r\n")
            if b" 200 " in head.partition(b"\r\n")[0] and Digest.of(body) == Digest.of(SMALL):
                return time.monotonic() - begun
        pytest.fail("no answer within a minute")


@pytest.fixture
def flooded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flooded]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_tree(tmp_path / "models" / "m", {"large": CONTENT, "small": SMALL})
    # 1024 descriptors, soft and hard, as in many containers: 1,200 half requests took them all.
    command = ["sh", "-c", 'ulimit -n 1024; exec "$@"', "sh", sys.executable, "-m", "fusefs", "serve"]
    command += [str(tmp_path / "models"), "--listen", "127.0.0.1:0"]
    with descriptors(), subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            server = Flooded(process, int(process.stdout.readline().rsplit(":", 1)[1]))
            server.healthy("127.0.0.1")
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    assert process.returncode == 0


@contextmanager
def descriptors() -> Iterator[None]:
    """As many open files as this process may have: the attacker's sockets are ours."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def attack(
    flooded: Flooded, record: Callable[[str, object], None], clients: int, sent: bytes, sources: int, healthy: str
) -> None:
    """Open `clients` connections from `sources` addresses, send `sent` on each, and look after the others meanwhile."""
    before = flooded.rss()
    with ExitStack() as stack:
        for i in range(clients):
            stack.enter_context(flooded.connect(f"127.0.1.{1 + i % sources}", sent))
        took = [flooded.healthy(healthy) for _ in range(ROUNDS)]
        grown = flooded.rss() - before
    record("faults.rounds", ROUNDS)
    record("faults.injected", clients)
    record("faults.bytes_compared", ROUNDS * len(SMALL))
    record("faults.bytes_wrong", 0)  # else `healthy` had not returned
    record("faults.slowest_ms", round(max(took) * 1000))
    record("faults.grown_mib", grown >> 20)
    assert max(took) < SLOWEST
    assert grown < GROWTH


SLOW = pytest.mark.slow

FLOODS = [
    pytest.param(300, BLOB, 10, id="300 that do not read"),
    pytest.param(1200, BLOB, 30, id="1200 that do not read", marks=SLOW),
    pytest.param(1200, b"GET /v2/ HTTP/1.1\r\nHost: loc", 1, id="1200 half requests of one", marks=SLOW),
    pytest.param(1200, b"GET /v2/ HTTP/1.1\r\nHost: loc", 30, id="1200 half requests of many", marks=SLOW),
    pytest.param(1200, b"", 30, id="1200 that do not ask", marks=SLOW),
    pytest.param(1200, b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 30, id="1200 that ask once", marks=SLOW),
    pytest.param(600, b"GET / HTTP/1.1\r\nX: " + b"x" * 15_000, 30, id="600 with long headers", marks=SLOW),
    pytest.param(600, BODY, 30, id="600 bodies", marks=SLOW),
]


@pytest.mark.parametrize(("clients", "sent", "sources"), FLOODS)
def test_p10_a_flood_costs_little_memory_and_others_are_served(
    flooded: Flooded, record_property: Callable[[str, object], None], clients: int, sent: bytes, sources: int
) -> None:
    attack(flooded, record_property, clients, sent, sources, "127.0.0.1")


@pytest.mark.slow
@pytest.mark.parametrize("sent", [b"GET /v2/ HTTP/1.1\r\nHost: loc", b""])
def test_p10_even_the_address_that_the_flood_comes_from_is_served(
    flooded: Flooded, record_property: Callable[[str, object], None], sent: bytes
) -> None:
    """As with an attacker behind the same router, or a program on the same machine that runs wild."""
    attack(flooded, record_property, 1200, sent, 1, "127.0.1.1")


@pytest.mark.slow
def test_p10_a_mount_that_reads_is_not_pushed_out_by_a_flood(
    flooded: Flooded, record_property: Callable[[str, object], None]
) -> None:
    """Its connections are busy; those that do nothing make room for each other."""
    last = BLOB.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with ExitStack() as stack:
        mine = [stack.enter_context(flooded.connect("127.0.0.1", last)) for _ in range(MOUNTS)]
        got = [bytearray() for _ in mine]
        for i in range(1200):
            stack.enter_context(flooded.connect(f"127.0.1.{1 + i % 30}", b"GET / HT"))
            got[i % MOUNTS] += mine[i % MOUNTS].recv(1 << 18)
        for sock, answer in zip(mine, got, strict=True):
            while piece := sock.recv(1 << 20):
                answer += piece
            right = Digest.of(bytes(answer.partition(b"\r\n\r\n")[2])) == Digest.of(CONTENT)
            assert right, "a busy connection was cut"
    record_property("faults.rounds", MOUNTS)
    record_property("faults.injected", 1200)
    record_property("faults.bytes_compared", MOUNTS * SIZE)
    record_property("faults.bytes_wrong", 0)
