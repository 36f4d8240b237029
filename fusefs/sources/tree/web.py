"""WebFiles: plain HTTP, as any server of static files speaks it.

A file is the same as long as its ETag is, or where it has none its Last-Modified, and its length.  A strong ETag goes
along as If-Range, so that a file that was replaced comes whole and is told by its own ETag; a weak one may not
(RFC 9110, 13.1.5).
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING
from urllib.parse import quote

from fusefs.artifacts.autoindex import parse_autoindex
from fusefs.artifacts.listedfile import MAX_LIST_SIZE
from fusefs.errors import InvalidManifest, NotFound, SourceError
from fusefs.net.transport import Transport
from fusefs.net.url import Url
from fusefs.sources.rangebody import RangeBody
from fusefs.sources.registry.responses import check_encoding, check_status, given_range
from fusefs.sources.tree.treeserver import Found, Seen
from fusefs.values.chunks import Chunk

if TYPE_CHECKING:
    from fusefs.net.circuit import Circuits
    from fusefs.net.transport import Response
    from fusefs.values.chunks import Blob
    from fusefs.values.settings import Settings

_RANGE = re.compile(r"bytes (?:\d+-\d+|\*)/(\d+)")
_STRONG = re.compile(r'"[\x21\x23-\x7e]*"')
_IN_PATH = "/!$&'()*+,;=:@~"
"""What may stand in a path as it is, besides letters, digits and `_.-`: RFC 3986, 3.3."""

_KNOWN = "%" + _IN_PATH

_WHO = "web server"

_DEEPEST = 8
"""Folders in folders that are looked into."""


class WebFiles:
    """Files of one host; those that a Metalink puts on other hosts are asked for there.

    Args:
        scheme: `http`, `https` or `https+insecure`.
        host: with its port, where it has one.
        settings: timeouts and the number of connections.
        circuits: what is known of each host.

    Raises:
        SourceError: `host` cannot be part of a URL.
    """

    web = True

    def __init__(self, scheme: str, host: str, settings: Settings, circuits: Circuits | None = None) -> None:
        self.label = host
        self._base = Url.parse(f"{'http' if scheme == 'http' else 'https'}://{host}/")
        self.host = str(self._base.origin)
        named = self._base.origin.host
        self._transport = Transport(
            settings, insecure_host=named if scheme == "https+insecure" else "", named=named, circuits=circuits
        )
        self._ignoring = ""
        self._lock = threading.Lock()

    def at(self, folder: str, path: str) -> str:
        """See `Files.at`."""
        if "://" not in path:
            return str(self._base.join(quote(folder, _KNOWN)).join("./" + quote(path, _IN_PATH)))
        url = Url.parse(path)
        if not self._base.origin.allows(url.origin):
            raise SourceError(f"its list names {url.origin} in plain http: refused", source=self.label)
        return str(url)

    def fetch(self, place: str, limit: int) -> bytes:
        """See `Files.fetch`."""
        response = self._get(place, {})
        try:
            check_status(response, who=_WHO)
            check_encoding(response)
            return response.read(limit)
        finally:
            response.close()

    def look(self, place: str) -> Seen:
        """See `Files.look`.  By a range of one byte, because many servers answer HEAD by another way than GET."""
        response = self._get(place, {"Range": "bytes=0-0"})
        try:
            if response.status != 416 or _size_of(response) is None:  # of an empty file no byte can be had
                check_status(response, wanted=(200, 206), who=_WHO)
            seen = _seen(response)
            if response.status == 206:
                response.discard()
        finally:
            response.close()
        if seen is None:
            raise SourceError(f"{place}: the server does not say how long it is", source=response.source)
        return seen

    def found(self, folder: str, limit: int) -> list[Found]:
        """See `Files.found`: by the pages that servers make of folders; of what lies deeper than any model none."""
        found: list[Found] = []
        left = [""]
        while left:
            below = left.pop()
            place = self.at(folder, below) if below else str(self._base.join(quote(folder, _KNOWN)))
            files, folders = parse_autoindex(self._page(place), Url.parse(place).path)
            found += [Found(below + name) for name in files]
            if below.count("/") < _DEEPEST:
                left += [f"{below}{name}/" for name in folders if not name.startswith(".")]
            if len(found) + len(left) > limit:
                raise InvalidManifest(f"{self.label}{folder}: more than {limit} files and folders")
        return found

    def listed(self, folder: str, limit: int) -> dict[str, Seen]:  # noqa: ARG002 # see `Files.listed`
        """See `Files.listed`: the pages that servers make of folders round sizes, or leave them out."""
        return {}

    def _page(self, place: str) -> bytes:
        """The page of a folder.

        Raises:
            NotFound: the server makes none.
        """
        response = self._get(place, {})
        try:
            if response.status == 403:  # what nginx says of a folder that it may not list
                raise NotFound(f"{place} is not listed (status 403)", source=response.source)
            check_status(response, who=_WHO)
            check_encoding(response)
            kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            raw = response.read(MAX_LIST_SIZE + 1)
        finally:
            response.close()
        if kind != "text/html" or response.elsewhere or len(raw) > MAX_LIST_SIZE:
            raise NotFound(f"{place} is no list of its files", source=response.source)
        return raw

    def open(self, place: str, blob: Blob, chunk: Chunk, seen: Seen | None) -> tuple[RangeBody, Seen]:
        """See `Files.open`."""
        headers = {"Range": f"bytes={chunk.start}-{chunk.end}"}
        if seen is not None and _STRONG.fullmatch(seen.etag):
            headers["If-Range"] = seen.etag
        response = self._get(place, headers)
        try:
            now = _seen(response) if response.status in (200, 206, 416) else None
            if now is not None:
                (seen or Seen(blob.size)).check(now, place, response.source)
            check_status(response, wanted=(200, 206), who=_WHO)
            sent = given_range(response, chunk, blob.size)
        except BaseException:
            response.close()
            raise
        ignored = sent.size == blob.size and chunk.size < blob.size
        with self._lock:
            self._ignoring = response.source if ignored else ""
        given = sent if ignored or chunk.size == blob.size else chunk
        return RangeBody(response, sent, given, stream=ignored), now or Seen(blob.size)

    @property
    def ignores_range(self) -> bool:
        """See `Remote.ignores_range`."""
        return bool(self._ignoring)

    def refresh(self) -> None:
        """See `Remote.refresh`."""
        self._transport.refresh()
        with self._lock:
            self._ignoring = ""

    def in_flight(self) -> list[str]:
        """See `Remote.in_flight`."""
        return self._transport.in_flight()

    def close(self) -> None:
        """See `Source.close`."""
        self._transport.close()

    def _get(self, place: str, headers: dict[str, str]) -> Response:
        url = Url.parse(place)
        response = self._transport.get(url, headers)
        if response.status == 404:
            response.discard()
            raise NotFound(f"{url.path} is not there (status 404)", source=response.source)
        return response


def _size_of(response: Response) -> int | None:
    """Bytes of the whole file; None where the head does not say."""
    if response.status in (206, 416):
        match = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        return int(match[1]) if match and len(match[1]) < 20 else None
    length = response.headers.get("Content-Length", "").strip()
    return int(length) if length.isascii() and length.isdecimal() and len(length) < 20 else None


def _seen(response: Response) -> Seen | None:
    size = _size_of(response)
    if size is None:
        return None
    headers = response.headers
    return Seen(size, headers.get("ETag", "").strip(), headers.get("Last-Modified", "").strip())
