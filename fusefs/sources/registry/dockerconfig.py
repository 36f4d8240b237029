"""Docker's `config.json`: which user and password it has for one host, or why none.

No I/O.  Where a password lies in a credential helper, or is an identity token, that is said: `docker login` reports
success in each of these cases, and a bare 401 would send its reader to look for a typing error.
Source: docker/cli, `docs/reference/commandline/login.md` and `cli/config/types/authconfig.go`.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from fusefs.errors import InvalidSetting
from fusefs.values.printable import line_of

_MAX_NAME = 60


@dataclass(frozen=True, slots=True)
class Login:
    """What was found for one host.

    Attributes:
        pair: `user:password`; empty when there is none.
        lack: why there is none, as what follows the file's name; empty when there is one.
    """

    pair: bytes = b""
    lack: str = ""


def entry_of(content: bytes, host: str) -> Login:
    """The entry for exactly `host` (with its port, where it has one).

    Raises:
        InvalidSetting: it is no such file; the message shows nothing of the content.
    """
    document = _document(content)
    auths = document.get("auths")
    lack = ""
    for key, entry in auths.items() if isinstance(auths, dict) else ():
        if host_of(key) == host.lower() and isinstance(entry, dict):
            pair, lack = _pair(entry, host)
            if pair:
                return Login(pair)
    return Login(lack=lack or _helper(document, host) or f"has no password for {host}")


def host_of(key: str) -> str:
    """Docker writes `host`, `host:port`, and sometimes `https://host/v1/`."""
    return key.lower().partition("://")[2 if "://" in key else 0].partition("/")[0]


def _document(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except json.JSONDecodeError as exc:
        raise InvalidSetting(f"it is no JSON (line {exc.lineno}, column {exc.colno})") from None
    except (ValueError, RecursionError):
        raise InvalidSetting("it is no JSON") from None
    if not isinstance(document, dict):
        raise InvalidSetting("it is no JSON object")
    return document


def _pair(entry: dict[str, Any], host: str) -> tuple[bytes, str]:
    """User and password of an entry, or why it has none; an empty entry says that a helper has them."""
    auth, user, password = entry.get("auth"), entry.get("username"), entry.get("password")
    for name, word in (("identitytoken", "an identity token"), ("registrytoken", "a registry token")):
        if entry.get(name):
            return b"", f"has {word} for {host} and no password; fusefs cannot use such a token yet"
    if isinstance(auth, str) and auth:
        try:
            pair = base64.b64decode(auth, validate=True)
            pair.decode()
        except ValueError:
            pair = b""
        return (
            (pair, "") if b":" in pair else (b"", f"has an entry for {host} whose auth is no base64 of user:password")
        )
    if not isinstance(user, str) or not isinstance(password, str):
        return b"", ""
    try:
        return f"{user}:{password}".encode(), ""
    except UnicodeEncodeError:  # JSON can write half a character
        return b"", f"has an entry for {host} that is no text"


def _helper(document: dict[str, Any], host: str) -> str:
    helpers, store = document.get("credHelpers"), document.get("credsStore")
    found = {host_of(key): name for key, name in helpers.items()} if isinstance(helpers, dict) else {}
    for name, where in ((found.get(host.lower()), "credHelpers"), (store, "credsStore")):
        if isinstance(name, str) and name:
            program = f"docker-credential-{line_of(name, _MAX_NAME)}"
            return f"leaves the password for {host} to {program} ({where}), which fusefs does not ask yet"
    return ""
