"""Token exchange, passwords, and where none of it goes."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from fusefs.errors import SourceError, Unauthorized
from fusefs.net.secret import Secret
from fusefs.net.transport import Transport
from fusefs.net.url import Url
from fusefs.sources.registry.auth import Authenticator
from fusefs.sources.registry.credentials import KeyRing
from fusefs.sources.registry.registry import RegistrySource
from fusefs.values.settings import Settings
from tests.certificate import make_certificate
from tests.faulty_registry import FaultyRegistry
from tests.patience import HANGS
from tests.reading import InThread

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = Settings(timeout=5, stall=2)
REPOSITORY = "library/m"


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    return KeyRing(tmp_path / "id_ed25519", tmp_path / "config.json")


@pytest.fixture
def private_key(keys: KeyRing) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.generate()
    _private(keys.ollama_key, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return key


def _private(path: Path | None, content: bytes) -> None:
    """Write a file of credentials as it should be."""
    assert path is not None
    path.write_bytes(content)
    path.chmod(0o600)


def _password(keys: KeyRing, host: str) -> None:
    auth = base64.b64encode(b"user:password").decode()
    _private(keys.docker_config, json.dumps({"auths": {host: {"auth": auth}}}).encode())


def _manifest(registry: FaultyRegistry, keys: KeyRing, *, scheme: str = "http") -> None:
    model = registry.add_model("library/m:latest", {"model.gguf": b"data"})
    with closing(RegistrySource(scheme, registry.host, SETTINGS, keys=keys)) as source:
        assert source.manifest(model.name) == model.manifest


def test_an_anonymous_token_is_fetched_once(keys: KeyRing) -> None:
    with FaultyRegistry(token="sesame") as registry:
        model = registry.add_model("library/m:latest", {"model.gguf": b"data"})
        with closing(RegistrySource("http", registry.host, SETTINGS, keys=keys)) as source:
            for _ in range(3):
                source.manifest(model.name)
        kinds = [path.partition("?")[0].rpartition("/")[2] for path in registry.paths()]
        assert kinds == ["latest", "token", "latest", "latest", "latest"]
        query = parse_qs(urlsplit(registry.paths()[1]).query)
        assert query == {"service": ["faulty"], "scope": ["repository:library/m:pull"]}
        assert "authorization" not in registry.requests[1].headers


@pytest.mark.parametrize("field", ["token", "access_token"])
def test_both_names_of_a_token_are_known(keys: KeyRing, field: str) -> None:
    with FaultyRegistry(token="sesame", token_answer={field: "sesame", "expires_in": 300}) as registry:
        _manifest(registry, keys)


def test_the_request_for_a_token_is_signed(keys: KeyRing, private_key: Ed25519PrivateKey) -> None:
    with FaultyRegistry(token="sesame") as registry:
        _manifest(registry, keys)
        request = registry.requests[1]
        query = parse_qs(urlsplit(request.path).query)
        assert set(query) == {"nonce", "scope", "service", "ts"}
        nonce = query["nonce"][0]
        assert len(base64.urlsafe_b64decode(nonce + "=" * (-len(nonce) % 4))) == 16
        public, signature = request.headers["authorization"].split(":")
        openssh = private_key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        assert public == openssh.split()[1].decode()
        empty = base64.b64encode(hashlib.sha256(b"").hexdigest().encode()).decode()
        signed = f"GET,{registry.url}{request.path},{empty}"
        private_key.public_key().verify(base64.b64decode(signature), signed.encode())


def test_a_password_is_shown_to_the_token_service_of_its_own_host(keys: KeyRing) -> None:
    with FaultyRegistry(token="sesame") as registry:
        _password(keys, registry.host)
        _manifest(registry, keys)
        assert registry.requests[1].headers["authorization"] == "Basic dXNlcjpwYXNzd29yZA=="


def test_basic_is_answered_with_the_password(keys: KeyRing) -> None:
    with FaultyRegistry(basic="Basic dXNlcjpwYXNzd29yZA==") as registry:
        _password(keys, f"https://{registry.host}/v1/")
        _manifest(registry, keys)
        assert len(registry.requests) == 2


def test_p10_a_password_is_for_exactly_its_host(keys: KeyRing) -> None:
    with FaultyRegistry(basic="Basic dXNlcjpwYXNzd29yZA==") as registry:
        _password(keys, "127.0.0.1")
        with pytest.raises(Unauthorized):
            _manifest(registry, keys)
        assert not any("authorization" in request.headers for request in registry.requests)


def test_a_second_401_is_unauthorized(keys: KeyRing) -> None:
    with FaultyRegistry(token="sesame", token_answer={"token": "wrong"}) as registry:
        with pytest.raises(Unauthorized, match="status 401"):
            _manifest(registry, keys)
        assert len(registry.requests) == 3


def test_a_token_that_is_refused_is_renewed(keys: KeyRing) -> None:
    with FaultyRegistry(token="old") as registry:
        model = registry.add_model("library/m:latest", {"model.gguf": b"data"})
        with closing(RegistrySource("http", registry.host, SETTINGS, keys=keys)) as source:
            source.manifest(model.name)
            registry.token = "new"
            assert source.manifest(model.name) == model.manifest


@pytest.mark.parametrize(
    ("answer", "used"),
    [
        ({"token": "t"}, 48),
        ({"token": "t", "expires_in": 30}, 20),
        ({"token": "t", "expires_in": 300}, 240),
        ({"token": "t", "expires_in": 4}, 2),
        ({"token": "t", "expires_in": -1}, 48),
        ({"access_token": "t", "expires_in": 10**400}, 69_120),
    ],
)
def test_a_token_is_renewed_before_its_end_without_a_request_that_is_refused(
    keys: KeyRing, answer: dict[str, Any], used: int
) -> None:
    now = [1000.0]
    with FaultyRegistry(token="t", token_answer=answer) as registry, closing(Transport(SETTINGS)) as transport:
        auth = Authenticator(Url.parse(registry.url).origin, transport, keys, clock=lambda: now[0])
        header = f'Bearer realm="{registry.url}/token"'
        assert auth.renew(REPOSITORY, [header], None)
        now[0] += used - 1
        assert auth.current(REPOSITORY) == Secret("Bearer t")
        assert len(registry.requests) == 1
        now[0] += 2
        registry.token_answer = {"token": "new"}
        assert auth.current(REPOSITORY) == Secret("Bearer new")
        assert registry.paths() == ["/token?scope=repository%3Alibrary%2Fm%3Apull"] * 2
        assert auth.current("library/other") is None
        now[0] += 100
        registry.fault("status", "/token", status=500)
        assert auth.current(REPOSITORY) is None, "the registry's own answer tells what is wrong"


def test_many_who_find_a_token_at_its_end_cost_one_request(keys: KeyRing) -> None:
    now = [1000.0]
    with FaultyRegistry(token="t") as registry, closing(Transport(SETTINGS)) as transport:
        auth = Authenticator(Url.parse(registry.url).origin, transport, keys, clock=lambda: now[0])
        assert auth.renew(REPOSITORY, [f'Bearer realm="{registry.url}/token"'], None)
        now[0] += 100
        asked, go_on = threading.Event(), threading.Event()
        registry.fault("act", "/token", act=lambda: asked.set() or go_on.wait(HANGS))  # type: ignore[func-returns-value]
        waiting = [InThread(lambda: auth.current(REPOSITORY)) for _ in range(8)]
        assert asked.wait(HANGS)
        go_on.set()
        assert {thread.result() for thread in waiting} == {Secret("Bearer t")}
        assert len(registry.requests) == 2


def test_p6_a_clock_set_back_or_forward_by_a_year_changes_no_token_s_life(
    keys: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module is loaded anew, so that whatever it keeps of `time.time` is the clock that is set here."""
    offset, real = [0.0], time.time
    monkeypatch.setattr(time, "time", lambda: real() + offset[0])
    spec = importlib.util.find_spec("fusefs.sources.registry.auth")
    assert spec is not None
    assert spec.loader is not None
    anew = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(anew)
    with (
        FaultyRegistry(token="t", token_answer={"token": "t", "expires_in": 300}) as registry,
        closing(Transport(SETTINGS)) as transport,
    ):
        auth = anew.Authenticator(Url.parse(registry.url).origin, transport, keys)
        assert auth.renew(REPOSITORY, [f'Bearer realm="{registry.url}/token"'], None)
        for offset[0] in (366 * 86400.0, -366 * 86400.0):
            assert auth.current(REPOSITORY) == Secret("Bearer t")


def test_who_comes_later_takes_the_token_that_is_there(keys: KeyRing) -> None:
    with FaultyRegistry(token="t") as registry, closing(Transport(SETTINGS)) as transport:
        auth = Authenticator(Url.parse(registry.url).origin, transport, keys)
        header = f'Bearer realm="{registry.url}/token"'
        assert auth.renew(REPOSITORY, [header], None)
        assert auth.renew(REPOSITORY, [header], None)
        assert len(registry.requests) == 1


def test_p10_a_realm_elsewhere_in_the_clear_is_asked_without_a_name_and_by_a_plain_registry_alone(
    keys: KeyRing, private_key: Ed25519PrivateKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
    with FaultyRegistry(token="t") as thief:
        with FaultyRegistry(token="t", realm=f"{thief.url}/token", certificate=certificate) as registry:
            _password(keys, registry.host)
            with pytest.raises(Unauthorized, match="does not match"):
                _manifest(registry, keys, scheme="https")
            assert thief.requests == []
        with FaultyRegistry(token="t", realm=f"{thief.url}/token") as registry:
            _password(keys, registry.host)
            _manifest(registry, keys)
        assert "authorization" not in thief.requests[0].headers
        assert "nonce" not in thief.requests[0].path


@pytest.mark.parametrize("kind", ["password", "identity"])
def test_a_realm_elsewhere_is_shown_what_the_person_gave_for_exactly_it(keys: KeyRing, kind: str) -> None:
    with FaultyRegistry(token="t") as service, FaultyRegistry(token="t", realm=f"{service.url}/token") as registry:
        auth = base64.b64encode(b"user:password").decode()
        entry = {"auth": auth} if kind == "password" else {"identitytoken": "hidden"}
        other = {"auth": base64.b64encode(b"other:other").decode()}
        auths = {service.host: entry, registry.host: other}
        _private(keys.docker_config, json.dumps({"auths": auths}).encode())
        _manifest(registry, keys)
        (asked,) = service.requests
        if kind == "password":
            assert asked.headers["authorization"] == f"Basic {auth}"
        else:
            assert (asked.method, asked.path) == ("POST", "/token")
            assert parse_qs(asked.body.decode()) == {
                "grant_type": ["refresh_token"],
                "client_id": ["fusefs"],
                "service": ["faulty"],
                "scope": ["repository:library/m:pull"],
                "refresh_token": ["hidden"],
            }
            assert "authorization" not in asked.headers


def test_p10_a_realm_elsewhere_over_tls_is_asked_without_a_name(
    keys: KeyRing, private_key: Ed25519PrivateKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
    with FaultyRegistry(token="t", certificate=certificate) as service:
        with FaultyRegistry(token="t", realm=f"{service.url}/token") as registry:
            _password(keys, registry.host)
            _manifest(registry, keys)
        assert "authorization" not in service.requests[0].headers
        assert "nonce" not in service.requests[0].path


@pytest.mark.parametrize("answer", [{}, {"token": ""}, {"token": 7}, {"token": "a\r\nX-Evil: 1"}, {"token": "ä"}])
def test_p10_what_is_no_token_is_refused(keys: KeyRing, answer: dict[str, Any]) -> None:
    with (
        FaultyRegistry(token="t", token_answer=answer) as registry,
        pytest.raises(SourceError, match="gave no token"),
    ):
        _manifest(registry, keys)


def test_a_page_in_the_place_of_a_token_is_called_that(keys: KeyRing) -> None:
    with FaultyRegistry(token="t") as registry:
        registry.fault("replace-body", match="^/token", body=b"<!doctype html><title>Single sign-on</title>")
        with pytest.raises(SourceError, match=r"in place of a token .* an HTML page, 'Single sign-on'"):
            _manifest(registry, keys)


@pytest.mark.parametrize("realm", ["", "ftp://h/", "/token", "http://[", "http://h:port/"])
def test_p10_a_realm_that_is_no_url_is_refused(keys: KeyRing, realm: str) -> None:
    with closing(Transport(SETTINGS)) as transport:
        auth = Authenticator(Url.parse("https://registry.example").origin, transport, keys)
        with pytest.raises(SourceError):
            auth.renew(REPOSITORY, [f'Bearer realm="{realm}"'], None)


def test_p10_a_secret_does_not_show_itself() -> None:
    secret = Secret("Bearer hidden")
    assert "hidden" not in f"{secret} {secret!r} {[secret]}"


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"auths": 1}', '{"auths": {"h": {"auth": "!"}}}', '{"auths": {"h": 1}}']
)
def test_a_docker_configuration_that_makes_no_sense_has_no_password(
    keys: KeyRing, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    keys.docker_config.write_text(text)
    assert keys.password_for("h").secret is None


def test_a_docker_configuration_may_hold_user_and_password(keys: KeyRing) -> None:
    _private(keys.docker_config, b'{"auths": {"h:5": {"username": "user", "password": "password"}}}')
    assert keys.password_for("H:5").secret == Secret("Basic dXNlcjpwYXNzd29yZA==")


def test_a_key_that_cannot_be_read_is_no_key(keys: KeyRing, caplog: pytest.LogCaptureFixture) -> None:
    _private(keys.ollama_key, b"not a key")
    assert keys.signer() is None
    assert "cannot be read" in caplog.text
