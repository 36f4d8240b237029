"""Where a public host may not send us: private addresses, whatever name they go by."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

import pytest

from fusefs.errors import PrivateAddress, SourceError
from fusefs.net.addresses import is_public, literal
from fusefs.net.transport import Transport
from fusefs.sources.registry.credentials import KeyRing
from fusefs.sources.registry.registry import RegistrySource
from fusefs.values.settings import Settings
from tests.faulty_registry import FaultyRegistry
from tests.reading import InThread, read_blob
from tests.wire_faults import Answer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

root_only = pytest.mark.skipif(os.getuid() != 0, reason="needs root to have a public address of its own")

PUBLIC = "1.1.1.1"
SETTINGS = Settings(timeout=5, stall=2)
ALLOWED = Settings(timeout=5, stall=2, allow_private=True)
_CLONE_NEWNET = 0x40000000


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::"]
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *("255.255.255.255", "240.0.0.1", "192.0.2.1", "::1", "::", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1"),
        *("::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1", "", "h"),
    ],
)
def test_p10_any_other_is_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("h", None),
        ("1.example", None),
        ("1.1.1.1 x", None),
    ],
)
def test_p10_an_address_is_known_in_whichever_way_it_is_written(host: str, address: str | None) -> None:
    assert literal(host) == address


def with_a_public_address(call: Callable[[], T]) -> T:
    """`call` in a thread whose network has nothing but the loopback device, with a public address on it."""

    def work() -> T:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)
        subprocess.run(["ip", "address", "add", f"{PUBLIC}/32", "dev", "lo"], check=True, timeout=10)
        return call()

    return InThread(work).result(20)


def fetched(settings: Settings, public: FaultyRegistry, target: str) -> bytes:
    """What a public server that redirects to `target` leads to."""
    public.fault("redirect", to=target)
    with (
        closing(Transport(settings)) as transport,
        closing(transport.get(public.url + "/x", {})) as response,
    ):
        return response.read(100)


@root_only
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "rebound.example"])
def test_p10_a_public_host_does_not_send_us_to_this_machine(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def resolve(host: str, port: int, **options: int) -> object:
        return real({"rebound.example": "127.0.0.1", "localhost": "127.0.0.1"}.get(host, host), port, **options)

    def work() -> None:
        with FaultyRegistry(address=PUBLIC) as public, FaultyRegistry() as private:
            with pytest.raises(PrivateAddress, match=r"private address .*127.*: refused; --allow-private allows it"):
                fetched(SETTINGS, public, f"http://{host}:{private.host.rpartition(':')[2]}/secret")
            assert not private.requests

    monkeypatch.setattr("fusefs.net.connection.socket.getaddrinfo", resolve)
    with_a_public_address(work)


@root_only
def test_who_allows_it_is_sent_there() -> None:
    def work() -> bytes:
        with FaultyRegistry(address=PUBLIC) as public, FaultyRegistry() as private:
            private.expect("/secret", answer=Answer(200, b"secret"))
            return fetched(ALLOWED, public, private.url + "/secret")

    assert with_a_public_address(work) == b"secret"


@root_only
def test_p10_a_connection_that_is_open_already_is_no_way_round_it() -> None:
    def work() -> None:
        with FaultyRegistry(address=PUBLIC) as public, FaultyRegistry() as private:
            public.fault("redirect", to=private.url + "/secret")
            with closing(Transport(SETTINGS)) as transport:
                transport.get(private.url + "/warm", {}).discard()
                with pytest.raises(PrivateAddress):
                    transport.get(public.url + "/x", {})
            assert private.paths() == ["/warm"]

    with_a_public_address(work)


@root_only
def test_p10_a_private_place_that_a_public_list_names_is_not_remembered(tmp_path: Path) -> None:
    keys = KeyRing(tmp_path / "none", tmp_path / "none")

    def work() -> None:
        with (
            FaultyRegistry() as private,
            FaultyRegistry(address=PUBLIC, storage=private, content_location="signed") as public,
        ):
            model = public.add_model("library/m:latest", {"model.gguf": b"data"})
            blob = model.blobs["model.gguf"]
            with closing(RegistrySource("http", public.host, SETTINGS, keys=keys)) as source:
                source.chunk_list(model.name, blob)
                with pytest.raises(PrivateAddress):
                    read_blob(source, model.name, blob)
            assert not private.requests
            with closing(RegistrySource("http", public.host, ALLOWED, keys=keys)) as source:
                source.chunk_list(model.name, blob)
                assert read_blob(source, model.name, blob) == b"data"

    with_a_public_address(work)


def test_a_private_registry_may_send_anywhere(tmp_path: Path) -> None:
    keys = KeyRing(tmp_path / "none", tmp_path / "none")
    with FaultyRegistry() as storage, FaultyRegistry(storage=storage) as registry:
        model = registry.add_model("library/m:latest", {"model.gguf": b"data"})
        with closing(RegistrySource("http", registry.host, SETTINGS, keys=keys)) as source:
            assert read_blob(source, model.name, model.blobs["model.gguf"]) == b"data"


@pytest.mark.parametrize("target", ["http://10.0.0.1/x", "http://[::ffff:10.0.0.1]/x", "http://[fc00::1]/x"])
def test_p10_through_a_proxy_addresses_in_urls_are_refused(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyRegistry() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        proxy.fault("redirect", to=target)
        with closing(Transport(SETTINGS)) as transport, pytest.raises(PrivateAddress):
            transport.get("http://registry.example/x", {})
        assert proxy.paths() == ["http://registry.example/x"]


def test_a_private_registry_behind_a_proxy_may_send_to_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyRegistry() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        proxy.fault("redirect", to="http://10.0.0.2/y")
        with closing(Transport(SETTINGS)) as transport:
            transport.get("http://10.0.0.1/x", {}).discard()
        assert proxy.paths() == ["http://10.0.0.1/x", "http://10.0.0.2/y"]


def test_a_refusal_is_final() -> None:
    assert not PrivateAddress("no", source="h").temporary
    assert issubclass(PrivateAddress, SourceError)
