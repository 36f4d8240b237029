"""Listing: what a repository of the Hub has at its revision, page by page, checked before any of it is believed."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from fusefs.artifacts.hubtree import MAX_PAGE_SIZE, HubTree, files_of_page
from fusefs.artifacts.manifest import MAX_LAYERS
from fusefs.errors import InvalidManifest, Masked, SourceError, WrongResponse
from fusefs.sources.hub.huberrors import disabled, gated

if TYPE_CHECKING:
    from fusefs.artifacts.hubtree import HubFile
    from fusefs.net.transport import Response
    from fusefs.net.url import Url
    from fusefs.sources.hub.hubclient import HubClient
    from fusefs.values.hubname import HubName

MAX_PAGES = 2048
"""Of one listing: the Hub's have 1000 entries, so that 66 have all files that a model may have."""

_NEXT = re.compile(r'<([^<>]{1,8192})>[^,<>]{0,200};\s{0,9}rel="?next"?', re.IGNORECASE)
_MAX_HEADER = 1 << 16
_COMMIT = re.compile(r"[0-9a-f]{40}")


class _Info(msgspec.Struct, frozen=True):
    """What the Hub says of a repository at a revision, as far as it is read."""

    sha: str
    disabled: bool | None = None


_info = msgspec.json.Decoder(_Info)


class Listing:
    """The listing of one repository, which goes on where it was interrupted.

    The Hub answers so many requests in a while: whoever began anew each time might never come to an end.

    Attributes:
        began: monotonic time; what the revision led to then may be old by now.
    """

    def __init__(self, client: HubClient, name: HubName) -> None:
        self.began = time.monotonic()
        self._client = client
        self._name = name
        self._commit = name.fixed
        self._files: list[HubFile] = []
        self._next: Url | None = None
        self._seen: set[Url] = set()
        self._lock = threading.Lock()

    def tree(self, longest: float) -> HubTree:
        """All of it.  Blocking.

        Args:
            longest: seconds for all of it.

        Raises:
            Unauthorized: it is gated, private or disabled, with what to do.
            ModelNotFound: there is no such repository, or no such revision of it.
            InvalidManifest: what the Hub says contradicts itself.
            SourceError: it cannot be asked; if that is temporary, the next call goes on from there.
        """
        client, name = self._client, self._name
        with self._lock:
            try:
                self._commit = self._commit or _commit(client, name)
                self._go_on(self.began + longest)
                return HubTree.of(self._commit, self._files)
            except Masked:
                raise gated(name, client.token, client.label) from None
            except InvalidManifest as exc:
                raise InvalidManifest(f"{name.short}: the listing of {client.label} is refused: {exc}") from exc

    def _go_on(self, until: float) -> None:
        client, name = self._client, self._name
        path = f"/api/{name.kind}/{name.repository}/tree/{quote(self._commit, safe='')}"
        url = self._next if self._seen else client.url(path).with_query("recursive=true&expand=false")
        while url is not None:
            if len(self._files) > MAX_LAYERS:
                raise InvalidManifest(f"more than {MAX_LAYERS} files")
            if len(self._seen) >= MAX_PAGES or time.monotonic() > until:
                raise SourceError(
                    f"{name.short}: its listing has no end ({len(self._files)} files)", source=client.label
                )
            raw, response = client.read(url, name, MAX_PAGE_SIZE, "a page of the listing")
            self._files += files_of_page(raw)
            self._seen.add(url)
            url = self._next = _next(response, url)
            if url in self._seen:
                raise SourceError(f"{name.short}: its listing goes round in a circle", source=client.label)


def _commit(client: HubClient, name: HubName) -> str:
    """What the revision leads to now."""
    url = client.url(f"/api/{name.kind}/{name.repository}/revision/{quote(name.tag, safe='')}")
    raw, response = client.read(url, name, MAX_PAGE_SIZE, "what it says of a revision")
    try:
        info = _info.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        text = f"what it says of {name.short} is no JSON with a commit: {str(exc)[:200]}"
        raise WrongResponse(text, source=response.source) from exc
    if info.disabled:
        raise disabled(name, response.source)
    if not _COMMIT.fullmatch(info.sha):
        raise WrongResponse(f"the commit of {name.short} is {info.sha[:60]!a}", source=response.source)
    return info.sha


def _next(response: Response, url: Url) -> Url | None:
    """The next page: the same place with the query that `Link` has for it; None behind the last one.

    Of the URL there only the query counts: what serves the Hub under another address may leave the Hub's own in it.
    """
    link = _NEXT.search(response.headers.get("Link", "")[:_MAX_HEADER])
    query = None if link is None else response.url.join(link[1]).query
    return url.with_query(query) if query else None
