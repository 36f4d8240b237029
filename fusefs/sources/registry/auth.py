"""Authenticator: answers a registry's 401, and remembers the answer for as long as it is good.

The realm of a challenge is text that whoever answered chose.  So: what is ours goes to the registry's own origin alone,
to the token service that everybody knows to be this registry's, or to a host for which the person has given credentials
by its name; any other host may be asked for an anonymous token, over https, since many public registries keep their
token service elsewhere; any other realm "does not match".  A public registry must not name a private realm.  In the
clear nothing of ours is shown to anybody but this very machine, whose wires nobody taps: that is where people try
registries out.  An anonymous token is nothing of ours, everybody gets one.  What cannot be answered is told with all
that was asked for.
Sources: distribution's token authentication specification; Ollama's `server/auth.go`.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.errors import SourceError, Unauthorized
from fusefs.net.origin import WebOrigin
from fusefs.net.secret import Secret
from fusefs.net.url import Url
from fusefs.sources.registry.challenges import KNOWN, Challenge, challenges_of
from fusefs.sources.registry.credentials import KeyRing, Signer
from fusefs.sources.registry.tokens import Token, ask, exchange, token_url
from fusefs.values.names import DEFAULT_HOST
from fusefs.values.printable import line_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fusefs.net.transport import Transport

_MAX_SHOWN = 5
"""Unknown schemes that a message names."""

_PAIRS = frozenset(((WebOrigin("https", "registry-1.docker.io", 443), WebOrigin("https", "auth.docker.io", 443)),))
"""Registries whose passwords a token service on another host gets, as everybody knows."""


@dataclass(frozen=True, slots=True)
class _Pass:
    """What is sent with requests; `challenge` and `public` have it renewed, where it ends."""

    secret: Secret
    until: float = float("inf")
    challenge: Challenge | None = None
    public: bool = False


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
        self._asking: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def current(self, repository: str) -> Secret | None:
        """What to send with a request about `repository`; None when nothing is known to be needed.

        Blocking: a token that is about to end is renewed first, which saves the request that would be refused.
        """
        known = self._passes.get(repository)
        if known is None or known.until > self._clock():
            return known.secret if known is not None else None
        with self._alone(repository):
            again = self._passes.get(repository)
            if again is not known:
                return again.secret if again is not None else None
            # The old one stays meanwhile: whoever comes now shall wait here, and not ask without any.
            if known.challenge is not None:
                with contextlib.suppress(SourceError):  # the registry's own 401 will have the reason told
                    renewed = self._passes[repository] = self._token(known.challenge, repository, public=known.public)
                    return renewed.secret
            self._passes.pop(repository, None)
            return None

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
        with self._alone(repository):  # many threads get their 401 together: one asks for a token, the others take it
            known = self._passes.get(repository)
            if known is not None and known.until > self._clock() and known.secret != refused:
                return True
            self._passes.pop(repository, None)
            failure: SourceError | None = None
            for challenge in _ordered(challenges_of(headers)):
                if challenge in tried:
                    continue
                try:
                    granted = self._answer(challenge, repository, public=public)
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

    @contextlib.contextmanager
    def _alone(self, repository: str) -> Iterator[None]:
        """One thread a repository asks for a token."""
        with self._lock:
            lock = self._asking.setdefault(repository, threading.Lock())
        with lock:
            yield

    def _answer(self, challenge: Challenge, repository: str, *, public: bool) -> _Pass | None:
        if challenge.scheme == "basic":
            secret = self._keys.password_for(str(self._registry), repository).secret if self._trusted else None
            return _Pass(secret) if secret is not None else None
        return self._token(challenge, repository, public=public)

    def refusal(self, repository: str, error: SourceError, headers: Sequence[str]) -> Unauthorized:
        """What a 401 that cannot be answered means to a person: `error`, what was asked for, and where we looked."""
        refusal = Unauthorized(f"{error}; {self._why(repository, challenges_of(headers))}")
        refusal.source = error.source  # which the text begins with already
        return refusal

    def _why(self, repository: str, asked: Sequence[Challenge]) -> str:
        if not asked:
            return "it does not say what it asks for (no WWW-Authenticate)"
        schemes = list(dict.fromkeys(line_of(challenge.scheme.capitalize(), 20) for challenge in asked))
        names = ", ".join(schemes[:_MAX_SHOWN])
        if not _ordered(asked):
            return f"it asks for {names}; fusefs can answer Bearer and Basic alone"
        realms = [_realm_of(challenge) for challenge in _ordered(asked)]
        elsewhere = realms[0] if all(realm is not None and not self._own(realm) for realm in realms) else None
        return f"it asks for {names}: {self._looked(repository, elsewhere)}"

    def _looked(self, repository: str, elsewhere: WebOrigin | None) -> str:
        """Which credentials there are for this registry.

        Args:
            repository: what was asked about.
            elsewhere: nothing is asked for but a token of a service there, which is another host's.
        """
        if not self._trusted:
            return f"nothing secret is sent to {self._registry} in the clear; name it with https://"
        password = self._keys.password_for(str(self._registry), repository)
        text = password.text
        if elsewhere is not None and self._keys.password_for(str(elsewhere)).found:
            text = f"{self._keys.password_for(str(elsewhere)).text}, which it refuses"
        elif password.found and elsewhere is not None:
            text += f", which is not sent to a token service on another host ({elsewhere}) without being told to: "
            text += f"`fusefs login {self._registry} --token-service {elsewhere}`"
        elif password.found:
            text += ", which it refuses"
        elif self._registry.host != DEFAULT_HOST:  # there a key counts, and no password
            service = f" --token-service {elsewhere}" if elsewhere is not None else ""
            text += f"; for who has a password: `fusefs login {self._registry}{service}`"
        trouble = self._keys.key_trouble()
        return f"{text}; {trouble}" if trouble else text

    @property
    def _trusted(self) -> bool:
        """Whether anything of ours may be shown at all."""
        return _is_safe(self._registry)

    def _own(self, realm: WebOrigin) -> bool:
        """Whether a token service is the registry's own."""
        return realm == self._registry or (self._registry, realm) in _PAIRS

    def _token(self, challenge: Challenge, repository: str, *, public: bool) -> _Pass:
        here = str(self._registry)
        if not challenge.realm:
            raise Unauthorized("it asks for a token (Bearer) and does not say where to get one (no realm)", source=here)
        try:
            realm = Url.parse(challenge.realm)
        except SourceError as exc:
            raise Unauthorized(f"the realm of its token service is {exc}", source=here) from exc
        own = self._own(realm.origin)
        if not own and not self._registry.allows(realm.origin):
            raise Unauthorized(f"the realm's host {realm.origin} does not match", source=here)
        sent = public and realm.origin != self._registry
        for proof in self._proofs(realm, challenge, repository, sent=sent):
            try:
                return proof()
            except SourceError as exc:
                if exc.temporary or not self._keys.anonymous:
                    raise
                # A registry that knows neither our key nor our password may still give an anonymous token.
        if not self._keys.anonymous:
            why = self._looked(repository, None if own else realm.origin)
            raise Unauthorized(f"it asks for a token: {why}", source=here)
        try:
            return self._pass(
                ask(self._transport, token_url(realm, challenge, repository), None, sent=sent), challenge, sent=sent
            )
        except Unauthorized as exc:
            refusal = Unauthorized(f"{exc}; {self._looked(repository, None if own else realm.origin)}")
            refusal.source = exc.source
            raise refusal from exc

    def _proofs(
        self, realm: Url, challenge: Challenge, repository: str, *, sent: bool
    ) -> Iterator[Callable[[], _Pass]]:
        """What may be tried with what is ours, the best first."""
        if not (self._trusted and _is_safe(realm.origin)):
            return
        own = self._own(realm.origin)
        # For another host only what the person has given for exactly that one.
        login = self._keys.password_for(str(self._registry if own else realm.origin), repository if own else "")
        url = token_url(realm, challenge, repository)
        if (bearer := login.bearer) is not None and own:
            yield lambda: _Pass(bearer)
        if (identity := login.identity) is not None:
            yield lambda: self._pass(
                exchange(self._transport, realm, challenge, repository, identity, sent=sent), challenge, sent=sent
            )
        if (basic := login.secret) is not None:
            yield lambda: self._pass(ask(self._transport, url, basic, sent=sent), challenge, sent=sent)
        if realm.origin == self._registry and (signer := self._keys.signer()) is not None:
            signed, signature = _signed(realm, challenge, repository, signer)
            yield lambda: self._pass(ask(self._transport, signed, signature, sent=sent), challenge, sent=sent)

    def _pass(self, token: Token, challenge: Challenge, *, sent: bool) -> _Pass:
        return _Pass(token.secret, self._clock() + token.life, challenge, public=sent)


def _is_safe(origin: WebOrigin) -> bool:
    """Whether what is sent there stays between the two of us."""
    return origin.scheme == "https" or origin.loopback


def _signed(realm: Url, challenge: Challenge, repository: str, signer: Signer) -> tuple[Url, Secret]:
    nonce = base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode()
    url = token_url(realm, challenge, repository, ts=str(int(time.time())), nonce=nonce)
    return url, signer.authorization(str(url))


def _realm_of(challenge: Challenge) -> WebOrigin | None:
    """Where a token is to be had; None: no token is asked for, or nowhere."""
    if challenge.scheme == "bearer":
        with contextlib.suppress(SourceError):
            return Url.parse(challenge.realm).origin
    return None


def _ordered(challenges: Sequence[Challenge]) -> list[Challenge]:
    """Those that can be answered, the best first; of one kind as they came."""
    known = [challenge for challenge in challenges if challenge.scheme in KNOWN]
    return sorted(known, key=lambda challenge: KNOWN.index(challenge.scheme))
