"""Pages of a list of names: the parameters `n` and `last`, and the Link header to the next page.

Source: OCI distribution-spec 1.1, "Listing Tags"; Docker registry HTTP API V2, "Pagination".
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from fusefs.offers.catalog import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)

_MOST = 10_000
"""Names of an answer at most, as few as anybody asks for: a name has 170 bytes."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list.

    Attributes:
        names: of this page.
        headers: with the address of the next page, where there is one.
    """

    names: list[str]
    headers: dict[str, str]


def page_of(names: list[str], path: str, query: Mapping[str, str]) -> Page:
    """The page that `query` asks for.

    Args:
        names: all of them, sorted.
        path: of the list.
        query: `n`, names at most, and `last`, the name before the first one; either may be missing.

    Raises:
        Refused: `n` is no number.
    """
    text = query.get("n", "")
    if text and not _NUMBER.fullmatch(text):
        raise Refused("PAGINATION_NUMBER_INVALID", f"invalid n {text[:40]!r}: want a number", status=400)
    count = min(int(text), _MOST) if text else _MOST
    last = query.get("last", "")
    start = bisect.bisect_right(names, last) if last else 0
    shown = names[start : start + count]
    if not shown or start + count >= len(names):
        return Page(shown, {})
    return Page(shown, {"Link": f'<{path}?n={count}&last={quote(shown[-1], safe="/")}>; rel="next"'})
