"""Two parsers: text of a server that one parser takes for its own host and another for somebody else's.

Two real servers: the registry, which has our password and says where to go on, and a thief, who writes down what he is
sent.  Every text leads to the registry, to the thief without anything of ours, or to an error of ours; and the socket
was connected to what the checks had seen.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.errors import SourceError
from fusefs.net.connection import RawResponse
from fusefs.net.secret import Secret
from fusefs.net.transport import Transport
from fusefs.net.url import Url
from fusefs.sources.registry.auth import Authenticator
from fusefs.sources.registry.credentials import KeyRing, Password
from fusefs.values.settings import Settings
from tests.loopback_server import LoopbackServer
from tests.marks import one_soon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.server import BaseHTTPRequestHandler

SETTINGS = Settings(timeout=5, stall=2)
SECRET = Secret("Basic c2VjcmV0OnNlY3JldA==")


@dataclass
class Host:
    """A server that answers everything, and writes down who asked for what.

    Attributes:
        location: where it sends whoever asks for `/away`.
        seen: Host and Authorization of each request.
    """

    location: str = ""
    seen: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._server = LoopbackServer(self._handle)
        self.address = f"127.0.0.1:{self._server.port}"
        self._server.start()

    def close(self) -> None:
        self._server.stop()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        self.seen.append((handler.headers.get("Host", ""), handler.headers.get("Authorization", "")))
        if handler.path.endswith("/away"):
            head = "HTTP/1.1 307 Away\r\nContent-Length: 0\r\nLocation: "
            handler.wfile.write(f"{head}{self.location}\r\n\r\n".encode("latin-1", "replace"))
            return
        body = b'{"token": "t"}'
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    with ExitStack() as stack:
        yield stack.enter_context(closing(Host())), stack.enter_context(closing(Host()))


GLUE = ("\\@", "@", "\\", "#@", "?@", ";@", "%40", "%5c@", "/\\", "/@", "%00@", "%0d%0a@")
WHITE = ("\t@", " @", "\x0b@", "\x85@", "\xa0@")
SCHEMES = ("http://", "HTTP://", "http:", "http:/", "http:///", "http:\\\\", "//", "\\\\", "/\\", "https://", "")


def tricks(mine: str, thief: str) -> Iterator[str]:
    """Texts that have been read in two ways by some two parsers."""
    for between, scheme, swapped in itertools.product(GLUE + WHITE, SCHEMES, (False, True)):
        one, other = (thief, mine) if swapped else (mine, thief)
        yield f"{scheme}{one}{between}{other}/x"
    for odd in ("127.1", "0x7f000001", "2130706433", "127.0.0.1.", "①27.0.0.1", "127。0。0。1"):
        yield f"http://{odd}:{thief.partition(':')[2]}/x"


def follow(mine: Host, text: str) -> None:
    mine.location = text
    with closing(Transport(SETTINGS)) as transport, suppress(SourceError):
        transport.get(f"http://{mine.address}/away", {}, authorization=SECRET).discard()


class Passwords(KeyRing):
    """One password, for the registry alone: its file is called so."""

    def password_for(self, host: str, repository: str = "") -> Password:
        """As KeyRing."""
        return Password(SECRET if host == self.docker_config.name else None, "made for the test")


def authenticator(registry: str, transport: Transport) -> Authenticator:
    origin = Url.parse(registry).origin
    return Authenticator(origin, transport, Passwords(None, Path(str(origin))))


def ask_realm(mine: Host, text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    with closing(Transport(SETTINGS)) as transport, suppress(SourceError):
        authenticator(f"http://{mine.address}", transport).renew("m", [f'Bearer realm="{quoted}",service="x"'], None)


WAYS: dict[str, Callable[[Host, str], None]] = {"redirect": follow, "realm": ask_realm}


@pytest.mark.parametrize("way", one_soon(list(WAYS)))
def test_p10_no_text_sends_our_password_to_another_host(
    hosts: tuple[Host, Host], way: str, record_property: Callable[[str, object], None]
) -> None:
    mine, thief = hosts
    rounds = 0
    for text in tricks(mine.address, thief.address):
        thief.seen.clear()
        mine.seen.clear()
        WAYS[way](mine, text)
        rounds += 1
        assert not [seen for seen in thief.seen if seen[1]], f"{text!r} sent our password to a thief"
        for host, where in ((mine, "mine"), (thief, "thief")):
            assert all(named == host.address for named, _ in host.seen), f"{text!r}: {where} was asked as {host.seen}"
    record_property("faults.rounds", rounds)
    record_property("faults.injected", rounds)


@pytest.mark.parametrize("way", one_soon(list(WAYS)))
def test_p10_behind_a_proxy_no_text_gets_a_private_address_past_the_check(
    way: str, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """The proxy resolves names, so only what stands in the URL can be judged: by the parser that prints it."""
    rounds = 0
    with closing(Host()) as proxy:
        monkeypatch.setenv("http_proxy", f"http://{proxy.address}")
        monkeypatch.setattr("fusefs.net.proxies.is_direct", lambda _origin, _entries: False)
        for text in tricks("registry.example", "169.254.169.254"):
            proxy.location = text
            proxy.seen.clear()
            with closing(Transport(SETTINGS)) as transport, suppress(SourceError):
                if way == "redirect":
                    transport.get("http://registry.example/away", {}, authorization=SECRET).discard()
                else:
                    challenge = f'Bearer realm="{text}"'.replace("\\", "\\\\")
                    authenticator("http://registry.example", transport).renew("m", [challenge], None, public=True)
            rounds += 1
            assert not [seen for seen in proxy.seen if "169.254" in seen[0]], f"{text!r} is asked for at the proxy"
    record_property("faults.rounds", rounds)


PIECES = ["http:", "//", "/", "\\", "@", ":", "#", "?", "MINE", "THIEF", "%40", ".", "..", "x", "[", "]", "ü"]
HOSTILE = st.lists(st.sampled_from([*PIECES, " ", "\t"]), max_size=9).map("".join)


@given(HOSTILE)
def test_p10_the_socket_goes_where_the_parsed_value_says(hosts: tuple[Host, Host], text: str) -> None:
    mine, thief = hosts
    text = text.replace("MINE", mine.address).replace("THIEF", thief.address)
    thief.seen.clear()
    mine.seen.clear()
    base = Url.parse(f"http://{mine.address}/v2/away")
    try:
        wanted = base.join(text.encode("utf-8").decode("latin-1"))
    except SourceError:
        wanted = None
    mine.location = text.encode("utf-8").decode("latin-1")
    reached: list[Url] = []
    with (
        closing(Transport(SETTINGS)) as transport,
        suppress(SourceError),
        closing(transport.get(base, {}, authorization=SECRET)) as response,
    ):
        assert isinstance(response._raw, RawResponse)
        assert response._raw._sock.getpeername()[1] == response.url.origin.port
        reached.append(response.url)
    assert not [seen for seen in thief.seen if seen[1]]
    assert reached in ([], [wanted])
    if wanted is None:
        assert len(mine.seen) == 1
        assert not thief.seen
