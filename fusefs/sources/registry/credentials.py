"""Credentials: what this machine has to show to one registry.

Two kinds: Ollama's ed25519 key (`~/.ollama/id_ed25519`), with which requests for a token are signed, and the passwords
and tokens in the files of Docker and podman, or in the helpers that these name.  All are looked up for one host and are
never handed to another.  What was looked at without success is told, so that a refusal can name the cause and the file.

A file that others may read is no secret, and one that others may write is somebody else's: neither is used.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import stat
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fusefs.errors import InvalidSetting
from fusefs.net.secret import Secret
from fusefs.sources.registry import helpers
from fusefs.sources.registry.dockerconfig import Login, entry_of, key_of
from fusefs.system.places import home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

log = logging.getLogger(__name__)

_MAX_FILE = 1 << 20

_HELPER_RESTS = 60.0
"""Seconds for which a helper that failed is not asked again."""

_NOWHERE = Path("/nonexistent")
"""The home of who has none, by Debian's convention."""

_HOMELESS = "there is no Docker configuration: neither DOCKER_CONFIG nor HOME says where"


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Where credentials lie.

    Attributes:
        ollama_key: an OpenSSH private key without a passphrase; None where nothing is to be signed.
        docker_config: Docker's `config.json`.
        before: files of the same kind that are looked at before.
        anonymous: whether a token that everybody gets will do.
    """

    ollama_key: Path | None
    docker_config: Path
    before: tuple[Path, ...] = ()
    anonymous: bool = True
    _said: _Said = field(default_factory=lambda: _Said(), repr=False, compare=False)
    _failed: _Failed = field(default_factory=lambda: _Failed(), repr=False, compare=False)

    @classmethod
    def default(cls) -> KeyRing:
        """The places that Ollama, podman and Docker use."""
        own = home() or _NOWHERE
        docker = os.environ.get("DOCKER_CONFIG") or own / ".docker"
        return cls(own / ".ollama" / "id_ed25519", Path(docker) / "config.json", tuple(_podmans(own)))

    def passwords(self) -> KeyRing:
        """The same without the key, for a mirror: who it is that asks is the named registry's business."""
        return replace(self, ollama_key=None)

    def look_again(self) -> None:
        """What was complained about may have been put right; if not, it is said again."""
        self._said.forget()
        self._failed.forget()

    def password_for(self, host: str, repository: str = "") -> Password:
        """What there is for a repository of exactly `host` (with its port, where it has one), or why there is nothing.

        Blocking: a helper may be asked.
        """
        lacks = []
        for path in (*self.before, self.docker_config):
            try:
                content, fault = read_config(path)
                entry = entry_of(content, host, repository)
            except FileNotFoundError:
                continue
            except (OSError, ValueError, InvalidSetting) as exc:
                lacks.append(f"{path} cannot be read: {_kind(exc)}")
                if not _is_out_of_reach(path):
                    self._complain(f"The Docker configuration {lacks[-1]}.")
                continue
            found, lack = self._best(path, entry, host, fault)
            if found is not None:
                return found
            lacks.append(lack)
        if lacks:
            return Password(None, "; ".join(lacks))
        path = self.docker_config
        return Password(None, f"there is no {path}" if path.parent != _NOWHERE / ".docker" else _HOMELESS)

    def _best(self, path: Path, entry: Login, host: str, fault: Fault) -> tuple[Password | None, str]:
        """What one file has, or why nothing.  A helper is asked before the file counts, as Docker has it."""
        lack = f"{path} {entry.lack}" if entry.lack else ""
        for helper in entry.helpers:
            program = f"docker-credential-{helper.name} ({helper.where} in {path})"
            if fault.written:  # whoever may write there says which program we start
                self._complain(f"The Docker configuration {path} is not used: {fault}.")
                return None, f"{path} is not used: {fault}"
            try:
                found = self._failed.ask(helper.name, key_of(host))
            except InvalidSetting as exc:
                lack = f"{exc} ({helper.where} in {path})"
                self._complain(f"No password for {host}: {lack}.")
                continue
            if found is not None:
                return Password.of(found, f"{program} has a password for {host}"), ""
            lack = lack if entry.found else f"{program} has no password for {host}"
        if not entry.found:
            return None, lack
        if fault:  # only now: without a password in it anybody may read it
            self._complain(f"The Docker configuration {path} is not used: {fault}.")
            return None, f"{path} is not used: {fault}"
        what = "a password" if entry.pair else "a token"
        return Password.of(entry, f"{path} has {what} for {host}"), ""

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
            content, fault = read_config(self.ollama_key)
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


class _Failed:
    """Helpers that failed a moment ago, for all threads: one that hangs is not asked for each token again."""

    def __init__(self) -> None:
        self._failures: dict[tuple[str, str], tuple[float, str]] = {}
        self._lock = threading.Lock()

    def ask(self, name: str, server: str) -> Login | None:
        """As `helpers.ask`."""
        with self._lock:  # a helper may open a window, and two at once would be one too many
            until, text = self._failures.get((name, server), (0.0, ""))
            if time.monotonic() < until:
                raise InvalidSetting(text)
            try:
                return helpers.ask(name, server)
            except InvalidSetting as exc:
                self._failures[name, server] = time.monotonic() + _HELPER_RESTS, str(exc)
                raise

    def forget(self) -> None:
        with self._lock:
            self._failures.clear()


@dataclass(frozen=True, slots=True)
class Password:
    """What there is for one host; of the three at most one.

    Attributes:
        secret: `Basic …`; None when there is none, or none that may be used.
        text: what was found or is lacking; it names the file, and shows nothing secret.
        identity: a token with which tokens are asked for.
        bearer: `Bearer …`, a token that the registry itself takes.
    """

    secret: Secret | None
    text: str
    identity: Secret | None = None
    bearer: Secret | None = None

    @classmethod
    def of(cls, login: Login, text: str) -> Password:
        """The same as what is shown."""
        if login.identity:
            return cls(None, text, identity=Secret(login.identity))
        if login.token:
            return cls(None, text, bearer=Secret(f"Bearer {login.token}"))
        return cls(Secret("Basic " + base64.b64encode(login.pair).decode()), text)

    @property
    def found(self) -> bool:
        """Whether there is something to show."""
        return not (self.secret is self.identity is self.bearer is None)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why no secret in a file must be used; false where nothing is wrong.

    Attributes:
        text: of the reason.
        written: others may have written the file, so nothing in it must be believed.
    """

    text: str = ""
    written: bool = False

    def __bool__(self) -> bool:
        return bool(self.text)

    def __str__(self) -> str:
        return self.text


def _podmans(own: Path) -> Iterator[Path]:
    """Where podman looks before Docker's file; the one that is named takes the place of the others."""
    if named := os.environ.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
        return
    if (runtime := os.environ.get("XDG_RUNTIME_DIR", "")).startswith("/"):
        yield Path(runtime) / "containers" / "auth.json"
    config = os.environ.get("XDG_CONFIG_HOME", "")
    yield (Path(config) if config.startswith("/") else own / ".config") / "containers" / "auth.json"


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


def read_config(path: Path) -> tuple[bytes, Fault]:
    """The content of a file, and what is wrong with who may read and write it.

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
        return data, Fault(f"it belongs to another user ({found.st_uid})", written=True)
    if found.st_mode & 0o077:
        text = f"others may read or write it (mode {stat.S_IMODE(found.st_mode):04o}); chmod 600 it"
        return data, Fault(text, written=bool(found.st_mode & 0o022))
    return data, Fault()


def _kind(exc: Exception) -> str:
    """What kind of failure; the text of a parser may show the content, that of our own does not."""
    if isinstance(exc, InvalidSetting):
        return str(exc)
    return exc.strerror if isinstance(exc, OSError) and exc.strerror else type(exc).__name__
