"""What Docker's and podman's files have for one repository."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from fusefs.errors import InvalidSetting
from fusefs.sources.registry.dockerconfig import HUB_KEY, Helper, Login, entry_of, key_of


def _auth(user: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:p".encode()).decode()}


def _found(auths: dict[str, Any], host: str, repository: str = "", **more: Any) -> Login:
    return entry_of(json.dumps({"auths": auths, **more}).encode(), host, repository)


NAMESPACED = {"h": _auth("host"), "h/ns": _auth("ns"), "h/ns/repo": _auth("repo"), "h:5": _auth("port")}


@pytest.mark.parametrize(
    ("host", "repository", "user"),
    [
        ("h", "", "host"),
        ("h", "other/repo", "host"),
        ("h", "nsx", "host"),
        ("h", "ns", "ns"),
        ("h", "ns/other", "ns"),
        ("h", "ns/repository", "ns"),
        ("h", "ns/repo", "repo"),
        ("h", "ns/repo/deeper", "repo"),
        ("H", "ns/repo", "repo"),
        ("h:5", "ns/repo", "port"),
        ("x", "ns/repo", ""),
    ],
)
def test_the_longest_namespace_counts(host: str, repository: str, user: str) -> None:
    assert _found(NAMESPACED, host, repository).pair == (f"{user}:p".encode() if user else b"")


@pytest.mark.parametrize("key", ["h", "H", "https://h", "https://h/", "https://h/v1/", "http://h/x/y", "h/v1/", "h/v2"])
def test_a_host_has_many_keys(key: str) -> None:
    assert _found({key: _auth("u")}, "h", "any/repo").pair == b"u:p"


@pytest.mark.parametrize("host", ["docker.io", "registry-1.docker.io", "index.docker.io"])
@pytest.mark.parametrize("key", [HUB_KEY, "docker.io", "index.docker.io", "docker.io/ns", "registry-1.docker.io"])
def test_docker_hub_is_known_by_each_of_its_names(key: str, host: str) -> None:
    assert _found({key: _auth("u")}, host, "ns/repo").pair == b"u:p"
    assert key_of(host) == "https://index.docker.io/v1/"
    assert not _found({key: _auth("u")}, "auth.docker.io", "ns/repo").found


@pytest.mark.parametrize(
    ("entry", "login"),
    [
        ({"identitytoken": "i", "auth": "PHRva2VuPjo="}, Login(identity="i")),
        ({"auth": base64.b64encode(b"<token>:i").decode()}, Login(identity="i")),
        ({"username": "<token>", "password": "i"}, Login(identity="i")),
        ({"registrytoken": "r"}, Login(token="r")),
        ({"username": "u", "password": "a:b"}, Login(b"u:a:b")),
        ({"auth": "", "username": "u", "password": ""}, Login(b"u:")),
    ],
)
def test_an_entry_is_a_password_or_a_token(entry: dict[str, str], login: Login) -> None:
    assert _found({"h": entry}, "h") == login


def test_a_longer_key_without_anything_leaves_the_shorter_one() -> None:
    assert _found({"h/ns": {}, "h": _auth("u")}, "h", "ns/repo").pair == b"u:p"


def test_helpers_are_named_in_the_order_in_which_they_are_asked() -> None:
    found = _found({"h": _auth("u")}, "h", credsStore="desktop", credHelpers={"h": "ecr-login", "x": "gcloud"})
    assert found.helpers == (Helper("ecr-login", "credHelpers"), Helper("desktop", "credsStore"))
    assert found.pair == b"u:p"
    assert _found({}, "x", credHelpers={"h": "ecr-login"}).helpers == ()


@pytest.mark.parametrize("name", ["../evil", "/bin/sh", "a b", "-x", "", "x" * 65, "a\nb"])
def test_p10_a_helper_that_is_no_programs_name_is_not_started(name: str) -> None:
    found = _found({}, "h", credsStore=name)
    assert found.helpers == ()
    assert found.lack.isprintable()
    assert ("which is no program's name" in found.lack) is bool(name)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"auths": NaN, "x": hidden}'])
def test_p10_what_is_no_such_file_is_said_without_its_content(content: bytes) -> None:
    with pytest.raises(InvalidSetting, match="it is no JSON") as caught:
        entry_of(content, "h")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "odd", [1, None, [], "x", {"auth": 1}, {"auth": "!"}, {"identitytoken": 7}, {"registrytoken": "a\r\nX: y"}]
)
def test_p10_entries_of_other_kinds_are_none(odd: object) -> None:
    login = entry_of(json.dumps({"auths": {"h": odd}, "credHelpers": odd, "credsStore": [odd]}).encode(), "h")
    assert not login.found
    assert login.lack
