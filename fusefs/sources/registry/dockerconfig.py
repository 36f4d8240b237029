"""Docker's `config.json`, and podman's `auth.json`, which is the same: what it has for one repository, or why nothing.

No I/O.  Keys are hosts, URLs of hosts, and in podman's file also `host/namespace/repository`, of which the longest that
fits counts.  Docker Hub has a key of its own, `https://index.docker.io/v1/`.
Sources: docker/cli, `docs/reference/commandline/login.md` and `cli/config/types/authconfig.go`;
containers-auth.json(5).
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, replace
from typing import Any

from fusefs.errors import InvalidSetting
from fusefs.values.names import HUB_HOSTS
from fusefs.values.printable import line_of

HUB_KEY = "https://index.docker.io/v1/"
"""Docker Hub, as Docker's files and helpers call it."""

IDENTITY_USER = "<token>"
"""The name of the user in a helper's answer whose password is an identity token."""

_MAX_NAME = 60
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
_VERSIONS = ("", "v1", "v2")


@dataclass(frozen=True, slots=True)
class Helper:
    """A program that keeps credentials, `docker-credential-<name>`.

    Attributes:
        name: one word, safe as a part of a program's name.
        where: the field of the file that names it.
    """

    name: str
    where: str


@dataclass(frozen=True, slots=True)
class Login:
    """What was found for one repository.

    Attributes:
        pair: `user:password`; empty when there is none.
        identity: a token with which tokens are asked for; empty when there is none.
        token: a token that the registry itself takes; empty when there is none.
        helpers: programs that are asked before any of these counts.
        lack: why there is none of the three, as what follows the file's name; empty when there is one.
    """

    pair: bytes = b""
    identity: str = ""
    token: str = ""
    helpers: tuple[Helper, ...] = ()
    lack: str = ""

    @property
    def found(self) -> bool:
        """Whether there is something to show."""
        return bool(self.pair or self.identity or self.token)


def entry_of(content: bytes, host: str, repository: str = "") -> Login:
    """The entry for a repository of `host` (with its port, where it has one).

    Raises:
        InvalidSetting: it is no such file; the message shows nothing of the content.
    """
    document = document_of(content)
    auths = document.get("auths")
    helpers, lack = _helpers(document, host)
    fitting = [
        (len(namespace), entry)
        for key, entry in (auths.items() if isinstance(auths, dict) else ())
        if (namespace := _namespace(key, host, repository)) is not None and isinstance(entry, dict)
    ]
    for _, entry in sorted(fitting, key=lambda found: -found[0]):
        login = _entry(entry, host)
        if login.found:
            return replace(login, helpers=helpers)
        lack = lack or login.lack
    return Login(helpers=helpers, lack=lack or f"has no password for {host}")


def host_of(key: str) -> str:
    """Docker writes `host`, `host:port`, and sometimes `https://host/v1/`."""
    return key.lower().partition("://")[2 if "://" in key else 0].partition("/")[0]


def key_of(host: str) -> str:
    """Under which key other programs look for the password of a host."""
    return HUB_KEY if host.lower() in HUB_HOSTS else host.lower()


def is_key_of(key: str, host: str) -> bool:
    """Whether a key stands for a host as a whole."""
    return _namespace(key, host, "") == ""


def document_of(content: bytes) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        InvalidSetting: there is none; the message shows nothing of the content.
    """
    try:
        document = json.loads(content)
    except json.JSONDecodeError as exc:
        raise InvalidSetting(f"it is no JSON (line {exc.lineno}, column {exc.colno})") from None
    except (ValueError, RecursionError):
        raise InvalidSetting("it is no JSON") from None
    if not isinstance(document, dict):
        raise InvalidSetting("it is no JSON object")
    return document


def _namespace(key: str, host: str, repository: str) -> str | None:
    """Which part of a host's repositories a key stands for, all for an empty text; None: not for `repository`."""
    if not _same(host_of(key), host.lower()):
        return None
    path = key.partition("://")[2 if "://" in key else 0].partition("/")[2].strip("/")
    if "://" in key or path in _VERSIONS:
        return ""
    return path if f"{repository}/".startswith(f"{path}/") else None


def _same(one: str, other: str) -> bool:
    return one == other or (one in HUB_HOSTS and other in HUB_HOSTS)


def _entry(entry: dict[str, Any], host: str) -> Login:
    """What an entry has, or why nothing; an empty one says that a helper has it."""
    auth, user, password = entry.get("auth"), entry.get("username"), entry.get("password")
    identity, token = entry.get("identitytoken"), entry.get("registrytoken")
    if isinstance(identity, str) and identity:
        return Login(identity=identity)
    if isinstance(token, str) and token:
        # It stands in a header as it is.
        return Login(token=token) if _TOKEN.fullmatch(token) else Login(lack=f"has a token for {host} that is none")
    if isinstance(auth, str) and auth:
        try:
            pair = base64.b64decode(auth, validate=True)
            text = pair.decode()
        except ValueError:
            pair, text = b"", ""
        if ":" not in text:
            return Login(lack=f"has an entry for {host} whose auth is no base64 of user:password")
        return login_of(*text.split(":", 1))
    if not isinstance(user, str) or not isinstance(password, str):
        return Login()
    try:
        return login_of(user, password)
    except UnicodeEncodeError:  # JSON can write half a character
        return Login(lack=f"has an entry for {host} that is no text")


def login_of(user: str, password: str) -> Login:
    """What a user and a password are.

    Raises:
        UnicodeEncodeError: no text.
    """
    pair = f"{user}:{password}".encode()
    return Login(identity=password) if user == IDENTITY_USER else Login(pair)


def _helpers(document: dict[str, Any], host: str) -> tuple[tuple[Helper, ...], str]:
    """The programs that may have the password, and what is wrong with the name of one."""
    by_host, store = document.get("credHelpers"), document.get("credsStore")
    own = [name for key, name in by_host.items() if is_key_of(key, host)] if isinstance(by_host, dict) else []
    found, lack = [], ""
    for name, where in (*((name, "credHelpers") for name in own[:1]), (store, "credsStore")):
        if not isinstance(name, str) or not name:
            continue
        if _HELPER.fullmatch(name):
            found.append(Helper(name, where))
        else:
            lack = f"names a credential helper {line_of(name, _MAX_NAME)!r} ({where}), which is no program's name"
    return tuple(found), lack
