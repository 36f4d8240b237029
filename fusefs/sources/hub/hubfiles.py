"""HubFiles: ranges of files as the Hub gives them, itself or by a redirect to its store.

Where a file was found is good for many ranges (a signed URL ends after an hour), so it is asked there again without the
Hub, until it is refused; the Hub counts such requests.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from fusefs.errors import PrivateAddress, TransportError
from fusefs.sources.hub.huberrors import STORAGE
from fusefs.sources.rangebody import RangeBody
from fusefs.sources.registry.responses import error_of, given_range

if TYPE_CHECKING:
    from fusefs.artifacts.hubtree import HubFile
    from fusefs.net.transport import Response
    from fusefs.net.url import Url
    from fusefs.sources.hub.hubclient import HubClient
    from fusefs.values.chunks import Chunk
    from fusefs.values.digest import Digest
    from fusefs.values.hubname import HubName

_EXPIRED = frozenset((400, 401, 403, 404, 410))
"""What storage answers to a signed URL that is not good any more."""

_MAX_PLACES = 4096


class _Place(NamedTuple):
    """Where a file was found, and whether it was a public host that sent us there."""

    url: Url
    sent: bool


class HubFiles:
    """Of one Hub.  Thread-safe.

    Attributes:
        ignoring: the host that gave all of a file where a part was wanted, the last time; empty when none did.
    """

    def __init__(self, client: HubClient) -> None:
        self.ignoring = ""
        self._client = client
        self._places: dict[Digest, _Place] = {}
        self._lock = threading.Lock()

    def open(self, name: HubName, commit: str, file: HubFile, chunk: Chunk) -> RangeBody:
        """Begin to read a range, which lies inside of the file.

        Raises:
            SourceError: it cannot be had.
        """
        size = file.blob.size
        headers = {"Range": f"bytes={chunk.start}-{chunk.end}"}
        response = self._from_place(file, headers)
        if response is None:
            path = f"/{name.in_url}/resolve/{quote(commit, safe='')}/{quote(file.path)}"
            response = self._client.get(self._client.url(path), name, headers, wanted=(200, 206))
        try:
            sent = given_range(response, chunk, size)
            if response.elsewhere:
                self._remember(file, _Place(response.url, response.sent))
        except BaseException:
            response.close()
            raise
        ignored = sent.size == size and chunk.size < size
        if chunk.size < size:
            self.ignoring = response.source if ignored else ""
        return RangeBody(response, sent, sent if ignored or chunk.size == size else chunk, stream=ignored)

    def forget(self) -> None:
        """Look for everything anew."""
        with self._lock:
            self._places.clear()
            self.ignoring = ""

    def _from_place(self, file: HubFile, headers: dict[str, str]) -> Response | None:
        """The answer of where the file was found last; None when that is not good any more."""
        place = self._places.get(file.blob.digest)
        if place is None:
            return None
        self._client.check_online()
        try:
            response = self._client.transport.get(place.url, headers, sent=place.sent)
        except PrivateAddress:
            self._drop(file, place)
            return None
        except TransportError:
            self._drop(file, place)
            raise
        if response.status in (200, 206):
            return response
        self._drop(file, place)
        if response.status in _EXPIRED:
            response.discard()
            return None
        raise error_of(response, STORAGE)

    def _remember(self, file: HubFile, place: _Place) -> None:
        with self._lock:
            if len(self._places) >= _MAX_PLACES:
                self._places.clear()
            self._places[file.blob.digest] = place

    def _drop(self, file: HubFile, place: _Place) -> None:
        with self._lock:
            if self._places.get(file.blob.digest) == place:
                del self._places[file.blob.digest]
