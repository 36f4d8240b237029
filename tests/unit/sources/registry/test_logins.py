"""What `login` writes, and what it leaves alone."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from fusefs.errors import CacheError, InvalidSetting, NotFound, Unauthorized
from fusefs.net.secret import Secret
from fusefs.sources.registry.credentials import KeyRing
from fusefs.sources.registry.logins import forget, keep, try_password
from fusefs.values.names import BaseUrl
from fusefs.values.settings import Settings
from tests.faulty_registry import FaultyRegistry

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = Settings(timeout=5, stall=2)
BASIC = "Basic dXNlcjpoaWRkZW4="


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "docker" / "config.json"


def _write(path: Path, text: str, mode: int = 0o600) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def test_a_new_file_is_private_and_is_read_back(path: Path) -> None:
    assert keep(path, "h:5", "user", "hidden") == str(path)
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.stat(path.parent).st_mode & 0o777 == 0o700
    assert KeyRing(None, path).password_for("h:5").secret == Secret(BASIC)
    assert [entry.name for entry in path.parent.iterdir()] == ["config.json"], "no leavings"


def test_docker_hub_is_kept_under_dockers_own_key(path: Path) -> None:
    keep(path, "docker.io", "user", "hidden")
    assert list(json.loads(path.read_text())["auths"]) == ["https://index.docker.io/v1/"]
    assert KeyRing(None, path).password_for("registry-1.docker.io", "ns/m").secret == Secret(BASIC)
    forget(path, "docker.io")
    assert json.loads(path.read_text()) == {"auths": {}}


def test_everything_else_in_the_file_stays_and_the_host_has_one_entry(path: Path) -> None:
    before = {
        "auths": {"https://h/v1/": {"auth": "x"}, "h/ns": {"auth": "namespace"}, "o": {"auth": "other"}},
        "credHelpers": {"gcr.io": "gcloud"},
        "proxies": {"default": {"httpProxy": "http://p"}},
        "psFormat": "\u00e9 \ud800",
    }
    _write(path, json.dumps(before), 0o644)
    keep(path, "h", "user", "hidden")
    after = json.loads(path.read_text())
    assert after["auths"] == {"h/ns": {"auth": "namespace"}, "o": {"auth": "other"}, "h": {"auth": "dXNlcjpoaWRkZW4="}}
    assert {key: after[key] for key in before if key != "auths"} == {k: v for k, v in before.items() if k != "auths"}
    assert os.stat(path).st_mode & 0o777 == 0o600
    forget(path, "h")
    assert list(json.loads(path.read_text())["auths"]) == ["h/ns", "o"]


def test_a_link_to_the_file_stays_one(path: Path, tmp_path: Path) -> None:
    _write(path, "{}")
    path.rename(tmp_path / "real.json")
    path.symlink_to(tmp_path / "real.json")
    keep(path, "h", "user", "hidden")
    assert path.is_symlink()
    assert "h" in json.loads((tmp_path / "real.json").read_text())["auths"]


@pytest.mark.parametrize("text", ["{", "[]", "hidden", '{"auths": []}', '{"auths": "hidden"}'])
def test_a_file_that_makes_no_sense_is_not_changed(path: Path, text: str) -> None:
    _write(path, text)
    with pytest.raises(InvalidSetting, match="is not changed") as caught:
        keep(path, "h", "user", "hidden")
    assert path.read_text() == text
    assert "hidden" not in str(caught.value)


def test_p10_a_file_that_others_may_write_is_not_used(path: Path) -> None:
    _write(path, "{}", 0o666)
    with pytest.raises(InvalidSetting, match="others may read or write it"):
        keep(path, "h", "user", "hidden")


def test_what_cannot_be_written_is_one_line(path: Path) -> None:
    path.parent.write_text("no folder")
    with pytest.raises(CacheError, match="cannot be"):
        keep(path, "h", "user", "hidden")


def test_who_is_not_logged_in_cannot_log_out(path: Path) -> None:
    with pytest.raises(NotFound, match="has no password for h"):
        forget(path, "h")
    _write(path, '{"auths": {"h/ns": {"auth": "x"}}}')
    with pytest.raises(NotFound, match="has no password for h"):
        forget(path, "h")


def test_the_helper_that_the_file_names_keeps_and_forgets(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "docker-credential-test"
    program.write_text(
        f"""#!/bin/sh
        echo "$1" >> {tmp_path}/verbs
        case "$1" in
            store) cat > {tmp_path}/kept ;;
            get) test -e {tmp_path}/kept && cat {tmp_path}/kept || {{ echo credentials not found; exit 1; }} ;;
            erase) rm {tmp_path}/kept ;;
        esac
        """
    )
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    text = json.dumps({"credsStore": "test"})
    _write(path, text)
    assert keep(path, "h", "user", "hidden") == "docker-credential-test"
    assert json.loads((tmp_path / "kept").read_text()) == {"ServerURL": "h", "Username": "user", "Secret": "hidden"}
    assert KeyRing(None, path).password_for("h").secret == Secret(BASIC)
    forget(path, "h")
    with pytest.raises(NotFound, match="docker-credential-test has no password for h"):
        forget(path, "h")
    assert path.read_text() == text, "the password is nowhere else"
    program.write_text("#!/bin/sh\necho the key store is locked; exit 1\n")
    with pytest.raises(InvalidSetting, match="docker-credential-test failed: the key store is locked"):
        keep(path, "h", "user", "hidden")


# Trying


@pytest.mark.parametrize(
    ("user", "password"), [("", "p"), ("u", ""), ("a:b", "p"), ("\ud800", "p"), ("u", "p" * 40_000)]
)
def test_what_is_no_user_and_password_is_asked_nobody(user: str, password: str) -> None:
    with pytest.raises(InvalidSetting):
        try_password(BaseUrl.parse("https://registry.invalid"), user, password, SETTINGS)


def test_a_registry_that_asks_for_nothing_has_no_opinion() -> None:
    with FaultyRegistry() as registry:
        assert try_password(BaseUrl.parse(registry.url), "user", "hidden", SETTINGS).asked is False


@pytest.mark.parametrize("asks", ["basic", "token"])
def test_a_password_is_right_when_the_registry_takes_it(asks: str) -> None:
    with FaultyRegistry(basic=BASIC if asks == "basic" else None, token="t" if asks == "token" else None) as registry:
        assert try_password(BaseUrl.parse(registry.url), "user", "hidden", SETTINGS).asked is True


def test_p10_a_wrong_password_is_not_right_because_everybody_gets_a_token() -> None:
    with FaultyRegistry(token="t") as registry:
        registry.fault("status", "^/token", status=401)
        with pytest.raises(Unauthorized) as caught:
            try_password(BaseUrl.parse(registry.url), "user", "hidden", SETTINGS)
        assert [request.headers.get("authorization") for request in registry.requests] == [None, BASIC]
        assert "hidden" not in str(caught.value)


def test_p10_no_password_is_tried_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyRegistry(basic=BASIC) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        with pytest.raises(Unauthorized, match="nothing secret is sent to h in the clear"):
            try_password(BaseUrl.parse("http://h"), "user", "hidden", SETTINGS)
        assert [request.headers.get("authorization") for request in proxy.requests] == [None]


# A token service on another host


@pytest.mark.parametrize("agrees", [True, False])
def test_p10_a_token_service_elsewhere_sees_nothing_before_the_person_agrees(agrees: bool) -> None:
    with FaultyRegistry(token="t") as service, FaultyRegistry(token="t", realm=f"{service.url}/token") as registry:
        service.fault("status", "^/token", status=401)
        elsewhere, questions = service.url.removeprefix("http://"), list[str]()

        def may_see(host: str) -> bool:
            assert not service.requests, "nobody has been asked"
            questions.append(host)
            return agrees

        with pytest.raises(Unauthorized):
            try_password(BaseUrl.parse(registry.url), "user", "hidden", SETTINGS, may_see=may_see)
        assert questions == [elsewhere]
        assert [request.headers.get("authorization") for request in service.requests] == ([BASIC] if agrees else [])
        assert not [request for request in registry.requests if request.headers.get("authorization")]
