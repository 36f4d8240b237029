"""Credentials: what this machine has to show to one registry.

Two kinds: Ollama's ed25519 key (`~/.ollama/id_ed25519`), with which requests for a token are signed, and user and
password in a Docker configuration file.  Both are looked up for one host and are never handed to another.

A file that others may read is no secret, and one that others may write is somebody else's: neither is used.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import stat
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

from fusefs.net.secret import Secret
from fusefs.system.places import home

log = logging.getLogger(__name__)

_MAX_FILE = 1 << 20

_NOWHERE = Path("/nonexistent")
"""The home of who has none, by Debian's convention."""


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Where credentials lie.

    Attributes:
        ollama_key: an OpenSSH private key without a passphrase; None where nothing is to be signed.
        docker_config: Docker's `config.json`.
    """

    ollama_key: Path | None
    docker_config: Path
    _said: _Said = field(default_factory=lambda: _Said(), repr=False, compare=False)

    @classmethod
    def default(cls) -> KeyRing:
        """The places that Ollama and Docker use."""
        own = home() or _NOWHERE
        docker = os.environ.get("DOCKER_CONFIG") or own / ".docker"
        return cls(own / ".ollama" / "id_ed25519", Path(docker) / "config.json")

    def passwords(self) -> KeyRing:
        """The same without the key, for a mirror: who it is that asks is the named registry's business."""
        return replace(self, ollama_key=None)

    def look_again(self) -> None:
        """What was complained about may have been put right; if not, it is said again."""
        self._said.forget()

    def basic_for(self, host: str) -> Secret | None:
        """`Basic …` for exactly `host` (with its port, where it has one), if the Docker configuration has one."""
        try:
            content, fault = _read(self.docker_config)
            document = json.loads(content)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as exc:
            if not _is_out_of_reach(self.docker_config):
                self._complain(f"The Docker configuration {self.docker_config} cannot be read: {_kind(exc)}.")
            return None
        entries = document.get("auths") if isinstance(document, dict) else None
        for key, entry in entries.items() if isinstance(entries, dict) else ():
            if _host_of(key) == host.lower() and isinstance(entry, dict):
                pair = _user_and_password(entry)
                if pair and fault:  # only now: without a password in it anybody may read it
                    self._complain(f"The Docker configuration {self.docker_config} is not used: {fault}.")
                    return None
                return Secret("Basic " + base64.b64encode(pair).decode()) if pair else None
        return None

    def signer(self) -> Signer | None:
        """The Ollama key, if this user has one."""
        if self.ollama_key is None:
            return None
        try:
            content, fault = _read(self.ollama_key)
            if fault:
                self._complain(f"The key {self.ollama_key} is not used: {fault}.")
                return None
            key = load_ssh_private_key(content, password=None)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as exc:
            if not _is_out_of_reach(self.ollama_key):
                self._complain(f"The key {self.ollama_key} cannot be read: {_kind(exc)}.")
            return None
        return Signer(key) if isinstance(key, Ed25519PrivateKey) else None

    def _complain(self, text: str) -> None:
        if self._said.first(text):
            log.warning("%s", text)


def _is_out_of_reach(path: Path) -> bool:
    """Whether this user may not even look into the folder: a container's HOME is often somebody else's."""
    try:
        path.parent.lstat()
        return not os.access(path.parent, os.X_OK)
    except OSError:
        return True


class _Said:
    """What has been said already, for all threads."""

    def __init__(self) -> None:
        self._texts: set[str] = set()
        self._lock = threading.Lock()

    def first(self, text: str) -> bool:
        with self._lock:
            known = text in self._texts
            self._texts.add(text)
            return not known

    def forget(self) -> None:
        with self._lock:
            self._texts.clear()


class Signer:
    """Signs requests for a token as Ollama's registry wants them (Ollama's `auth` package)."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def authorization(self, url: str) -> Secret:
        """`<public key>:<signature>` over `GET,<url>,<base64 of the hex sha256 of no body>`."""
        empty = base64.b64encode(hashlib.sha256(b"").hexdigest().encode()).decode()
        signature = base64.b64encode(self._key.sign(f"GET,{url},{empty}".encode())).decode()
        public = self._key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        return Secret(f"{public.split()[1].decode()}:{signature}")


def _read(path: Path) -> tuple[bytes, str]:
    """The content of a file, and why no secret in it must be used, if so.

    It is the open file that is looked at, not its name.  Links are followed: people keep such files elsewhere.
    """
    # Without O_NONBLOCK a FIFO would hold us until somebody writes to it.
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("not a file")
        data = file.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        raise ValueError("too large")
    if found.st_uid not in (os.geteuid(), 0):
        return data, f"it belongs to another user ({found.st_uid})"
    if found.st_mode & 0o077:
        return data, f"others may read or write it (mode {stat.S_IMODE(found.st_mode):04o}); chmod 600 it"
    return data, ""


def _kind(exc: Exception) -> str:
    """What kind of failure; the text of a parser may show the content."""
    return exc.strerror if isinstance(exc, OSError) and exc.strerror else type(exc).__name__


def _host_of(key: str) -> str:
    """Docker writes `host`, `host:port`, and sometimes `https://host/v1/`."""
    return key.lower().partition("://")[2 if "://" in key else 0].partition("/")[0]


def _user_and_password(entry: dict[str, Any]) -> bytes:
    auth, user, password = entry.get("auth"), entry.get("username"), entry.get("password")
    if isinstance(auth, str) and auth:
        try:
            pair = base64.b64decode(auth, validate=True)
            pair.decode()
        except ValueError:
            return b""
        return pair
    if not isinstance(user, str) or not isinstance(password, str):
        return b""
    try:
        return f"{user}:{password}".encode()
    except UnicodeEncodeError:  # JSON can write half a character
        return b""
