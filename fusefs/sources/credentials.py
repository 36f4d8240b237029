"""Credentials: what this machine has to show to one registry.

Two kinds: Ollama's ed25519 key (`~/.ollama/id_ed25519`), with which requests for a token are signed, and user and
password in a Docker configuration file.  Both are looked up for one host and are never handed to another.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

log = logging.getLogger(__name__)

_MAX_FILE = 1 << 20


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Where credentials lie.

    Attributes:
        ollama_key: an OpenSSH private key without a passphrase.
        docker_config: Docker's `config.json`.
    """

    ollama_key: Path
    docker_config: Path

    @classmethod
    def default(cls) -> KeyRing:
        """The places that Ollama and Docker use."""
        docker = os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker"
        return cls(Path.home() / ".ollama" / "id_ed25519", Path(docker) / "config.json")

    def basic_for(self, host: str) -> Secret | None:
        """`Basic …` for exactly `host` (with its port, where it has one), if the Docker configuration has one."""
        try:
            document = json.loads(_read(self.docker_config))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as exc:
            log.warning("The Docker configuration %s cannot be read: %s", self.docker_config, type(exc).__name__)
            return None
        entries = document.get("auths") if isinstance(document, dict) else None
        for key, entry in entries.items() if isinstance(entries, dict) else ():
            if _host_of(key) == host.lower() and isinstance(entry, dict):
                pair = _user_and_password(entry)
                return Secret("Basic " + base64.b64encode(pair.encode()).decode()) if pair else None
        return None

    def signer(self) -> Signer | None:
        """The Ollama key, if this user has one."""
        try:
            key = load_ssh_private_key(_read(self.ollama_key), password=None)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as exc:
            log.warning("The key %s cannot be read: %s", self.ollama_key, type(exc).__name__)
            return None
        return Signer(key) if isinstance(key, Ed25519PrivateKey) else None


@dataclass(frozen=True, slots=True)
class Secret:
    """The value of an Authorization header; its text never appears in a message or a log by accident."""

    value: str = field(repr=False)

    def __str__(self) -> str:
        return "<secret>"


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


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        raise ValueError("too large")
    return data


def _host_of(key: str) -> str:
    """Docker writes `host`, `host:port`, and sometimes `https://host/v1/`."""
    return key.lower().partition("://")[2 if "://" in key else 0].partition("/")[0]


def _user_and_password(entry: dict[str, Any]) -> str:
    auth, user, password = entry.get("auth"), entry.get("username"), entry.get("password")
    if isinstance(auth, str) and auth:
        try:
            return base64.b64decode(auth, validate=True).decode()
        except ValueError:
            return ""
    return f"{user}:{password}" if isinstance(user, str) and isinstance(password, str) else ""
