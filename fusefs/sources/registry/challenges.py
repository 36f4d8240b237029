"""Challenge: what a 401 asks for, out of its `WWW-Authenticate` headers.

One header may hold several challenges, and there may be several headers; order means nothing.  A comma separates both
challenges and the parameters of one, so what follows a comma is a parameter when an equals sign follows its name.
What makes no sense is passed over up to the next comma: the challenge behind it may be one that we can answer.
Source: RFC 9110, sections 11.2, 11.3, 11.6.1 and 5.6.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

KNOWN = ("bearer", "basic")
"""The schemes that can be answered, the better one first: a token is good for one repository and a few minutes."""

_MAX_HEADER = 8192
_MAX_CHALLENGES = 32

# All of them possessive, or a long word costs as many steps as its square.
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_BETWEEN = re.compile(r"[ \t,]*+")
_FIELD = re.compile(rf'({_WORD})[ \t]*+=[ \t]*+(?:"((?:[^"\\]|\\.)*+)"|([^\s",]++))', re.DOTALL)
_SCHEME = re.compile(rf"({_WORD})(?=[ \t,]|$)")
_TOKEN68 = re.compile(r"[ \t]++[A-Za-z0-9._~+/-]++=*+(?=[ \t]*+(?:,|$))")
_NONSENSE = re.compile(r'[^,"]*+')
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One of the things that would do.

    Attributes:
        scheme: in lower case; `bearer`, `basic`, or one that we do not know.
        realm: where to get a token, for `bearer`.
        service: as the token service calls the registry.
        scopes: what the token shall be good for.
    """

    scheme: str
    realm: str = ""
    service: str = ""
    scopes: tuple[str, ...] = ()


def challenges_of(headers: Iterable[str]) -> list[Challenge]:
    """All that the headers of one answer ask for, in their order; never an error."""
    found: list[Challenge] = []
    for header in headers:
        for scheme, fields in _read(header[:_MAX_HEADER]):
            scopes = tuple(fields.get("scope", "").split())
            found.append(Challenge(scheme, fields.get("realm", ""), fields.get("service", ""), scopes))
            if len(found) == _MAX_CHALLENGES:
                return found
    return found


def _read(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each scheme and its parameters, of which the first of a name counts."""
    scheme, fields, off = "", dict[str, str](), 0
    while (off := _end(_BETWEEN, header, off)) < len(header):
        field = _FIELD.match(header, off)
        if field is not None:
            quoted, plain = field[2], field[3]
            fields.setdefault(field[1].lower(), plain if quoted is None else _ESCAPED.sub(r"\1", quoted))
            off = field.end()
        elif (match := _SCHEME.match(header, off)) is not None:
            if scheme:
                yield scheme, fields
            scheme, fields = match[1].lower(), {}
            off = _end(_TOKEN68, header, match.end())
        else:
            off = _end(_NONSENSE, header, off)
            if header.startswith('"', off):
                break  # of a string that does not end, or begins where none can be: all that follows may be in it
    if scheme:
        yield scheme, fields


def _end(pattern: re.Pattern[str], text: str, off: int) -> int:
    match = pattern.match(text, off)
    return off if match is None else match.end()
