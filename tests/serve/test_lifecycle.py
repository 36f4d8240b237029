"""Start, stop, and what is kept between two starts."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusefs.errors import FusefsError, InvalidSetting, ServeError
from fusefs.serve.server import Server
from fusefs.values.chunks import ChunkList
from fusefs.values.digest import Digest
from tests.patience import HANGS, eventually
from tests.serve.world import CHUNK, noise, serving, touch_later, write_tree

if TYPE_CHECKING:
    from tests.serve.world import Running

BIG = 48 << 20
"""Bytes: more than the kernel buffers between two processes, so that a sender must wait for a reader."""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_tree(tmp_path / "models" / "m", {"f": noise(10 * CHUNK + 1), "g": noise(3 * CHUNK, "g")})
    return tmp_path / "models"


def hashed(running: Running) -> int:
    return running.server.indexer.bytes_hashed


def test_a_second_start_hashes_nothing(models: Path, tmp_path: Path) -> None:
    with serving(models, tmp_path / "index") as running:
        assert hashed(running) == 13 * CHUNK + 1
        manifest = running.client.get("/v2/local/m/manifests/latest").body
        lists = [
            running.client.get(f"/v2/local/m/chunksums/{d}").body for d, _ in running.client.layers("local/m").values()
        ]
        assert hashed(running) == 13 * CHUNK + 1
    with serving(models, tmp_path / "index") as running:
        assert hashed(running) == 0
        assert running.client.get("/v2/local/m/manifests/latest").body == manifest
        assert lists == [
            running.client.get(f"/v2/local/m/chunksums/{d}").body for d, _ in running.client.layers("local/m").values()
        ]
        assert hashed(running) == 0


def test_only_what_changed_is_hashed_again(models: Path, tmp_path: Path) -> None:
    with serving(models, tmp_path / "index"):
        pass
    (models / "m" / "g").write_bytes(noise(CHUNK, "new"))
    touch_later(models / "m" / "g")
    with serving(models, tmp_path / "index") as running:
        assert hashed(running) == CHUNK
        assert running.client.tree("local/m")["g"] == noise(CHUNK, "new")


def test_another_chunk_size_is_another_list(models: Path, tmp_path: Path) -> None:
    for chunk_size in (CHUNK, 4 * CHUNK, CHUNK):
        with serving(models, tmp_path / "index", chunk_size=chunk_size) as running:
            digest, size = running.client.layers("local/m")["f"]
            chunks = ChunkList.parse(size, running.client.get(f"/v2/local/m/chunksums/{digest}").body)
            assert chunks[0].size == chunk_size


@pytest.mark.parametrize("damage", ["empty", "cut", "longer", "flipped", "head", "foreign"])
def test_kept_digests_that_are_torn_or_rotten_count_as_absent(models: Path, tmp_path: Path, damage: str) -> None:
    with serving(models, tmp_path / "index") as running:
        before = running.client.get("/v2/local/m/manifests/latest").body
    kept = list((tmp_path / "index").iterdir())
    assert len(kept) == 2
    for file in kept:
        raw = file.read_bytes()
        file.write_bytes(
            {
                "empty": b"",
                "cut": raw[:-1],
                "longer": raw + b"x",
                "flipped": raw[:-1] + bytes([raw[-1] ^ 1]),
                "head": raw.replace(b"fusefs-kept 2", b"fusefs-kept 1"),
                "foreign": b"\xff" * 100,
            }[damage]
        )
    with serving(models, tmp_path / "index") as running:
        assert hashed(running) == 13 * CHUNK + 1
        assert running.client.get("/v2/local/m/manifests/latest").body == before
    with serving(models, tmp_path / "index") as running:
        assert hashed(running) == 0


def test_without_a_place_for_digests_it_serves_and_warns_once(
    models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with serving(models, tmp_path / "file" / "index") as running:
        assert running.client.tree("local/m")["g"] == noise(3 * CHUNK, "g")
    assert [r.getMessage().split(" (")[0] for r in caplog.records if r.levelno >= logging.WARNING] == [
        f"Digests cannot be kept in {tmp_path / 'file' / 'index'}"
    ]


def test_progress_is_told_over_all_that_is_to_be_hashed(models: Path, tmp_path: Path) -> None:
    write_tree(tmp_path / "models" / "n", {"h": noise(7 * CHUNK)})
    told: list[tuple[str, int, int]] = []
    with serving(models, tmp_path / "index", progress=lambda *args: told.append(args)):
        pass
    # Who begins when the second model is not queued yet tells of the first alone.
    assert {size for _, _, size in told} <= {13 * CHUNK + 1, 20 * CHUNK + 1, 7 * CHUNK}
    assert {label for label, _, _ in told} == {"local/m", "local/n"}
    assert all(done <= size for _, done, size in told)
    assert max((done, size) for _, done, size in told)[0] == max(size for _, _, size in told)


def test_the_url_is_ready_when_it_is_told(models: Path, tmp_path: Path) -> None:
    with serving(models, tmp_path / "index") as running:
        port = int(running.server.url.rsplit(":", 1)[1])
        assert running.server.url == f"http://127.0.0.1:{port}"
        assert port != 0


def test_it_listens_at_an_ipv6_address_too(models: Path, tmp_path: Path) -> None:
    try:
        server = Server(models, "::1", index_dir=tmp_path / "index", chunk_size=CHUNK)
    except ServeError as exc:
        assert "cannot listen at ::1:0" in str(exc)  # noqa: PT017  # a machine without IPv6 says so in one line
        return
    urls: list[str] = []

    def ready(url: str) -> None:
        urls.append(url)
        server.stop()

    server.run(ready)
    assert urls[0].startswith("http://[::1]:")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: Server(root / "none"), "cannot serve .*none: No such file or directory"),
        (lambda root: Server(root / "models" / "m" / "f"), "cannot serve .*f: Not a directory"),
        (lambda root: Server(root / "models", "no-such-host.invalid", 0), "cannot listen at no-such-host.invalid:0: "),
        (lambda root: Server(root / "models", "192.0.2.1", 0), "cannot listen at 192.0.2.1:0: Cannot assign"),
        (lambda root: Server(root / "models", "127.0.0.1", 65536), "invalid port 65536"),
        (lambda root: Server(root / "models", "127.0.0.1", -1), "invalid port -1"),
        (lambda root: Server(root / "models", chunk_size=0), "invalid chunk size 0"),
    ],
)
def test_what_cannot_be_served_is_one_clear_line(models: Path, tmp_path: Path, make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(FusefsError, match=message) as caught:
        make(tmp_path)
    assert isinstance(caught.value, ServeError | InvalidSetting)
    assert "\n" not in str(caught.value)


def test_a_port_in_use_is_one_clear_line(models: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServeError, match=f"cannot listen at 127.0.0.1:{port}: Address already in use"):
            Server(models, port=port)


def test_p11_it_stops_in_seconds_though_a_client_does_not_read(tmp_path: Path) -> None:
    content = noise(BIG)
    write_tree(tmp_path / "models" / "m", {"f": content})
    with serving(tmp_path / "models", tmp_path / "index", chunk_size=1 << 20) as running:
        port = int(running.server.url.rsplit(":", 1)[1])
        idle = socket.create_connection(("127.0.0.1", port))
        stuck = socket.create_connection(("127.0.0.1", port))
        with idle, stuck:
            stuck.sendall(f"GET /v2/local/m/blobs/{Digest.of(content)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert stuck.recv(10) == b"HTTP/1.1 2"
            assert running.client.get("/v2/").status == 200
            running.stop()  # which fails when it takes long


def test_a_client_that_goes_away_frees_its_file(tmp_path: Path) -> None:
    content = noise(BIG)
    write_tree(tmp_path / "models" / "m", {"f": content})
    path = tmp_path / "models" / "m" / "f"
    with serving(tmp_path / "models", tmp_path / "index", chunk_size=1 << 20) as running:
        port = int(running.server.url.rsplit(":", 1)[1])
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(f"GET /v2/local/m/blobs/{Digest.of(content)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                assert sock.recv(10) == b"HTTP/1.1 2"
                assert path in open_files()
        eventually("the file of a reader that has gone is closed", lambda: path not in open_files())
        assert running.client.get("/v2/").status == 200


def open_files() -> set[Path]:
    found = set()
    for fd in Path("/proc/self/fd").iterdir():
        try:
            found.add(fd.readlink())
        except OSError:
            continue
    return found


@pytest.mark.logs("changed while it was sent")
def test_a_file_that_changes_while_it_is_sent_ends_the_answer_short(tmp_path: Path) -> None:
    content = noise(BIG)
    write_tree(tmp_path / "models" / "m", {"f": content})
    with serving(tmp_path / "models", tmp_path / "index", chunk_size=1 << 20) as running:
        port = int(running.server.url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(
                f"GET /v2/local/m/blobs/{Digest.of(content)} HTTP/1.1\r\n".encode()
                + b"Host: localhost\r\nConnection: close\r\n\r\n"
            )
            got = bytearray(sock.recv(1 << 16))
            with (tmp_path / "models" / "m" / "f").open("r+b") as file:
                file.seek(BIG // 2)
                file.write(b"changed!" * 1000)
            touch_later(tmp_path / "models" / "m" / "f")
            while piece := sock.recv(1 << 20):
                got += piece
        _, _, body = bytes(got).partition(b"\r\n\r\n")
        # Numbers alone in the asserts: pytest would spend minutes on showing how such long bytes differ.
        sent, right = len(body), content.startswith(body)
        assert sent < BIG
        assert right


TRICK = b"GET /v2/local/m/blobs/../../../../../../../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_nonsense_on_the_wire_is_answered_and_harms_nobody(models: Path, tmp_path: Path) -> None:
    with serving(models, tmp_path / "index") as running:
        port = int(running.server.url.rsplit(":", 1)[1])
        for raw in (
            b"\x16\x03\x01\x02\x00nonsense\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"A" * 100_000,
            TRICK,
        ):
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(raw)
                sock.shutdown(socket.SHUT_WR)
                answer = b""
                try:
                    while piece := sock.recv(65536):
                        answer += piece
                except ConnectionResetError:
                    pass
                assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
        assert running.client.tree("local/m")["g"] == noise(3 * CHUNK, "g")


def test_a_connection_is_kept_for_the_next_request(models: Path, tmp_path: Path) -> None:
    with serving(models, tmp_path / "index") as running:
        port = int(running.server.url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as sock, sock.makefile("rb") as answers:
            for _ in range(3):
                sock.sendall(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert answers.readline().startswith(b"HTTP/1.1 200")
                while answers.readline() != b"\r\n":
                    pass
                assert answers.read(2) == b"{}"


def test_a_connection_is_closed_after_the_answer_when_the_client_asks_for_it(models: Path, tmp_path: Path) -> None:
    content = noise(10 * CHUNK + 1)
    with serving(models, tmp_path / "index") as running:
        port = int(running.server.url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock, sock.makefile("rb") as answer:
            request = (
                f"GET /v2/local/m/blobs/{Digest.of(content)} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
            sock.sendall(request.encode())
            assert answer.read().endswith(b"\r\n\r\n" + content)


PROGRAM = """
import sys
from pathlib import Path
from fusefs.serve.server import Server
Server(Path(sys.argv[1]), index_dir=Path(sys.argv[2])).run(lambda url: print(url, flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_p11_a_signal_ends_it_with_status_0_and_nothing_said(models: Path, tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-c", PROGRAM, str(models), str(tmp_path / "index")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=os.getcwd()) as process:
        assert process.stdout is not None
        url = process.stdout.readline().decode()
        assert url.startswith("http://127.0.0.1:")
        with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1]))):
            process.send_signal(number)
            out, err = process.communicate(timeout=HANGS)
    assert (process.returncode, out, err) == (0, b"", b"")


def test_a_stop_before_it_runs_ends_it_before_it_serves(models: Path, tmp_path: Path) -> None:
    server = Server(models, index_dir=tmp_path / "index")
    server.stop()
    server.run(lambda _url: pytest.fail("it became ready"))
    assert server.indexer.bytes_hashed == 0
