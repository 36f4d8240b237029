"""Whether a server of this machine speaks TLS."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from fusefs.net import tlsprobe
from fusefs.net.tlsprobe import speaks_tls
from tests.certificate import make_certificate
from tests.components import docker_registry, fusefs_serve, nginx
from tests.components import make_certificate as authority
from tests.faulty_registry import FaultyRegistry
from tests.marks import one_soon
from tests.reading import InThread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _asked(address: str) -> bool | None:
    host, _, port = address.rpartition(":")
    return speaks_tls(host, int(port))


def test_a_server_with_tls_is_known_whatever_its_certificate(tmp_path: Path) -> None:
    with FaultyRegistry(certificate=make_certificate(tmp_path)) as registry:
        assert _asked(registry.host) is True
    with nginx(tmp_path / "nginx", "location / { return 404; }", certificate=authority(tmp_path / "ca")) as address:
        assert _asked(address) is True


@pytest.mark.parametrize("server", one_soon(["docker-registry", "nginx", "fusefs", "python"]))
def test_a_server_without_tls_is_known(tmp_path: Path, server: str) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "file").write_bytes(b"x")
    worlds = {
        "nginx": lambda: nginx(tmp_path / "nginx", "location / { return 404; }"),
        "docker-registry": lambda: docker_registry(tmp_path / "registry"),
        "fusefs": lambda: fusefs_serve(tmp_path / "models"),
    }
    if server == "python":
        with FaultyRegistry() as registry:
            assert _asked(registry.host) is False
        return
    with worlds[server]() as address:
        assert _asked(address) is False


@contextmanager
def _listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_a_server_that_hangs_up_speaks_no_tls() -> None:
    with _listening() as listener:
        asked = InThread(lambda: speaks_tls(*listener.getsockname()))
        taken, _ = listener.accept()
        taken.recv(1)
        taken.close()  # with bytes unread, which is a reset
        assert asked.result() is False


def test_p6_a_server_that_is_silent_or_not_there_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tlsprobe, "_PATIENCE", 0.1)
    with _listening() as listener:
        assert speaks_tls(*listener.getsockname()) is None
        address = listener.getsockname()
    assert speaks_tls(*address) is None
