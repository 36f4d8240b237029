"""Authenticator: answers a registry's 401, and remembers the answer for as long as it is good.

The realm of a challenge is text that whoever answered chose.  So: the registry's own key signature and password go to
the registry's own origin alone; another host may be asked for an anonymous token, over https, since many public
registries keep their token service elsewhere; any other realm "does not match".  In the clear nothing of ours is shown
to anybody but this very machine, whose wires nobody taps: that is where people try registries out.  An anonymous token
is nothing of ours, everybody gets one.  What cannot be answered is told with all that was asked for.
Sources: Docker's token authentication specification; Ollama's `server/auth.go`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote_plus

from fusefs.errors import SourceError, Unauthorized
from fusefs.net.origin import WebOrigin
from fusefs.net.secret import Secret
from fusefs.net.url import Url
from fusefs.sources.registry.challenges import KNOWN, Challenge, challenges_of
from fusefs.sources.registry.credentials import KeyRing, Signer
from fusefs.sources.registry.responses import check_document, check_encoding, check_status
from fusefs.values.printable import line_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusefs.net.transport import Transport

_DEFAULT_LIFE = 60.0
"""Seconds a token is good for when its server does not say (Docker's specification)."""

_MAX_LIFE = 24 * 3600.0
_EARLY = 5.0
"""Seconds before its end at which a token is not used any more, so that it does not end on its way."""

_MAX_ANSWER = 1 << 18
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
_MAX_SHOWN = 5
"""Unknown schemes that a message names."""


@dataclass(frozen=True, slots=True)
class _Pass:
    secret: Secret
    until: float


class Authenticator:
    """Authorization for one registry, per repository."""

    def __init__(
        self,
        registry: WebOrigin,
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

    def renew(
        self,
        repository: str,
        headers: Sequence[str],
        refused: Secret | None,
        *,
        public: bool = False,
        tried: set[Challenge] | None = None,
    ) -> bool:
        """Answer a 401 with the best that can be had: a token, else the password.

        Args:
            repository: what was asked about.
            headers: each `WWW-Authenticate` of the 401.
            refused: what had been sent, if anything.
            public: the registry is at a public address, and must not name a private realm.
            tried: the challenges that the same request has answered already, in vain; the one that is answered now
                is added.

        Returns:
            Whether there is now something else to send.

        Raises:
            SourceError: why the best of them could not be answered, nor any other.
        """
        tried = set() if tried is None else tried
        with self._lock:  # many threads get their 401 together: one asks for a token, the others take it
            if self.current(repository) not in (None, refused):
                return True
            self._passes.pop(repository, None)
            failure: SourceError | None = None
            for challenge in _ordered(challenges_of(headers)):
                if challenge in tried:
                    continue
                try:
                    granted = self._basic() if challenge.scheme == "basic" else self._token(challenge, public=public)
                except SourceError as exc:
                    failure = failure or exc
                    continue
                if granted is not None and granted.secret != refused:
                    tried.add(challenge)
                    self._passes[repository] = granted
                    return True
            if failure is not None:
                raise failure
            return False

    def refusal(self, error: SourceError, headers: Sequence[str]) -> Unauthorized:
        """What a 401 that cannot be answered means to a person: `error`, what was asked for, and where we looked."""
        refusal = Unauthorized(f"{error}; {self._why(challenges_of(headers))}")
        refusal.source = error.source  # which the text begins with already
        return refusal

    def _why(self, asked: Sequence[Challenge]) -> str:
        if not asked:
            return "it does not say what it asks for (no WWW-Authenticate)"
        schemes = list(dict.fromkeys(line_of(challenge.scheme.capitalize(), 20) for challenge in asked))
        names = ", ".join(schemes[:_MAX_SHOWN])
        if not _ordered(asked):
            return f"it asks for {names}; fusefs can answer Bearer and Basic alone"
        return f"it asks for {names}: {self._looked(elsewhere=_elsewhere(asked, self._registry))}"

    def _looked(self, *, elsewhere: bool) -> str:
        """Which credentials there are for this registry.

        Args:
            elsewhere: nothing is asked for but a token, of a service on another host.
        """
        if not self._trusted:
            return f"nothing secret is sent to {self._registry} in the clear; name it with https://"
        password = self._keys.password_for(str(self._registry))
        text = password.text
        if password.secret is not None:
            text += ", which is not sent to a token service on another host" if elsewhere else ", which it refuses"
        trouble = self._keys.key_trouble()
        return f"{text}; {trouble}" if trouble else text

    def _basic(self) -> _Pass | None:
        secret = self._credentials()
        return _Pass(secret, float("inf")) if secret is not None else None

    def _credentials(self) -> Secret | None:
        """The password for this registry."""
        return self._keys.password_for(str(self._registry)).secret if self._trusted else None

    @property
    def _trusted(self) -> bool:
        """Whether anything of ours may be shown at all."""
        return self._registry.scheme == "https" or self._registry.loopback

    def _token(self, challenge: Challenge, *, public: bool) -> _Pass:
        here = str(self._registry)
        if not challenge.realm:
            raise Unauthorized("it asks for a token (Bearer) and does not say where to get one (no realm)", source=here)
        try:
            realm = Url.parse(challenge.realm)
        except SourceError as exc:
            raise Unauthorized(f"the realm of its token service is {exc}", source=here) from exc
        own = realm.origin == self._registry
        if not own and realm.origin.scheme != "https":
            raise Unauthorized(f"the realm's host {realm.origin} does not match", source=here)
        if own:
            for secret in self._proofs(realm, challenge):
                try:
                    return self._ask(*secret)
                except SourceError as exc:
                    if exc.temporary:
                        raise
                    # A registry that knows neither our key nor our password may still give an anonymous token.
        try:
            return self._ask(_token_url(realm, challenge), None, sent=public and not own)
        except Unauthorized as exc:
            refusal = Unauthorized(f"{exc}; {self._looked(elsewhere=not own)}")
            refusal.source = exc.source
            raise refusal from exc

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
            check_document(response, body, "a token")
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


def _ordered(challenges: Sequence[Challenge]) -> list[Challenge]:
    """Those that can be answered, the best first; of one kind as they came."""
    known = [challenge for challenge in challenges if challenge.scheme in KNOWN]
    return sorted(known, key=lambda challenge: KNOWN.index(challenge.scheme))


def _elsewhere(challenges: Sequence[Challenge], registry: WebOrigin) -> bool:
    """Whether nothing is asked for but a token of another origin."""
    with contextlib.suppress(SourceError):
        return all(
            challenge.scheme == "bearer" and Url.parse(challenge.realm).origin != registry
            for challenge in _ordered(challenges)
        )
    return False


def _token_url(realm: Url, challenge: Challenge, **more: str) -> Url:
    """The realm with service, scopes and `more` in its query, sorted by key as Go's url.Values writes them."""
    fields = parse_qsl(realm.query or "", keep_blank_values=True)
    if challenge.service:
        fields.append(("service", challenge.service))
    fields += [("scope", scope) for scope in challenge.scopes]
    fields += list(more.items())
    query = "&".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in sorted(fields, key=lambda f: f[0]))
    return realm.with_query(query)
