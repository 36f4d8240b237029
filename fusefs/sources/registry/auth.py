"""Authenticator: answers a registry's 401, and remembers the answer for as long as it is good.

The realm of a challenge is text that whoever answered chose.  So: the registry's own key signature and password go to
the registry's own origin alone; another host may be asked for an anonymous token, over https, since many public
registries keep their token service elsewhere; any other realm "does not match".  In the clear nothing of ours is shown
to anybody but this very machine, whose wires nobody taps: that is where people try registries out.  An anonymous token
is nothing of ours, everybody gets one.  Sources: Docker's token authentication specification; Ollama's
`server/auth.go`.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote_plus

from fusefs.errors import SourceError, Unauthorized
from fusefs.net.origin import Origin
from fusefs.net.secret import Secret
from fusefs.net.url import Url
from fusefs.sources.registry.credentials import KeyRing, Signer
from fusefs.sources.registry.responses import check_encoding, check_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.net.transport import Transport

_DEFAULT_LIFE = 60.0
"""Seconds a token is good for when its server does not say (Docker's specification)."""

_MAX_LIFE = 24 * 3600.0
_EARLY = 5.0
"""Seconds before its end at which a token is not used any more, so that it does not end on its way."""

_MAX_ANSWER = 1 << 18
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
_CHALLENGE = re.compile(r"\s*(Bearer|Basic)\b", re.IGNORECASE)
# Looked for at the beginning of a word alone and possessive, or a long word costs as many steps as its square.
_FIELD = re.compile(r'(?<![A-Za-z_])([A-Za-z_]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s",]++))')


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a `WWW-Authenticate` header asks for.

    Attributes:
        scheme: `bearer` or `basic`.
        realm: where to get a token.
        service: as the token service calls the registry.
        scopes: what the token shall be good for.
    """

    scheme: str
    realm: str = ""
    service: str = ""
    scopes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, header: str | None) -> Challenge | None:
        """Read the header; None when it asks for nothing that we know."""
        kind = _CHALLENGE.match(header[:8192]) if header else None
        if header is None or kind is None:
            return None
        fields = {m[1].lower(): re.sub(r"\\(.)", r"\1", m[2] or m[3] or "") for m in _FIELD.finditer(header[:8192])}
        scopes = tuple(fields.get("scope", "").split())
        return cls(kind[1].lower(), fields.get("realm", ""), fields.get("service", ""), scopes)


@dataclass(frozen=True, slots=True)
class _Pass:
    secret: Secret
    until: float


class Authenticator:
    """Authorization for one registry, per repository."""

    def __init__(
        self,
        registry: Origin,
        transport: Transport,
        keys: KeyRing,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make one; files are read when a challenge comes.

        Args:
            registry: the origin that everything secret stays with.
            transport: asks for tokens.
            keys: where credentials lie.
            clock: seconds, monotonic: a token lives for a duration, whatever becomes of the time of day.
        """
        self._registry = registry
        self._transport = transport
        self._keys = keys
        self._clock = clock
        self._passes: dict[str, _Pass] = {}
        self._lock = threading.Lock()

    def current(self, repository: str) -> Secret | None:
        """What to send with a request about `repository`; None when nothing is known to be needed."""
        known = self._passes.get(repository)
        return known.secret if known is not None and known.until > self._clock() else None

    def forget(self) -> None:
        """Drop every token and password; the files are read anew at the next challenge."""
        with self._lock:
            self._passes.clear()
        self._keys.look_again()

    def renew(self, repository: str, header: str | None, refused: Secret | None, *, public: bool = False) -> bool:
        """Answer a 401.

        Args:
            repository: what was asked about.
            header: the `WWW-Authenticate` of the 401.
            refused: what had been sent, if anything.
            public: the registry is at a public address, and must not name a private realm.

        Returns:
            Whether there is now something else to send.

        Raises:
            Unauthorized: the realm must not be asked.
            SourceError: it was asked, and did not give a token.
        """
        with self._lock:  # many threads get their 401 together: one asks for a token, the others take it
            if self.current(repository) not in (None, refused):
                return True
            self._passes.pop(repository, None)
            challenge = Challenge.parse(header)
            if challenge is None:
                return False
            granted = self._basic() if challenge.scheme == "basic" else self._token(challenge, public=public)
            if granted is None or granted.secret == refused:
                return False
            self._passes[repository] = granted
            return True

    def _basic(self) -> _Pass | None:
        secret = self._credentials()
        return _Pass(secret, float("inf")) if secret is not None else None

    def _credentials(self) -> Secret | None:
        """The password for this registry."""
        return self._keys.basic_for(str(self._registry)) if self._trusted else None

    @property
    def _trusted(self) -> bool:
        """Whether anything of ours may be shown at all."""
        return self._registry.scheme == "https" or self._registry.loopback

    def _token(self, challenge: Challenge, *, public: bool) -> _Pass:
        try:
            realm = Url.parse(challenge.realm)
        except SourceError as exc:
            raise Unauthorized(f"the realm of its token service is {exc}", source=str(self._registry)) from exc
        own = realm.origin == self._registry
        if not own and realm.origin.scheme != "https":
            raise Unauthorized(f"the realm's host {realm.origin} does not match", source=str(self._registry))
        if own:
            for secret in self._proofs(realm, challenge):
                try:
                    return self._ask(*secret)
                except SourceError as exc:
                    if exc.temporary:
                        raise
                    # A registry that knows neither our key nor our password may still give an anonymous token.
        return self._ask(_token_url(realm, challenge), None, sent=public and not own)

    def _proofs(self, realm: Url, challenge: Challenge) -> list[tuple[Url, Secret]]:
        proofs = []
        if (basic := self._credentials()) is not None:
            proofs.append((_token_url(realm, challenge), basic))
        if self._trusted and (signer := self._keys.signer()) is not None:
            proofs.append(self._signed(realm, challenge, signer))
        return proofs

    def _signed(self, realm: Url, challenge: Challenge, signer: Signer) -> tuple[Url, Secret]:
        nonce = base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode()
        url = _token_url(realm, challenge, ts=str(int(time.time())), nonce=nonce)
        return url, signer.authorization(str(url))

    def _ask(self, url: Url, secret: Secret | None, *, sent: bool = False) -> _Pass:
        response = self._transport.get(url, {}, authorization=secret, sent=sent)
        try:
            check_status(response)
            check_encoding(response)
            body = response.read(_MAX_ANSWER)
            source = response.source
        finally:
            response.discard()
        try:
            document = json.loads(body)
            token = document.get("token") or document.get("access_token")
            life = document.get("expires_in")
        except (ValueError, AttributeError, RecursionError) as exc:
            raise SourceError("the token service did not answer with JSON", source=source) from exc
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise SourceError("the token service gave no token", source=source)
        # Cut before it is divided: JSON has integers that are no floating-point number.
        seconds = min(life, _MAX_LIFE) if isinstance(life, int | float) and life > 0 else _DEFAULT_LIFE
        return _Pass(Secret(f"Bearer {token}"), self._clock() + seconds - min(_EARLY, seconds / 2))


def _token_url(realm: Url, challenge: Challenge, **more: str) -> Url:
    """The realm with service, scopes and `more` in its query, sorted by key as Go's url.Values writes them."""
    fields = parse_qsl(realm.query or "", keep_blank_values=True)
    if challenge.service:
        fields.append(("service", challenge.service))
    fields += [("scope", scope) for scope in challenge.scopes]
    fields += list(more.items())
    query = "&".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in sorted(fields, key=lambda f: f[0]))
    return realm.with_query(query)
