"""Credential helpers, each a real program: what they have counts, and what is wrong with them is one line."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from fusefs.net.secret import Secret
from fusefs.sources.registry import helpers
from fusefs.sources.registry.credentials import KeyRing

if TYPE_CHECKING:
    from pathlib import Path

BASIC = Secret("Basic " + base64.b64encode(b"u:hidden").decode())


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder at the front of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def _helper(folder: Path, script: str, name: str = "test") -> None:
    path = folder / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)


def _keys(tmp_path: Path, **more: object) -> KeyRing:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"credsStore": "test", **more}))
    path.chmod(0o600)
    return KeyRing(None, path)


def _says(user: str, secret: str) -> str:
    return f"""echo '{json.dumps({"ServerURL": "x", "Username": user, "Secret": secret})}'"""


def test_a_helper_is_asked_for_the_server_as_it_was_written(programs: Path, tmp_path: Path) -> None:
    _helper(programs, f'test "$1" = get && cat > {tmp_path}/asked && ' + _says("u", "hidden"))
    for host, asked in (("h:5", "h:5"), ("registry-1.docker.io", "https://index.docker.io/v1/")):
        found = _keys(tmp_path).password_for(host)
        assert found.secret == BASIC
        assert "docker-credential-test (credsStore in " in found.text
        assert (tmp_path / "asked").read_text() == asked


def test_the_helper_of_the_host_goes_before_the_store_and_both_before_the_file(programs: Path, tmp_path: Path) -> None:
    _helper(programs, _says("store", "p"))
    _helper(programs, _says("u", "hidden"), "own")
    auths = {"h": {"username": "file", "password": "p"}}
    assert _keys(tmp_path, credHelpers={"h": "own"}, auths=auths).password_for("h").secret == BASIC
    other = _keys(tmp_path, credHelpers={"h": "own"}, auths=auths).password_for("other").secret
    assert other == Secret("Basic " + base64.b64encode(b"store:p").decode())


def test_an_identity_token_of_a_helper_is_one(programs: Path, tmp_path: Path) -> None:
    _helper(programs, _says("<token>", "hidden"))
    found = _keys(tmp_path).password_for("h")
    assert (found.secret, found.identity) == (None, Secret("hidden"))


def test_a_helper_that_has_nothing_leaves_the_file(
    programs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _helper(programs, "echo credentials not found in native keychain; exit 1")
    assert "has no password for h" in _keys(tmp_path).password_for("h").text
    found = _keys(tmp_path, auths={"h": {"username": "u", "password": "hidden"}}).password_for("h")
    assert found.secret == BASIC
    assert caplog.messages == []


@pytest.mark.logs("No password for h")
@pytest.mark.parametrize(
    ("script", "says"),
    [
        (None, "docker-credential-test is not installed"),
        ("sleep 100", "docker-credential-test gave no answer in 0.3 s"),
        ("sleep 2 & exit 0", "does not answer with user and password in JSON"),
        ("echo rubbish; echo hidden", "does not answer with user and password in JSON"),
        ("echo '[]'", "does not answer with user and password in JSON"),
        ('echo \'{"Username": "u"}\'', "does not answer with user and password in JSON"),
        ("head -c 10485760 /dev/zero", "answers with more than 65536 bytes"),
        ("echo locked, log in first >&1; exit 3", "failed: locked, log in first"),
        ("exit 3", "failed: status 3"),
        ("kill -9 $$", "failed: status -9"),
    ],
)
def test_p6_a_helper_that_hangs_or_talks_is_one_line(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, says: str
) -> None:
    monkeypatch.setattr(helpers, "PATIENCE", 0.3 if "0.3" in says else 60.0)
    if script is not None:
        _helper(programs, script)
    keys = _keys(tmp_path)
    found = keys.password_for("h")
    assert not found.found
    assert says in found.text
    assert found.text.isprintable()
    assert "hidden" not in found.text
    assert found.text.endswith(f"(credsStore in {tmp_path}/config.json)")


@pytest.mark.logs("No password for h")
def test_p6_a_helper_that_failed_is_not_asked_for_each_token_again(programs: Path, tmp_path: Path) -> None:
    _helper(programs, f"echo x >> {tmp_path}/asked; exit 1")
    keys = _keys(tmp_path)
    for _ in range(3):
        keys.password_for("h")
    assert (tmp_path / "asked").read_text() == "x\n"
    keys.look_again()
    keys.password_for("h")
    assert (tmp_path / "asked").read_text() == "x\nx\n"


@pytest.mark.logs("is not used: others may read or write it")
@pytest.mark.parametrize(("mode", "started"), [(0o600, True), (0o644, True), (0o620, False), (0o602, False)])
def test_p10_who_may_not_be_believed_starts_no_program(
    programs: Path, tmp_path: Path, mode: int, started: bool
) -> None:
    _helper(programs, f"touch {tmp_path}/started; " + _says("u", "hidden"))
    keys = _keys(tmp_path)
    keys.docker_config.chmod(mode)
    assert keys.password_for("h").found is started
    assert (tmp_path / "started").exists() is started


# Several files


def test_podmans_files_are_looked_at_first_and_the_one_that_is_named_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("HOME", "home"), ("XDG_RUNTIME_DIR", "run"), ("DOCKER_CONFIG", "docker")):
        monkeypatch.setenv(name, str(tmp_path / value))
    for name in ("REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    files = ["named", "run/containers/auth.json", "home/.config/containers/auth.json", "docker/config.json"]
    for text in files:
        path = tmp_path / text
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"auths": {"h": {"username": text, "password": "p"}}}))
        path.chmod(0o600)

    def user() -> str:
        secret = KeyRing.default().password_for("h", "ns/repo").secret
        assert secret is not None
        return base64.b64decode(secret.value.partition(" ")[2]).decode().removesuffix(":p")

    for text in files[1:]:
        assert user() == text
        (tmp_path / text).unlink()
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "named"))
    assert user() == "named"
