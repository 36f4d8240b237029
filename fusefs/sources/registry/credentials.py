"""Credentials: what this machine has to show to one registry.

Two kinds: Ollama's ed25519 key (`~/.ollama/id_ed25519`), with which requests for a token are signed, and user and
password in a Docker configuration file.  Both are looked up for one host and are never handed to another.  What was
looked at without success is told, so that a refusal can name the cause and the file.

A file that others may read is no secret, and one that others may write is somebody else's: neither is used.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import stat
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fusefs.errors import InvalidSetting
from fusefs.net.secret import Secret
from fusefs.sources.registry.dockerconfig import entry_of
from fusefs.system.places import home

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

log = logging.getLogger(__name__)

_MAX_FILE = 1 << 20

_NOWHERE = Path("/nonexistent")
"""The home of who has none, by Debian's convention."""

_HOMELESS = "there is no Docker configuration: neither DOCKER_CONFIG nor HOME says where"


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

    def password_for(self, host: str) -> Password:
        """`Basic …` for exactly `host` (with its port, where it has one), or why there is none."""
        path = self.docker_config
        try:
            content, fault = _read(path)
            entry = entry_of(content, host)
        except FileNotFoundError:
            return Password(None, f"there is no {path}" if path.parent != _NOWHERE / ".docker" else _HOMELESS)
        except (OSError, ValueError, InvalidSetting) as exc:
            text = f"{path} cannot be read: {_kind(exc)}"
            if not _is_out_of_reach(path):
                self._complain(f"The Docker configuration {text}.")
            return Password(None, text)
        if not entry.pair:
            return Password(None, f"{path} {entry.lack}")
        if fault:  # only now: without a password in it anybody may read it
            self._complain(f"The Docker configuration {path} is not used: {fault}.")
            return Password(None, f"{path} is not used: {fault}")
        return Password(Secret("Basic " + base64.b64encode(entry.pair).decode()), f"{path} has a password for {host}")

    def signer(self) -> Signer | None:
        """The Ollama key, if this user has one that can be used."""
        return self._signer()[0]

    def key_trouble(self) -> str:
        """Why the Ollama key that is there is not used; empty when it is, or there is none."""
        return self._signer()[1]

    def _signer(self) -> tuple[Signer | None, str]:
        if self.ollama_key is None:
            return None, ""
        try:
            content, fault = _read(self.ollama_key)
            if fault:
                self._complain(f"The key {self.ollama_key} is not used: {fault}.")
                return None, f"{self.ollama_key} is not used: {fault}"
            key = _private_key(content)
        except FileNotFoundError:
            return None, ""
        except ModuleNotFoundError:
            text = f"{self.ollama_key} is not used; run: pip install 'fusefs[sign]'"
            self._complain(f"The key {text}.")
            return None, text
        except (OSError, ValueError, TypeError, InvalidSetting) as exc:
            if _is_out_of_reach(self.ollama_key):
                return None, ""
            self._complain(f"The key {self.ollama_key} cannot be read: {_kind(exc)}.")
            return None, f"{self.ollama_key} cannot be read: {_kind(exc)}"
        return (Signer(key), "") if key is not None else (None, f"{self.ollama_key} is no ed25519 key")

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


@dataclass(frozen=True, slots=True)
class Password:
    """What a Docker configuration has for one host.

    Attributes:
        secret: None when there is none, or none that may be used.
        text: what was found or is lacking; it names the file, and shows nothing secret.
    """

    secret: Secret | None
    text: str


def _private_key(content: bytes) -> Ed25519PrivateKey | None:
    """The key in an OpenSSH file; None when it is of another kind.

    Raises:
        ModuleNotFoundError: the extra `sign` is not installed, which only those need who have such a key.
        ValueError, TypeError: there is no key in it, or one that is locked.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    try:
        key = load_ssh_private_key(content, password=None)
    except UnsupportedAlgorithm as exc:
        raise ValueError(str(exc)) from exc
    return key if isinstance(key, Ed25519PrivateKey) else None


class Signer:
    """Signs requests for a token as Ollama's registry wants them (Ollama's `auth` package)."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def authorization(self, url: str) -> Secret:
        """`<public key>:<signature>` over `GET,<url>,<base64 of the hex sha256 of no body>`."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

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
            raise InvalidSetting("it is no file")
        data = file.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        raise InvalidSetting(f"it is larger than {_MAX_FILE} bytes")
    if found.st_uid not in (os.geteuid(), 0):
        return data, f"it belongs to another user ({found.st_uid})"
    if found.st_mode & 0o077:
        return data, f"others may read or write it (mode {stat.S_IMODE(found.st_mode):04o}); chmod 600 it"
    return data, ""


def _kind(exc: Exception) -> str:
    """What kind of failure; the text of a parser may show the content, that of our own does not."""
    if isinstance(exc, InvalidSetting):
        return str(exc)
    return exc.strerror if isinstance(exc, OSError) and exc.strerror else type(exc).__name__
