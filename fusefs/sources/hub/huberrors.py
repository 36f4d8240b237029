"""What the Hub says when it does not give what was asked for, as our errors, each with what a person can do.

Source: huggingface_hub, `utils/_http.py` (`X-Error-Code`); hub-docs, `rate-limits.md` (`RateLimit`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fusefs.errors import ModelNotFound, NotFound, ResponseError, SourceError, Unauthorized
from fusefs.sources.registry.responses import error_of, retry_after
from fusefs.values.hubendpoint import HUGGING_FACE
from fusefs.values.printable import line_of

if TYPE_CHECKING:
    from fusefs.net.transport import Response
    from fusefs.sources.hub.hubtoken import HubToken
    from fusefs.values.hubname import HubName

HUB, STORAGE, CONTENT_SERVER = "Hub", "storage of the Hub", "content server of the Hub"
"""Who answers, for a person."""

LOGIN = "run `hf auth login` or set HF_TOKEN"

_BUCKET = re.compile(r'"?([a-z][a-z-]{0,30})"?\s*;\s*r=\d{1,9}\s*;\s*t=(\d{1,6})', re.IGNORECASE)
_POLICY = re.compile(r"q=(\d{1,9})\s*;\s*w=(\d{1,9})")
_UNSAID = 30.0
"""Seconds to wait where a limit does not say how long."""


def hub_error(response: Response, name: HubName, token: HubToken) -> SourceError:
    """The error that an answer of the Hub is; it reads and closes the answer.

    Args:
        response: of another status than was wanted.
        name: what was asked for.
        token: what was shown.
    """
    headers = response.headers
    code, said = line_of(headers.get("X-Error-Code", ""), 60), line_of(headers.get("X-Error-Message", ""))
    if response.elsewhere:
        return error_of(response, STORAGE)  # to which we were sent on: it knows neither names nor tokens
    if response.status == 429:
        return _limited(response, token)
    error = error_of(response, HUB)
    said = said or str(error).removeprefix(f"{error.source}: ")
    if response.status == 401:
        return _unknown(response, name, token, code, said)
    if response.status == 403:
        return _refused(response, name, token, code, said)
    if response.status == 404:
        return _absent(response, name, token, code, said)
    return error


def gated(name: HubName, token: HubToken, source: str, said: str = "") -> Unauthorized:
    """Somebody must be let in first."""
    if token.secret is None:
        text = f"accept its conditions at {name.page}, then {LOGIN} ({token.where})"
    elif "review" in said:
        text = f"your request for access awaits a review by its authors, see {name.page}"
    else:
        text = f"the account of the token ({token.where}) has no access yet: ask for it at {name.page}"
    return Unauthorized(f"{name.short} is gated: {text}", source=source)


def disabled(name: HubName, source: str) -> Unauthorized:
    """Nobody is let in."""
    return Unauthorized(f"{name.short}: access to it is disabled by the Hub, see {name.page}", source=source)


def _limited(response: Response, token: HubToken) -> ResponseError:
    """The Hub counts requests in windows of five minutes, and says when the next one begins."""
    headers, source = response.headers, response.source
    response.discard()
    found = _BUCKET.search(headers.get("RateLimit", ""))
    policy = _POLICY.search(headers.get("RateLimit-Policy", ""))
    wait = float(found[2]) if found else retry_after(headers.get("Retry-After")) or _UNSAID
    text = "too many requests (status 429)"
    if found and policy:
        text += f": at most {policy[1]} in {policy[2]} s for its {found[1]!r}"
    text += f"; it asks to be left alone for {max(wait, 1):.0f} s"
    text += "" if token.secret else f"; more are allowed with a token: {LOGIN}"
    response.host_rests(max(wait, 1), text)
    return ResponseError(text, source=source, status=429, retry_after=max(wait, 1), temporary=True)


def _unknown(response: Response, name: HubName, token: HubToken, code: str, said: str) -> SourceError:
    if code == "GatedRepo":
        return gated(name, token, response.source, said)
    if token.secret is not None:  # to who is known it says 404
        return Unauthorized(f"the token ({token.where}) is not taken: {said}; {LOGIN}", source=response.source)
    what = "it is private, or there is none of that name"
    return Unauthorized(f"{name.short}: {what}; if it is private, {LOGIN} ({token.where})", source=response.source)


def _refused(response: Response, name: HubName, token: HubToken, code: str, said: str) -> SourceError:
    if code == "GatedRepo":
        return gated(name, token, response.source, said)
    if "disabled" in said.lower():
        return disabled(name, response.source)
    return Unauthorized(f"{name.short}: access is refused ({token.where}): {said}", source=response.source)


def _absent(response: Response, name: HubName, token: HubToken, code: str, said: str) -> NotFound:
    if code == "RevisionNotFound":
        return ModelNotFound(f"{name.short}: it has no revision {name.tag!r}", source=response.source)
    if code == "RepoNotFound":
        text = f"{name.short}: there is none of that name, or the token ({token.where}) may not see it"
        return ModelNotFound(text, source=response.source)
    if code or name.hub == HUGGING_FACE:
        return NotFound(f"{name.short}: {code or said}", source=response.source)
    return NotFound(f"{name.short}: {said}; is a Hub there (HF_ENDPOINT)?", source=response.source)
