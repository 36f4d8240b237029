"""Several challenges in one 401: read as RFC 9110 has them, and the best that we have something for is answered."""

from __future__ import annotations

import base64
import itertools
import json
from contextlib import closing
from typing import TYPE_CHECKING, Self

import pytest

from fusefs.errors import Unauthorized
from fusefs.sources.registry.challenges import Challenge, challenges_of
from fusefs.sources.registry.credentials import KeyRing
from fusefs.sources.registry.registry import RegistrySource
from fusefs.values.names import Name
from fusefs.values.settings import Settings
from tests.certificate import make_certificate
from tests.faulty_registry import FaultyRegistry
from tests.loopback_server import LoopbackServer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

SETTINGS = Settings(timeout=5, stall=2)
PASSWORD = "Basic " + base64.b64encode(b"user:hidden").decode()
BASIC = 'Basic realm="Registry, \\"5,000\\" things", charset="UTF-8"'
BEARER = 'Bearer realm="{url}/token",service="a, b",scope="repository:library/m:pull"'
OTHERS = ["Negotiate", "NTLM TlRMTVNTUAAB==", 'Digest qop="auth, auth-int", nonce="Bearer realm=x", opaque=abc']


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], []),
        ([""], []),
        ([" , ,, "], []),
        (["basic realm=x"], [Challenge("basic", "x")]),
        (["BASIC"], [Challenge("basic")]),
        (["Negotiate abc+/._~-=="], [Challenge("negotiate")]),
        (["Negotiate, Basic"], [Challenge("negotiate"), Challenge("basic")]),
        (["Basic", "Negotiate"], [Challenge("basic"), Challenge("negotiate")]),
        (["Negotiate YWJj==,Basic realm = x"], [Challenge("negotiate"), Challenge("basic", "x")]),
        (
            ['Bearer realm="https://a/t?x=1,2",service="s \\"q\\"", scope="one two"'],
            [Challenge("bearer", "https://a/t?x=1,2", 's "q"', ("one", "two"))],
        ),
        (['Bearer Realm="a" Service="b"'], [Challenge("bearer", "a", "b")]),
        (['Bearer realm="a", Basic realm="b"'], [Challenge("bearer", "a"), Challenge("basic", "b")]),
        (['Basic realm="b", Bearer realm="a"'], [Challenge("basic", "b"), Challenge("bearer", "a")]),
        (
            ['Digest realm="Basic realm=x, Bearer", Basic realm=y'],
            [Challenge("digest", "Basic realm=x, Bearer"), Challenge("basic", "y")],
        ),
        (['Bearer realm="first", realm="second"'], [Challenge("bearer", "first")]),
        (['realm="of nothing", Basic realm=x'], [Challenge("basic", "x")]),
        (["=, ;;, Basic realm=x"], [Challenge("basic", "x")]),
        (['Bearer realm="never ends, Basic realm=y', "Basic realm=x"], [Challenge("bearer"), Challenge("basic", "x")]),
    ],
)
def test_a_list_of_challenges_is_read(headers: list[str], found: list[Challenge]) -> None:
    assert challenges_of(headers) == found


def test_p10_so_many_challenges_are_read_and_no_more() -> None:
    assert len(challenges_of(["Basic, " * 1000] * 1000)) == 32
    assert challenges_of(["x" * 100_000]) in ([], [Challenge("x" * 8192)])


class Guarded:
    """A registry that asks for `wanted` in so many headers, and takes what is in `accepted`."""

    def __init__(self, wanted: Sequence[str], *, accepted: str, token_wants: str = "") -> None:
        self.accepted = accepted
        self.token_wants = token_wants
        self.shown: list[tuple[str, str]] = []
        self._server = LoopbackServer(self._handle)
        self.host = f"127.0.0.1:{self._server.port}"
        self.wanted = [text.replace("{url}", f"http://{self.host}") for text in wanted]

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        assert self._server.problems == []

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        given = handler.headers.get("Authorization", "")
        path = handler.path.partition("?")[0]
        self.shown.append((path, given))
        if path == "/token" and given == self.token_wants:
            self._send(handler, 200, b'{"token": "sesame"}')
        elif path != "/token" and given == self.accepted:
            self._send(handler, 200, b"{}")
        else:
            self._send(handler, 401, b"authentication required", self.wanted if path != "/token" else ())

    def _send(self, handler: BaseHTTPRequestHandler, status: int, body: bytes, wanted: Sequence[str] = ()) -> None:
        handler.send_response(status)
        for text in wanted:
            handler.send_header("WWW-Authenticate", text)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def ask(self, keys: KeyRing) -> bytes:
        with closing(RegistrySource("http", self.host, SETTINGS, keys=keys)) as source:
            return source.manifest(Name.parse(f"http://{self.host}/library/m"))


def _keys(folder: Path, host: str = "", **more: object) -> KeyRing:
    path = folder / "config.json"
    auths = {host: {"auth": base64.b64encode(b"user:hidden").decode()}} if host else {}
    path.write_text(json.dumps({"auths": auths, **more}))
    path.chmod(0o600)
    return KeyRing(None, path)


def _layouts(texts: Sequence[str]) -> list[list[str]]:
    """The same challenges in every order, in one header and in one each."""
    orders = list(itertools.permutations(texts))
    return [*map(list, orders), *([", ".join(order)] for order in orders)]


@pytest.mark.parametrize("other", OTHERS)
def test_a_password_is_shown_wherever_basic_stands(tmp_path: Path, other: str) -> None:
    for headers in _layouts([BASIC, other]):
        with Guarded(headers, accepted=PASSWORD) as registry:
            assert registry.ask(_keys(tmp_path, registry.host)) == b"{}", headers


def test_a_token_is_fetched_wherever_bearer_stands(tmp_path: Path) -> None:
    for headers in _layouts([OTHERS[2], BASIC, BEARER])[::3]:
        with Guarded(headers, accepted="Bearer sesame", token_wants=PASSWORD) as registry:
            assert registry.ask(_keys(tmp_path, registry.host)) == b"{}", headers
            assert PASSWORD not in [given for path, given in registry.shown if path != "/token"]


@pytest.mark.parametrize(
    "bearer",
    ['Bearer realm="/token"', "Bearer", 'Bearer realm="http://other.example/token"', 'Bearer realm="{url}/none"'],
)
def test_a_bearer_that_cannot_be_answered_leaves_the_password(tmp_path: Path, bearer: str) -> None:
    for headers in _layouts([bearer, BASIC]):
        with Guarded(headers, accepted=PASSWORD) as registry:
            assert registry.ask(_keys(tmp_path, registry.host)) == b"{}", headers


def test_a_token_that_does_not_do_leaves_the_password(tmp_path: Path) -> None:
    with Guarded([BEARER, BASIC], accepted=PASSWORD) as registry:
        assert registry.ask(_keys(tmp_path, registry.host)) == b"{}"
        assert [given for path, given in registry.shown if path != "/token"] == ["", "Bearer sesame", PASSWORD]


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        (["Negotiate", "NTLM"], "asks for Negotiate, Ntlm; fusefs can answer Bearer and Basic alone"),
        ([], "does not say what it asks for"),
        (['Bearer realm="/token"'], "the realm of its token service is not a strict http or https URL: '/token'"),
        (["Bearer"], "does not say where to get one"),
        (["Basic realm=x"], "asks for Basic: "),
    ],
)
def test_what_cannot_be_answered_is_named_with_the_host(tmp_path: Path, headers: list[str], says: str) -> None:
    with Guarded(headers, accepted=PASSWORD) as registry, pytest.raises(Unauthorized) as caught:
        registry.ask(_keys(tmp_path))
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{registry.host}: ")


def test_p10_a_registry_that_is_never_content_is_asked_a_few_times(tmp_path: Path) -> None:
    with Guarded([BEARER, BASIC, *OTHERS], accepted="never") as registry:
        with pytest.raises(Unauthorized, match="which it refuses") as caught:
            registry.ask(_keys(tmp_path, registry.host))
        assert len(registry.shown) <= 8
    assert "hidden" not in str(caught.value)
    assert PASSWORD.partition(" ")[2] not in str(caught.value)


# What is said of the files


def _refused(registry: Guarded, keys: KeyRing) -> str:
    with pytest.raises(Unauthorized) as caught:
        registry.ask(keys)
    assert "hidden" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("asked", [[BASIC], [BEARER]])
def test_a_wrong_password_is_called_that(tmp_path: Path, asked: list[str]) -> None:
    with Guarded(asked, accepted="other", token_wants="other") as registry:
        text = _refused(registry, _keys(tmp_path, registry.host))
    assert f"{tmp_path}/config.json has a password for {registry.host}, which it refuses" in text
    assert "status 401" in text


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({}, "has no password for {host}"),
        ({"auths": {"{host}": {"auth": "hidden"}}}, "auth is no base64 of user:password"),
        ({"auths": {"other": {"auth": "aGlkZGVuOmhpZGRlbg=="}}}, "has no password for {host}"),
    ],
)
@pytest.mark.parametrize("asked", [[BASIC], [BEARER]])
def test_what_a_configuration_has_in_the_place_of_a_password_is_said(
    tmp_path: Path, asked: list[str], more: dict[str, object], says: str
) -> None:
    with Guarded(asked, accepted="other", token_wants="other") as registry:
        document = json.loads(json.dumps(more).replace("{host}", registry.host))
        text = _refused(registry, _keys(tmp_path, **document))
    assert says.replace("{host}", registry.host) in text
    assert f"`fusefs login {registry.host}`" in text
    assert f"{tmp_path}/config.json " in text


@pytest.mark.logs("config.json")
def test_a_configuration_that_is_not_used_says_why(tmp_path: Path) -> None:
    with Guarded([BASIC], accepted=PASSWORD) as registry:
        keys = _keys(tmp_path, registry.host)
        keys.docker_config.chmod(0o644)
        assert "config.json is not used: others may read or write it (mode 0644); chmod 600 it" in _refused(
            registry, keys
        )
        keys.docker_config.write_text('{"auths": {\n "x": hidden}}')
        assert "config.json cannot be read: it is no JSON (line 2, column 7)" in _refused(registry, keys)
        keys.docker_config.unlink()
        assert f"there is no {tmp_path}/config.json" in _refused(registry, keys)


@pytest.mark.logs("is not used")
def test_a_key_that_is_not_used_says_why(tmp_path: Path) -> None:
    key = tmp_path / "id_ed25519"
    key.write_text("hidden")
    key.chmod(0o644)
    with Guarded([BEARER], accepted="other", token_wants="other") as registry:
        text = _refused(registry, KeyRing(key, tmp_path / "config.json"))
    assert text.endswith(f"; {key} is not used: others may read or write it (mode 0644); chmod 600 it")


def test_p10_a_password_is_not_shown_to_a_token_service_elsewhere_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
    with FaultyRegistry(token="anonymous", certificate=certificate) as service:
        with Guarded([f'Bearer realm="{service.url}/token"'], accepted="never") as registry:
            text = _refused(registry, _keys(tmp_path, registry.host))
        assert [request.headers.get("authorization") for request in service.requests] == [None]
    assert f"has a password for {registry.host}, which is not sent to a token service on another host" in text
    assert text.endswith(f"`fusefs login {registry.host} --token-service {service.host}`")
    assert [given for _, given in registry.shown] == ["", "Bearer anonymous"]
