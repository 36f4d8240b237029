"""Logins: a password is tried at its registry, and kept where other programs look for it: in Docker's `config.json`.

Whatever else is in the file stays.  Where it names a credential helper for the host, that keeps the password, as with
`docker login`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusefs.errors import CacheError, InvalidSetting, NotFound, Unauthorized
from fusefs.sources.registry import helpers
from fusefs.sources.registry.credentials import KeyRing, Password, read_config
from fusefs.sources.registry.dockerconfig import Helper, document_of, entry_of, is_key_of, key_of, login_of
from fusefs.sources.registry.registry import RegistrySource
from fusefs.sources.registry.responses import check_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.values.names import BaseUrl
    from fusefs.values.settings import Settings

_MOST = 32 << 10
"""Bytes of a user and a password: a pipe to a helper takes them at once."""


@dataclass(frozen=True, slots=True)
class _Given(KeyRing):
    """The one password that is tried, for the registry and for the token service that the person names.

    Attributes:
        hosts: keys of those that may see it.
        asked: who was about to see it, and did.
        kept_from: who was about to see it, and did not.
    """

    hosts: frozenset[str] = frozenset()
    password: Password = field(default_factory=lambda: Password(None, ""))
    asked: list[str] = field(default_factory=list)
    kept_from: list[str] = field(default_factory=list)

    def password_for(self, host: str, repository: str = "") -> Password:
        """See KeyRing."""
        if key_of(host) not in self.hosts:
            self.kept_from.append(host)
            return Password(None, f"no password for {host} was given")
        self.asked.append(f"{host}/{repository}")
        return self.password


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a password.

    Attributes:
        asked: it was asked for: a registry that lets everybody in has no opinion.
        hosts: those that it is for: the registry, and the token service on another host.
    """

    asked: bool
    hosts: tuple[str, ...]


def _nobody(_host: str) -> bool:
    return False


def try_password(
    host: BaseUrl,
    user: str,
    password: str,
    settings: Settings,
    *,
    service: str = "",
    may_see: Callable[[str], bool] = _nobody,
) -> Tried:
    """Ask a registry whether it takes a password.  Blocking.

    Args:
        host: the registry.
        user: who.
        password: of the user.
        settings: timeouts.
        service: a token service on another host that may see the password, too.
        may_see: without a `service`, asked whether the one that the registry names may; nothing was sent there yet.

    Raises:
        InvalidSetting: no text, or too much of it.
        Unauthorized: it does not.
        SourceError: it cannot be asked.
    """
    try:
        login = login_of(user, password)
    except UnicodeEncodeError:
        raise InvalidSetting("user and password must be text") from None
    if ":" in user or not user or not password or len(user) + len(password) > _MOST:
        raise InvalidSetting("want a user without a colon, and a password")
    given = Password.of(login, "the password that was given")
    hosts = tuple(name for name in (host.host, service) if name)
    shown = frozenset(key_of(name) for name in hosts)
    keys = _Given(None, Path("/nonexistent"), anonymous=False, hosts=shown, password=given)
    try:
        with closing(RegistrySource(host.scheme, host.host, settings, keys=keys)) as registry:
            response = registry.ask("", "/v2/", {})
            try:
                check_status(response, wanted=(200, 404))  # a registry on a plain web server has no such page
            finally:
                response.close()
    except Unauthorized:
        # A registry may name another service at every request; the person has agreed to one.
        if service or not keys.kept_from or not may_see(keys.kept_from[0]):
            raise
        return try_password(host, user, password, settings, service=keys.kept_from[0])
    return Tried(bool(keys.asked), hosts)


def keep(path: Path, host: str, user: str, password: str) -> str:
    """Keep a password for a host.

    Returns:
        Where it is kept, for a person.

    Raises:
        InvalidSetting: the file is no configuration, or the helper that it names does not keep it.
        CacheError: the file cannot be written.
    """
    document, own = _read(path, host)
    if own is not None:
        helpers.store(own.name, key_of(host), user, password)
        return f"docker-credential-{own.name}"
    auths = document.setdefault("auths", {})
    if not isinstance(auths, dict):
        raise InvalidSetting(f'{path} is not changed: its "auths" is no object')
    for key in [key for key in auths if is_key_of(key, host)]:
        del auths[key]
    auths[key_of(host)] = {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}
    _write(path, document)
    return str(path)


def forget(path: Path, host: str) -> None:
    """Forget the password for a host.

    Raises:
        NotFound: there is none.
        InvalidSetting: the file is no configuration, or the helper that it names does not forget.
        CacheError: the file cannot be written.
    """
    document, own = _read(path, host)
    auths = document.get("auths")
    keys = [key for key in auths if is_key_of(key, host)] if isinstance(auths, dict) else []
    if own is not None:
        if helpers.ask(own.name, key_of(host)) is None and not keys:
            raise NotFound(f"docker-credential-{own.name} has no password for {host}")
        helpers.erase(own.name, key_of(host))
    elif not keys:
        raise NotFound(f"{path} has no password for {host}")
    if keys:
        assert isinstance(auths, dict)
        for key in keys:
            del auths[key]
        _write(path, document)


def _read(path: Path, host: str) -> tuple[dict[str, Any], Helper | None]:
    """The document, and the helper that has the passwords of a host."""
    try:
        content, fault = read_config(path)
    except FileNotFoundError:
        return {}, None
    except OSError as exc:
        raise CacheError(f"{path} cannot be read: {exc.strerror}") from exc
    if fault.written:
        raise InvalidSetting(f"{path} is not used: {fault}")
    try:
        document = document_of(content) if content.strip() else {}
        found = entry_of(content, host).helpers if document else ()
    except InvalidSetting as exc:
        raise InvalidSetting(f"{path} is not changed: {exc}") from None
    return document, found[0] if found else None


def _write(path: Path, document: dict[str, Any]) -> None:
    """Replace the file, of mode 0600 from the start; a link to it stays one."""
    real = Path(os.path.realpath(path))
    data = json.dumps(document, indent="\t").encode() + b"\n"
    try:
        real.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd, temporary = tempfile.mkstemp(prefix=".config.json.", dir=real.parent)
        try:
            with open(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, real)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as exc:
        raise CacheError(f"{path} cannot be written: {exc.strerror}") from exc
