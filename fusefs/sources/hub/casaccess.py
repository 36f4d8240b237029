"""CasAccess: where the content server (CAS) of Xet is and what it is shown, as the Hub says it for one repository.

Source: Xet Protocol Specification 1.1, auth.md; huggingface_hub, `utils/_xet.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from fusefs.errors import SourceError, WrongResponse
from fusefs.net.secret import Secret
from fusefs.net.url import Url

if TYPE_CHECKING:
    from fusefs.sources.hub.hubclient import HubClient
    from fusefs.values.hubname import HubName

_MAX_ANSWER = 1 << 17

_EARLY = 60.0
"""Seconds before its end at which a token is not used any more: it must not end on its way."""

_SHORTEST, _LONGEST = 10.0, 24 * 3600.0
"""Seconds for which one is used in any case: if it does end before, the server says so; and at most."""

_UNKNOWN = 120.0
"""The same of one whose end cannot be compared with anything."""

_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")


@dataclass(frozen=True, slots=True)
class CasAccess:
    """To one repository at one commit.

    Attributes:
        url: of the server.
        secret: for the header Authorization, there and nowhere else.
        life: seconds for which it is used.
        sent: it was a Hub at a public address that named the server.
    """

    url: Url
    secret: Secret
    life: float
    sent: bool = False


class _Answer(msgspec.Struct, frozen=True, rename="camel"):
    access_token: str
    cas_url: str
    exp: int


_decoder = msgspec.json.Decoder(_Answer)


def ask_access(client: HubClient, name: HubName) -> CasAccess:
    """Ask the Hub.  Blocking.

    Args:
        client: of the Hub.
        name: of the repository, at a commit (`HubName.at`).

    Raises:
        SourceError: it gives none.
        Cancelled: the source was closed.
    """
    commit = name.fixed or name.tag
    url = client.url(f"/api/{name.kind}/{name.repository}/xet-read-token/{quote(commit, safe='')}")
    raw, response = client.read(url, name, _MAX_ANSWER, "a token for its content server")
    return read_access(raw, response.url, _date(response.headers.get("Date")), sent=response.public)


def read_access(raw: bytes, hub: Url, now: float | None, *, sent: bool) -> CasAccess:
    """Read the Hub's answer.

    Args:
        raw: the answer.
        hub: who gave it.
        now: seconds since 1970 by the clock of whoever gave it; None where that is not known.
        sent: see `CasAccess.sent`.

    Raises:
        WrongResponse: no such answer.
        SourceError: it leads from TLS to a server in the clear.
    """
    here = str(hub.origin)
    try:
        answer = _decoder.decode(raw)
        url = Url.parse(answer.cas_url)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, SourceError) as exc:
        raise WrongResponse(f"no access to its content server: {str(exc)[:200]}", source=here) from exc
    if not _TOKEN.fullmatch(answer.access_token):
        raise WrongResponse("no access to its content server: the token has forbidden characters", source=here)
    if not hub.origin.allows(url.origin):
        raise SourceError(f"its content server is in plain http at {url.origin}: refused", source=here)
    secret = Secret(f"Bearer {answer.access_token}")
    if now is None:
        return CasAccess(url, secret, _UNKNOWN, sent)
    left = min(answer.exp, now + _LONGEST) - now
    return CasAccess(url, secret, max(left - _EARLY, left / 2, _SHORTEST), sent)


def _date(header: str | None) -> float | None:
    """Seconds since 1970, of a `Date`: by that clock a token ends, and ours may be wrong by a year."""
    try:
        return parsedate_to_datetime((header or "")[:64]).timestamp()
    except (ValueError, OverflowError):
        return None
