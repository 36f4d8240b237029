"""Which proxy is asked for whom, and who is blamed when it fails."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING, Self

import pytest

from fusefs.errors import SourceError, TransportError, Unauthorized
from fusefs.net.proxies import is_direct, proxy_for
from fusefs.net.transport import Transport
from fusefs.net.url import Url
from fusefs.sources.registry.responses import check_status
from fusefs.values.settings import Settings
from tests.faulty_registry import FaultyRegistry
from tests.loopback_server import LoopbackServer
from tests.wire_faults import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler


@pytest.fixture(autouse=True)
def _no_proxy_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def transport() -> Iterator[Transport]:
    with closing(Transport(Settings(timeout=5, stall=2), named="registry.example")) as made:
        yield made


@pytest.mark.parametrize(
    ("no_proxy", "direct", "proxied"),
    [
        ("*", "a.example 10.1.2.3 [fd00::1]", ""),
        ("10.0.0.0/8", "10.77.0.1:5000 10.0.0.0", "11.0.0.1 10.example 10.0.0.1.example"),
        ("10.77.0.1/8", "10.1.1.1", "11.0.0.1"),
        ("fd00::/8", "[fd12::1]:5000", "[fe80::1] 253.0.0.1"),
        ("[fd00::]/8", "[fd12::1]", "[fe80::1]"),
        ("10.0.0.1", "10.0.0.1 10.0.0.1:81 [::ffff:10.0.0.1]", "10.0.0.10 110.0.0.1"),
        ("10.0.0.1:81", "10.0.0.1:81", "10.0.0.1"),
        ("fd00::1", "[fd00::1] [fd00:0::1]:81", "[fd00::2]"),
        ("[fd00::1]", "[fd00::1]", "[fd00::2]"),
        ("[fd00::1]:81", "[fd00::1]:81", "[fd00::1]"),
        ("example.org", "example.org a.b.EXAMPLE.org:5", "notexample.org example.org.evil"),
        (".example.org", "example.org a.example.org", "notexample.org"),
        ("*.example.org", "a.example.org a.b.example.org:5", "example.org notexample.org"),
        ("*.example.org:5", "a.example.org:5", "a.example.org"),
        ("Example.ORG:5", "example.org:5 a.example.org:5", "example.org"),
        ("https.example:443", "https://https.example", "https.example"),
        ("a.example, b.example c.example\t,d.example", "a.example b.example c.example d.example", "e.example"),
        ("0.1", "", "10.0.0.1"),
        ("", "", "a.example"),
        (" , ,", "", "a.example"),
        ("10.0.0.0/99, x/8, [, ::1::/3, a:b:c, .", "", "10.0.0.1 a.example [fd00::1]"),
    ],
)
def test_no_proxy_is_read_as_go_and_curl_read_it(no_proxy: str, direct: str, proxied: str) -> None:
    for hosts, right in ((direct, True), (proxied, False)):
        for host in hosts.split():
            url = host if "://" in host else f"http://{host}"
            assert is_direct(Url.parse(url).origin, no_proxy) is right, url


def test_the_variables_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, tls = Url.parse("http://registry.example").origin, Url.parse("https://registry.example").origin
    assert proxy_for(plain) is None
    monkeypatch.setenv("ALL_PROXY", "proxy.example:3128")
    assert str(proxy_for(plain)) == "the proxy proxy.example:3128 (all_proxy)"
    monkeypatch.setenv("HTTPS_PROXY", "https://user:pa%40ss@tls.example/")
    assert str(proxy_for(tls)) == "the proxy tls.example (https_proxy)"
    assert getattr(proxy_for(tls), "login", "") == "user:pa%40ss"
    assert "pa%40ss" not in repr(proxy_for(tls))
    monkeypatch.setenv("NO_PROXY", "*.other, .example")
    assert proxy_for(tls) is None
    monkeypatch.setenv("no_proxy", "elsewhere")
    assert proxy_for(tls) is not None
    for loopback in ("https://localhost:5000", "https://127.1.2.3", "https://[::1]:8081"):
        assert proxy_for(Url.parse(loopback).origin) is None


@pytest.mark.parametrize(
    "text", ["socks5://user:hidden@h:1", "http://", "http://user:hidden@h:99999", "http://h idden", "://x"]
)
def test_a_variable_that_names_no_proxy_is_named_without_its_text(
    transport: Transport, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("all_proxy", text)
    with pytest.raises(SourceError, match="the proxy that all_proxy names") as caught:
        transport.get("http://registry.example/x", {})
    assert "hidden" not in str(caught.value)
    assert "idden" not in str(caught.value)
    assert not caught.value.temporary


class Connect:
    """A proxy that answers each CONNECT with `status`."""

    def __init__(self, status: int) -> None:
        self._status = status
        self._server = LoopbackServer(lambda _handler: None)
        handler = self._server._server.RequestHandlerClass
        handler.do_CONNECT = lambda request: self._refuse(request)  # type: ignore[attr-defined]
        self.host = f"127.0.0.1:{self._server.port}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def _refuse(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(self._status)
        handler.send_header("Content-Length", "0")
        handler.end_headers()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy"])
def test_a_proxy_that_is_not_there_is_blamed(
    transport: Transport, monkeypatch: pytest.MonkeyPatch, scheme: str, variable: str
) -> None:
    variable = variable.replace("http", scheme)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv(variable, f"http://user:hidden@{where}")
        with pytest.raises(TransportError) as caught:
            transport.get(f"{scheme}://registry.example:5000/x", {})
    text = f"the proxy {where} ({variable}): Connection refused; it was to ask registry.example:5000"
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("status", "kind", "temporary"),
    [(407, Unauthorized, False), (403, SourceError, False), (501, SourceError, False), (502, TransportError, True)],
)
def test_a_proxy_that_does_not_connect_us_is_blamed(
    transport: Transport, monkeypatch: pytest.MonkeyPatch, status: int, kind: type[SourceError], temporary: bool
) -> None:
    with Connect(status) as proxy:
        monkeypatch.setenv("https_proxy", f"http://{proxy.host}")
        with pytest.raises(kind, match=rf"^the proxy {proxy.host} \(https_proxy\): .*\({status} ") as caught:
            transport.get("https://registry.example/x", {})
    assert caught.value.temporary is temporary


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (Answer(407, b"who are you"), Unauthorized, r"^the proxy {} \(http_proxy\): it wants a user"),
        (
            Answer(502, b"<html><title>Squid &amp; co</title>"),
            SourceError,
            r"HTML page, 'Squid & co' \(or so says the proxy {}",
        ),
    ],
)
def test_what_a_proxy_says_of_plain_http_names_the_proxy(
    transport: Transport, monkeypatch: pytest.MonkeyPatch, answer: Answer, kind: type[SourceError], said: str
) -> None:
    """The first is the proxy's for sure, the second may be the registry's."""
    with FaultyRegistry() as proxy:
        proxy.expect("http://registry.example/x", answer=answer)
        monkeypatch.setenv("http_proxy", proxy.url)
        response = transport.get("http://registry.example/x", {})
        with pytest.raises(kind, match=said.format(proxy.host)):
            check_status(response)


def test_a_network_in_no_proxy_is_asked_directly(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is this machine's: the transport connects to it itself, and the proxy hears nothing."""
    real = socket.socket.connect_ex
    reached: list[object] = []

    def connect(self: socket.socket, address: tuple[str, int]) -> int:
        reached.append(address[0])
        return real(self, ("127.0.0.1", address[1]))

    with FaultyRegistry() as proxy, FaultyRegistry() as registry:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "192.168.0.0/16, 10.0.0.0/8")
        monkeypatch.setattr(socket.socket, "connect_ex", connect)
        port = registry.host.partition(":")[2]
        transport.get(f"http://10.77.0.1:{port}/x", {}).discard()
        assert reached == ["10.77.0.1"]
        assert proxy.requests == []
        assert len(registry.requests) == 1
