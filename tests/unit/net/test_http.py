"""Transport: connections, cancellation at every point, deadlines, proxies."""

from __future__ import annotations

import socket
import threading
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import pytest

from fusefs.errors import Cancelled, SourceError, StallTimeout, TransportError
from fusefs.net.secret import Secret
from fusefs.net.transport import Transport
from fusefs.net.url import Url
from fusefs.values.settings import Settings
from tests.certificate import make_certificate
from tests.faulty_registry import FaultyRegistry
from tests.loopback_server import LoopbackServer
from tests.reading import InThread
from tests.wire_faults import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

SETTINGS = Settings(timeout=20, stall=10)
PATIENT = 5.0


@pytest.fixture
def transport() -> Iterator[Transport]:
    with closing(Transport(SETTINGS)) as made:
        yield made


class Counting:
    """A server that says over which connection a request came, and gives `body`."""

    def __init__(self, body: bytes = b"body") -> None:
        self.body = body
        self.peers: list[object] = []
        self._server = LoopbackServer(self._handle)
        self.url = f"http://127.0.0.1:{self._server.port}/x"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.stop()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        self.peers.append(handler.client_address)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(self.body)))
        handler.end_headers()
        handler.wfile.write(self.body)


def test_a_body_that_was_read_gives_its_connection_back(transport: Transport) -> None:
    with Counting() as server:
        for _ in range(5):
            with closing(transport.get(server.url, {})) as response:
                assert response.read(100) == b"body"
        assert len(set(server.peers)) == 1


def test_a_body_that_was_not_read_drops_its_connection(transport: Transport) -> None:
    with Counting(b"x" * 200_000) as server:
        for _ in range(3):
            transport.get(server.url, {}).close()
        assert len(set(server.peers)) == 3


def test_a_discarded_short_body_keeps_its_connection(transport: Transport) -> None:
    with Counting() as server:
        for _ in range(3):
            transport.get(server.url, {}).discard()
        assert len(set(server.peers)) == 1


def _read(transport: Transport, url: str, limit: int = 100) -> bytes:
    with closing(transport.get(url, {})) as response:
        return response.read(limit)


def _cancel(transport: Transport, call: InThread[bytes], ready: threading.Event) -> None:
    assert ready.wait(PATIENT)
    transport.close()
    with pytest.raises(Cancelled):
        call.result(PATIENT)


def test_p11_closing_ends_a_wait_for_the_head(transport: Transport) -> None:
    with FaultyRegistry() as registry:
        registry.fault("silence-before")
        call = InThread(lambda: _read(transport, registry.url + "/x", 1))
        _cancel(transport, call, registry.silent)


@pytest.mark.parametrize("tls", [False, True])
def test_p11_closing_ends_a_wait_for_the_body(tls: bool, tmp_path: Path) -> None:
    with FaultyRegistry(certificate=make_certificate(tmp_path) if tls else None) as registry:
        registry.fault("silence-amid", at=1)
        transport = Transport(SETTINGS, insecure_host="127.0.0.1")
        call = InThread(lambda: _read(transport, registry.url + "/x", 1000))
        _cancel(transport, call, registry.silent)


def test_p11_closing_ends_a_tls_handshake() -> None:
    accepted = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        transport = Transport(SETTINGS)

        def accept() -> socket.socket:
            sock, _ = mute.accept()
            sock.recv(1)  # the client's hello has begun
            accepted.set()
            return sock

        server = InThread(accept)
        call = InThread(lambda: _read(transport, f"https://127.0.0.1:{mute.getsockname()[1]}/x", 1))
        _cancel(transport, call, accepted)
        server.result().close()


def test_p11_closing_ends_a_connect_that_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue of a listener that accepts nothing is full after a few connections; the next SYN gets no answer."""
    connecting = threading.Event()

    class Telling(socket.socket):
        def connect_ex(self, address: Any) -> int:
            connecting.set()
            return super().connect_ex(address)

    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        monkeypatch.setattr("fusefs.net.connection.socket.socket", Telling)
        transport = Transport(SETTINGS)
        call = InThread(lambda: _read(transport, f"http://127.0.0.1:{full.getsockname()[1]}/x", 1))
        _cancel(transport, call, connecting)
        for filler in fillers:
            filler.close()


def test_closing_one_response_leaves_the_others(transport: Transport) -> None:
    with FaultyRegistry() as registry:
        registry.fault("silence-amid", at=1)
        silent = transport.get(registry.url + "/x", {})
        call = InThread(lambda: silent.read(1000))
        assert registry.silent.wait(PATIENT)
        silent.close()
        with pytest.raises(Cancelled):
            call.result(PATIENT)
        assert b"NOT_FOUND" in _read(transport, registry.url + "/x")


def test_a_closed_transport_starts_nothing(transport: Transport) -> None:
    transport.close()
    transport.close()
    with pytest.raises(Cancelled), FaultyRegistry() as registry:
        transport.get(registry.url, {})


def test_p6_silence_before_the_head_is_a_stall() -> None:
    with FaultyRegistry() as registry, closing(Transport(Settings(timeout=20, stall=0.1))) as transport:
        registry.fault("silence-before")
        with pytest.raises(StallTimeout, match="stall time"):
            transport.get(registry.url, {})


def test_p6_a_trickling_head_ends_at_the_deadline() -> None:
    """Each byte of the head starts the socket's timeout anew, so only the deadline ends it."""
    stop = threading.Event()

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not stop.wait(0.02):
            handler.wfile.write(b"a")
            handler.wfile.flush()

    server = LoopbackServer(trickle)
    server.start()
    try:
        with (
            closing(Transport(Settings(timeout=0.3, stall=10))) as transport,
            pytest.raises(StallTimeout, match=r"no complete answer within 0\.3 s"),
        ):
            transport.get(f"http://127.0.0.1:{server.port}/", {})
    finally:
        stop.set()
        server.stop()


def test_a_refused_connection_is_temporary(transport: Transport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with pytest.raises(TransportError, match="Connection refused") as caught:
        transport.get(f"http://127.0.0.1:{port}/", {})
    assert caught.value.temporary
    assert str(caught.value) == f"127.0.0.1:{port}: Connection refused"


def test_an_unknown_host_is_temporary(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_args: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr("fusefs.net.connection.socket.getaddrinfo", nobody)
    with pytest.raises(TransportError, match="Temporary failure in name resolution"):
        transport.get("http://nowhere.invalid/", {})


@pytest.mark.parametrize("url", ["http://", "ftp://h/", "nothing", "http://h:port/", "https:///x"])
def test_what_is_no_url_is_refused(transport: Transport, url: str) -> None:
    with pytest.raises(SourceError) as caught:
        transport.get(url, {})
    assert not caught.value.temporary


def test_garbage_instead_of_http_is_temporary(transport: Transport) -> None:
    def garbage(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        handler.close_connection = True

    server = LoopbackServer(garbage)
    server.start()
    try:
        with pytest.raises(TransportError):
            transport.get(f"http://127.0.0.1:{server.port}/", {})
    finally:
        server.stop()


def test_p10_authorization_is_dropped_on_the_way_to_another_port(transport: Transport) -> None:
    with FaultyRegistry() as other, FaultyRegistry() as registry:
        registry.fault("redirect", to=other.url + "/x")
        transport.get(registry.url + "/x", {"X-Kept": "1"}, authorization=Secret("Bearer s")).discard()
        assert registry.requests[0].headers["authorization"] == "Bearer s"
        assert "authorization" not in other.requests[0].headers
        assert other.requests[0].headers["x-kept"] == "1"


def test_p10_authorization_comes_back_with_its_own_origin(transport: Transport) -> None:
    with FaultyRegistry() as other, FaultyRegistry() as registry:
        registry.fault("redirect", to=other.url + "/x")
        other.fault("redirect", to=registry.url + "/y")
        transport.get(registry.url + "/x", {}, authorization=Secret("Bearer s")).discard()
        assert registry.requests[1].headers["authorization"] == "Bearer s"


def test_a_proxy_of_the_environment_is_used(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyRegistry() as proxy:
        proxy.expect("http://registry.example/x", answer=Answer(200, b"through"))
        monkeypatch.setenv("http_proxy", f"http://user:pass%21@{proxy.host}")
        with closing(transport.get("http://registry.example/x", {})) as response:
            assert response.read(100) == b"through"
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic dXNlcjpwYXNzIQ=="


def test_proxies_are_looked_up_once_and_again_when_everything_is_looked_at_anew(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultyRegistry() as proxy, FaultyRegistry() as other:
        for one in (proxy, other):
            one.expect("http://registry.example/x", answer=Answer(200, b"through"))
        proxy.expect("http://registry.example/x", answer=Answer(200, b"through"))
        monkeypatch.setenv("http_proxy", f"http://{proxy.host}")
        assert _read(transport, "http://registry.example/x") == b"through"
        monkeypatch.setenv("http_proxy", f"http://{other.host}")
        assert _read(transport, "http://registry.example/x") == b"through"
        assert (len(proxy.requests), len(other.requests)) == (2, 0)
        transport.refresh()
        assert _read(transport, "http://registry.example/x") == b"through"
        assert len(other.requests) == 1


def test_no_proxy_and_loopback_go_directly(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "direct.example")
    real = socket.getaddrinfo

    def resolve(host: str, port: int, **options: int) -> object:
        return real("127.0.0.1" if host == "direct.example" else host, port, **options)

    monkeypatch.setattr("fusefs.net.connection.socket.getaddrinfo", resolve)
    with FaultyRegistry() as registry:
        port = registry.host.partition(":")[2]
        for url in (registry.url, f"http://direct.example:{port}"):
            assert b"NOT_FOUND" in _read(transport, url + "/x")


def test_a_connect_through_a_proxy_that_refuses_is_told(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    with Counting() as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.removesuffix("/x"))
        with pytest.raises(SourceError, match=r"^the proxy 127.*does not connect us to registry\.example \(501"):
            transport.get("https://registry.example/x", {})


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://h", "h"),
        ("https://H:443/x", "h"),
        ("http://h:8080/", "h:8080"),
        ("http://[::1]:5/", "[::1]:5"),
    ],
)
def test_an_origin_is_named_by_host_and_port(url: str, text: str) -> None:
    assert str(Url.parse(url).origin) == text


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("127.0.0.1", True), ("127.1.2.3", True), ("127.0.0.1.evil.example", False), ("h", False)],
)
def test_only_this_machine_is_loopback(host: str, loopback: bool) -> None:
    assert replace(Url.parse("http://h").origin, host=host).loopback is loopback
