"""A server answers to its own names alone, so that no page of somebody else's can read it through a browser."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING

import pytest

from fusefs.errors import InvalidSetting
from fusefs.serve.hosts import Hosts
from tests.serve.world import read_all, serving, write_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.serve.world import Running


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("hosts")
    write_tree(root / "models" / "m", {"f": b"x"})
    with serving(root / "models", root / "index", names=("models.example", "192.0.2.7")) as running:
        yield running


def answer(running: Running, request: str) -> tuple[int, bytes]:
    with running.raw(request.encode("latin-1")) as sock:
        sock.shutdown(socket.SHUT_WR)
        head, _, body = read_all(sock).partition(b"\r\n\r\n")
    return int(head.split()[1]), body


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST:80", "localhost.", "127.0.0.1", "127.0.0.1:9", "127.3.2.1", "[::1]", "[::1]:8080"),
        *("[::ffff:127.0.0.1]", "[0:0:0:0:0:0:0:1]", "models.example", "Models.Example:1", "192.0.2.7"),
    ],
)
def test_own_names_are_answered(running: Running, host: str) -> None:
    assert answer(running, f"GET /v2/ HTTP/1.1\r\nHost: {host}\r\n\r\n") == (200, b"{}")


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil-localhost", "models.example.evil"),
        *("10.1.2.3", "169.254.169.254", "[fe80::1]", "0.0.0.0", "2130706433", "0x7f.1", "127.1"),
        *(
            "user@localhost",
            "localhost:80@evil",
            "localhost/",
            "localhost:999999",
            "local host",
            "",
            "[::1",
            "::1",
            "\xe9",
        ),
    ],
)
def test_p10_a_foreign_host_is_refused_in_one_clear_line(running: Running, host: str) -> None:
    status, body = answer(running, f"GET /v2/local/m/manifests/latest HTTP/1.1\r\nHost: {host}\r\n\r\n")
    assert status in (421, 400)
    (error,) = json.loads(body)["errors"]
    assert error["message"].isprintable()
    if status == 421:
        assert error["code"] == "MISDIRECTED"
        assert "--host NAME" in error["message"]


@pytest.mark.parametrize(
    "hosts", ["", "Host: localhost\r\nHost: evil.example\r\n", "Host: localhost\r\nHost: localhost\r\n"]
)
def test_p10_no_host_or_several_are_refused(running: Running, hosts: str) -> None:
    status, body = answer(running, f"GET /v2/ HTTP/1.1\r\n{hosts}\r\n")
    assert (status, json.loads(body)["errors"][0]["code"]) == (400, "BAD_REQUEST")


def test_http10_needs_no_host_and_may_have_no_foreign_one(running: Running) -> None:
    """No browser speaks it."""
    assert answer(running, "GET /v2/ HTTP/1.0\r\n\r\n")[0] == 200
    assert answer(running, "GET /v2/ HTTP/1.0\r\nHost: evil.example\r\n\r\n")[0] == 421


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://localhost/v2/", "localhost", 200),
        ("HTTP://127.0.0.1:1/v2/?x", "localhost", 200),
        ("http://evil.example/v2/", "localhost", 421),
        ("http://localhost/v2/", "evil.example", 421),
        ("http://localhost@evil.example/v2/", "localhost", 421),
        ("http:///v2/", "localhost", 421),
        ("https://localhost/v2/", "localhost", 400),
        ("http://localhost", "localhost", 200),
        ("http://localhost?x", "localhost", 200),
        ("*", "localhost", 400),
        ("localhost:80", "localhost", 400),
        ("v2/", "localhost", 400),
    ],
)
def test_p10_an_absolute_target_is_checked_as_the_host_is(
    running: Running, target: str, host: str, status: int
) -> None:
    assert answer(running, f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")[0] == status


def test_p10_on_every_address_the_one_that_was_called_and_the_machines_own_name_are_answered(tmp_path: Path) -> None:
    write_tree(tmp_path / "models" / "m", {"f": b"x"})
    with serving(tmp_path / "models", tmp_path / "index", "0.0.0.0") as running:
        for host, status in (
            ("0.0.0.0", 200),
            (os.uname().nodename, 200),
            ("localhost", 200),
            ("10.1.2.3", 421),
            ("evil.example", 421),
        ):
            assert answer(running, f"GET /v2/ HTTP/1.1\r\nHost: {host}\r\n\r\n")[0] == status


def test_an_address_is_the_servers_when_the_connection_came_to_it() -> None:
    hosts = Hosts("::")
    assert hosts.allows("10.1.2.3:80", "10.1.2.3")
    assert hosts.allows("10.1.2.3", "::ffff:10.1.2.3")
    assert hosts.allows("[FE80:0::1]", "fe80::1%eth0")
    assert not hosts.allows("10.1.2.4", "10.1.2.3")
    assert not Hosts("127.0.0.1").allows("another.example", "127.0.0.1")


@pytest.mark.parametrize("name", ["", "a b", "http://x", "x:80", "x/y", "é", "x" * 300, "*"])
def test_a_name_that_is_none_is_one_clear_line(name: str) -> None:
    with pytest.raises(InvalidSetting, match=r"invalid host .*: want a name or an address"):
        Hosts("127.0.0.1", (name,))
