"""Tokens: what a registry's token service is asked, and what its answer is good for.

Sources: distribution, `docs/content/spec/auth/token.md` (GET) and `oauth.md` (POST with a refresh token).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote_plus

from fusefs.errors import SourceError
from fusefs.net.secret import Secret
from fusefs.sources.registry.responses import check_document, check_encoding, check_status

if TYPE_CHECKING:
    from fusefs.net.transport import Transport
    from fusefs.net.url import Url
    from fusefs.sources.registry.challenges import Challenge

_DEFAULT_LIFE = 60.0
"""Seconds a token is good for when its server does not say (Docker's specification)."""

_MAX_LIFE = 24 * 3600.0
_SHARE = 0.8
_EARLY = 10.0
"""A token is renewed at this share of its life or so many seconds before its end, so that none ends on its way."""

_MAX_ANSWER = 1 << 16
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
_CLIENT = "fusefs"


@dataclass(frozen=True, slots=True)
class Token:
    """What a token service gave.

    Attributes:
        secret: `Bearer …`.
        life: seconds for which it is used.
    """

    secret: Secret
    life: float


def token_url(realm: Url, challenge: Challenge, repository: str, **more: str) -> Url:
    """The realm with service, scopes and `more` in its query, sorted by key as Go's url.Values writes them."""
    fields = parse_qsl(realm.query or "", keep_blank_values=True) + _fields(challenge, repository) + list(more.items())
    return realm.with_query(_form(sorted(fields, key=lambda field: field[0])))


def ask(transport: Transport, url: Url, secret: Secret | None, *, sent: bool) -> Token:
    """GET a token; `secret` is shown, `sent` as in `Transport.get`.

    Raises:
        SourceError: there is none.
    """
    return _read(transport, url, secret, None, sent=sent)


def exchange(
    transport: Transport, realm: Url, challenge: Challenge, repository: str, identity: Secret, *, sent: bool
) -> Token:
    """POST an identity token for a token.

    Raises:
        SourceError: there is none.
    """
    fields = [("grant_type", "refresh_token"), ("client_id", _CLIENT), *_fields(challenge, repository)]
    scopes = " ".join(value for key, value in fields if key == "scope")  # one field, by RFC 6749
    fields = [field for field in fields if field[0] != "scope"]
    fields += [("scope", scopes)] if scopes else []
    return _read(transport, realm, None, _form([*fields, ("refresh_token", identity.value)]).encode(), sent=sent)


def _fields(challenge: Challenge, repository: str) -> list[tuple[str, str]]:
    """Service and scopes; where none was named, what a reader needs."""
    scopes = challenge.scopes or ((f"repository:{repository}:pull",) if repository else ())
    service = [("service", challenge.service)] if challenge.service else []
    return service + [("scope", scope) for scope in scopes]


def _form(fields: list[tuple[str, str]]) -> str:
    return "&".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in fields)


def _read(transport: Transport, url: Url, secret: Secret | None, form: bytes | None, *, sent: bool) -> Token:
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if form is not None else {}
    method = "GET" if form is None else "POST"
    response = transport.get(url, headers, authorization=secret, sent=sent, method=method, body=form)
    try:
        check_status(response)
        check_encoding(response)
        body = response.read(_MAX_ANSWER + 1)
        check_document(response, body, "a token")
        source = response.source
    finally:
        response.discard()
    if len(body) > _MAX_ANSWER:
        raise SourceError(f"the token service answered with more than {_MAX_ANSWER} bytes", source=source)
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
    return Token(Secret(f"Bearer {token}"), max(seconds / 2, min(seconds * _SHARE, seconds - _EARLY)))
