"""The next page of a registry's long answers, as its `Link` header names it.  Source: RFC 8288; distribution-spec."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusefs.net.transport import Response

_MAX_HEADER = 1 << 16
_NEXT = re.compile(r'<([^<>]{1,8192})>[^,<>]{0,200};\s{0,9}rel="?next"?', re.IGNORECASE)


def next_page(response: Response, path: str) -> str | None:
    """What the same host is asked for next, which begins with `path`; None behind the last page.

    Raises:
        SourceError: the header holds no URL.
    """
    link = _NEXT.search(response.headers.get("Link", "")[:_MAX_HEADER])
    if link is None:
        return None
    url = response.url.join(link[1])
    return url.target if url.origin == response.url.origin and url.path.startswith(path) else None
