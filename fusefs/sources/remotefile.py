"""One small file on the web, as a person names it by its URL: nothing in it is believed for being there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.errors import InvalidSetting
from fusefs.sources.tree.web import WebFiles
from fusefs.values.names import without_user
from fusefs.values.webtree import WEB

if TYPE_CHECKING:
    from fusefs.values.settings import Settings


def fetch_file(url: str, settings: Settings, limit: int) -> bytes:
    """The file.  Blocking.

    Args:
        url: `https://host/path`, `http://` or `https+insecure://`; without a query, which may be a secret.
        settings: timeouts, and what addresses may be asked.
        limit: bytes; one more is read of a larger file.

    Raises:
        InvalidSetting: that is no such URL.
        SourceError: the file cannot be had.
    """
    scheme, _, rest = url.partition("://")
    scheme, host = scheme.lower(), rest.partition("/")[0]
    if scheme not in WEB or not host or any(char in url for char in "?#@ "):
        raise InvalidSetting(f"{without_user(url)[:200]!r}: want a URL without query or user, https://host/path")
    files = WebFiles(scheme, host, settings)
    try:
        return files.fetch(f"{'http' if scheme == 'http' else 'https'}://{rest}", limit + 1)
    finally:
        files.close()
