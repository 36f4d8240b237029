"""HubClient: requests to one Hub, with its token, and errors in words for people.  Blocking; from any thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from fusefs.errors import SourceError, WrongResponse
from fusefs.net.transport import Transport
from fusefs.net.url import Url
from fusefs.sources.hub.huberrors import hub_error
from fusefs.sources.hub.hubtoken import find_token
from fusefs.sources.registry.responses import check_document, check_encoding
from fusefs.system.hubplaces import hub_is_off

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusefs.net.circuit import Circuits
    from fusefs.net.transport import Response
    from fusefs.sources.hub.hubtoken import HubToken
    from fusefs.values.hubendpoint import HubEndpoint
    from fusefs.values.hubname import HubName
    from fusefs.values.settings import Settings


class HubClient:
    """Of one Hub.

    Attributes:
        label: what to call it in messages.
        host: as its origin is called there.
        transport: for requests to hosts that the Hub names; no token of the Hub goes along.
    """

    def __init__(self, hub: HubEndpoint, settings: Settings, circuits: Circuits | None = None) -> None:
        """Make one; nothing is connected yet.

        Raises:
            SourceError: its host cannot be part of a URL.
        """
        self.label = hub.host
        self._hub = hub
        self._origin = Url.parse(str(hub)).origin
        self.host = str(self._origin)
        self.transport = Transport(settings, named=self._origin.host, circuits=circuits)
        self._found: HubToken | None = None
        self._lock = threading.Lock()

    def url(self, path: str) -> Url:
        """The URL of a path of this Hub, whose parts are percent-encoded.

        Raises:
            SourceError: it is longer than any URL.
        """
        return Url.parse(f"{self._hub}{path}")

    def get(self, url: Url, name: HubName, headers: Mapping[str, str], wanted: tuple[int, ...] = (200,)) -> Response:
        """GET from the Hub; redirects to other hosts are followed without the token.

        Args:
            url: of the Hub.
            name: the repository that it is about.
            headers: of the request.
            wanted: the statuses of an answer.

        Raises:
            Unauthorized, NotFound, ResponseError: what the Hub says instead, with what to do.
            SourceError: no answer, or nothing may be asked (`$HF_HUB_OFFLINE`).
        """
        self.check_online()
        token = self._token()
        response = self.transport.get(url, headers, authorization=token.secret)
        if response.status == 401 and token.secret is not None and not response.elsewhere:
            renewed = self._renewed(token)
            if renewed.secret not in (None, token.secret):  # it had ended, and the library has another one
                response.discard()
                token = renewed
                response = self.transport.get(url, headers, authorization=token.secret)
        if response.status not in wanted:
            raise hub_error(response, name, token)
        return response

    def read(self, url: Url, name: HubName, limit: int, what: str) -> tuple[bytes, Response]:
        """The whole of a document, and the answer for its headers.

        Args:
            url: of the Hub.
            name: the repository that it is about.
            limit: bytes that it may have.
            what: to call it.

        Raises:
            SourceError: as `get`.
            WrongResponse: it is longer, compressed, or a page for people.
        """
        response = self.get(url, name, {"Accept": "application/json"})
        try:
            check_encoding(response)
            body = response.read(limit + 1)
            check_document(response, body, what)
        finally:
            response.close()
        if len(body) > limit:
            raise WrongResponse(f"{what} has more than {limit} bytes", source=response.source, temporary=False)
        return body, response

    def check_online(self) -> None:
        """Return when the Hub may be asked.

        Raises:
            SourceError: the environment says that it must not.
        """
        if hub_is_off():
            raise SourceError("HF_HUB_OFFLINE is set, so it is not asked", source=self.label)

    @property
    def token(self) -> HubToken:
        """What is shown to it."""
        return self._token()

    def refresh(self) -> None:
        """See `Remote.refresh`."""
        self.transport.refresh()
        with self._lock:
            self._found = None

    def close(self) -> None:
        """End what is in flight, and close all connections.  Idempotent."""
        self.transport.close()

    def _token(self) -> HubToken:
        with self._lock:
            if self._found is None:
                self._found = find_token(self._hub)
            return self._found

    def _renewed(self, old: HubToken) -> HubToken:
        with self._lock:
            if self._found is None or self._found == old:
                self._found = find_token(self._hub)
            return self._found
