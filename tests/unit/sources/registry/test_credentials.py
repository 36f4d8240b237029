"""Files of credentials: which are used, what is said of those that are not, and when they are read again."""

from __future__ import annotations

import base64
import json
import os
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fusefs.engine.pool import SourcePool
from fusefs.errors import StallTimeout, Unauthorized
from fusefs.net.secret import Secret
from fusefs.net.transport import Transport
from fusefs.net.url import Url
from fusefs.sources.registry.auth import Authenticator
from fusefs.sources.registry.credentials import KeyRing
from fusefs.sources.retry import Retrying
from fusefs.values.chunks import Chunk
from fusefs.values.counters import Counters
from fusefs.values.digest import Digest
from fusefs.values.settings import Settings
from tests.faulty_registry import FaultyRegistry
from tests.reading import InThread
from tests.wire_faults import Answer

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = Settings(timeout=5, stall=2)
SECRET = Secret("Basic " + base64.b64encode(b"user:hidden").decode())


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    key = tmp_path / "id_ed25519"
    key.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    key.chmod(0o600)
    return KeyRing(key, _config(tmp_path, "h"))


def _config(folder: Path, host: str, pair: bytes = b"user:hidden") -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({"auths": {host: {"auth": base64.b64encode(pair).decode()}}}))
    path.chmod(0o600)
    return path


def _both(keys: KeyRing) -> list[Path]:
    assert keys.ollama_key is not None
    return [keys.ollama_key, keys.docker_config]


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_what_only_its_owner_may_read_is_used(keys: KeyRing, mode: int) -> None:
    for path in _both(keys):
        path.chmod(mode)
    assert keys.password_for("h").secret == SECRET
    assert keys.signer() is not None


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o604, 0o602, 0o644, 0o660])
def test_p10_what_others_may_read_or_write_is_refused_and_said_once(
    keys: KeyRing, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    for path in _both(keys):
        path.chmod(mode)
    for _ in range(3):
        assert keys.password_for("h").secret is None
        assert keys.signer() is None
    assert len(caplog.messages) == 2
    assert all(f"(mode {mode:04o}); chmod 600 it" in message for message in caplog.messages)
    assert "hidden" not in caplog.text
    keys.look_again()
    assert keys.password_for("h").secret is None
    assert len(caplog.messages) == 3, "asked to look again, it is said again"


def test_a_docker_configuration_without_passwords_may_be_read_by_anybody(keys: KeyRing) -> None:
    keys.docker_config.write_text('{"auths": {"h": {}}}')
    keys.docker_config.chmod(0o644)
    assert keys.password_for("h").secret is None


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to give a file away")
def test_p10_a_file_of_another_user_is_refused(keys: KeyRing, caplog: pytest.LogCaptureFixture) -> None:
    for path in _both(keys):
        os.chown(path, 65534, 65534)
    assert keys.password_for("h").secret is None
    assert keys.signer() is None
    assert [message.rpartition(": ")[2] for message in caplog.messages] == ["it belongs to another user (65534)."] * 2


@pytest.mark.parametrize("kind", ["fifo", "folder", "device"])
def test_p6_what_is_no_file_holds_nobody(keys: KeyRing, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    for path in _both(keys):
        path.unlink()
        if kind == "fifo":
            os.mkfifo(path, 0o600)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to("/dev/zero")
    assert InThread(lambda: keys.password_for("h").secret).result() is None
    assert InThread(keys.signer).result() is None
    assert len(caplog.messages) == 2


def test_without_the_extra_that_signs_the_key_is_not_used_and_passwords_are(
    keys: KeyRing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    for _ in range(2):
        assert keys.signer() is None
        assert keys.password_for("h").secret == SECRET
    assert caplog.messages == [f"The key {keys.ollama_key} is not used; run: pip install 'fusefs[sign]'."]


def test_a_link_to_a_file_that_is_as_it_should_be_is_followed(keys: KeyRing, tmp_path: Path) -> None:
    keys.docker_config.rename(tmp_path / "elsewhere")
    keys.docker_config.symlink_to(tmp_path / "elsewhere")
    assert keys.password_for("h").secret == SECRET


@pytest.mark.parametrize(
    ("url", "shown"),
    [("https://h", True), ("http://127.0.0.1", True), ("http://localhost:5", True), ("http://h", False)],
)
def test_p10_nothing_is_shown_in_the_clear_but_to_this_machine(keys: KeyRing, url: str, shown: bool) -> None:
    origin = Url.parse(url).origin
    _config(keys.docker_config.parent, str(origin))
    with closing(Transport(SETTINGS)) as transport:
        auth = Authenticator(origin, transport, keys)
        assert auth.renew("library/m", ['Basic realm="x"'], None) is shown
        assert (auth.current("library/m") is not None) is shown


def test_p10_the_request_for_a_token_is_not_signed_in_the_clear(keys: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a proxy, so that the registry can be another machine."""
    with FaultyRegistry(token="t") as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        proxy.expect(
            "http://h/token?scope=repository%3Alibrary%2Fm%3Apull", answer=Answer(200, b'{"token": "anonymous"}')
        )
        _config(keys.docker_config.parent, "h")
        with closing(Transport(SETTINGS)) as transport:
            auth = Authenticator(Url.parse("http://h").origin, transport, keys)
            assert auth.renew("library/m", ['Bearer realm="http://h/token"'], None)
        assert "authorization" not in proxy.requests[0].headers


# The pool


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


def test_refresh_reads_a_changed_password(home: Path) -> None:
    with FaultyRegistry(basic="Basic " + base64.b64encode(b"u:old").decode()) as registry:
        model = registry.add_model("library/m:latest", {"model.gguf": b"data"})
        pool = SourcePool((), SETTINGS, Counters())
        with closing(pool):
            (source,) = pool.of(model.name)
            config = _config(home, registry.host, b"u:old")
            source.manifest(model.name)
            config.unlink()
            source.manifest(model.name)
            pool.refresh()
            with pytest.raises(Unauthorized):
                source.manifest(model.name)
            _config(home, registry.host, b"u:old")
            assert source.manifest(model.name) == model.manifest


@pytest.mark.logs("is blocked")
def test_refresh_asks_everybody_again(home: Path) -> None:
    with FaultyRegistry() as registry, FaultyRegistry() as mirror:
        model = registry.add_model("library/m:latest", {"model.gguf": b"data"})
        pool = SourcePool((), Settings(timeout=5, stall=0.1, mirrors=(mirror.url,)), Counters())
        with closing(pool):
            first, _ = pool.of(model.name)
            assert isinstance(first, Retrying)
            assert first.standing is not None
            first.standing.set_aside(Digest.of(b"x"), "wrong bytes")
            mirror.fault("silence-before")
            with pytest.raises(StallTimeout):
                first.manifest(model.name)
            states = {state.label: state for state in pool.states()}
            assert list(states) == [mirror.host, registry.host]
            assert (states[mirror.host].state, states[mirror.host].blobs_blocked) == ("resting", 1)
            assert "no byte came" in states[mirror.host].reason
            pool.refresh()
            assert [state.state for state in pool.states()] == ["ok", "ok"]


def test_p10_what_is_in_flight_is_told_without_secrets(home: Path) -> None:
    with FaultyRegistry() as storage, FaultyRegistry(storage=storage) as registry:
        model = registry.add_model("library/m:latest", {"model.gguf": b"x" * 100_000})
        blob = model.blobs["model.gguf"]
        storage.fault("silence-amid", at=70_000)
        pool = SourcePool((), SETTINGS, Counters())
        with closing(pool):
            (source,) = pool.of(model.name)
            assert pool.in_flight() == []
            body = source.open_range(model.name, blob, Chunk(0, blob.size - 1))
            assert body.readinto(memoryview(bytearray(1000))) == 1000
            (line,) = pool.in_flight()
            body.close()
            assert pool.in_flight() == []
        assert line.startswith(f"{storage.host}/signed/{blob.digest}: 1000 bytes in ")
        assert "signature" not in line
