"""Transport: requests over urllib3, with redirects, proxies, deadlines and cancellation.

What leaves here is `fusefs.errors` (see `translate`).  It knows nothing of registries; statuses other than redirects
are the caller's to judge.

Where a host sends us on to is its choice, so a public one must not choose what only we can reach: a service of this
machine or of its network (`--allow-private` lets it).  A host that is private itself may send anywhere.  What counts is
the address that was connected to.  A proxy resolves for us, so through one only addresses in URLs can be judged.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, NamedTuple

from urllib3.util import Timeout

from fusefs import __version__
from fusefs.errors import FusefsError, SourceError, TransportError, WrongResponse
from fusefs.net.circuit import Untold
from fusefs.net.connection import refusal
from fusefs.net.exchange import Exchange, Exchanges, current
from fusefs.net.route import Routes
from fusefs.net.translate import FOREIGN, translated
from fusefs.net.url import Url
from fusefs.system.descriptors import ran_out

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from urllib3.response import BaseHTTPResponse

    from fusefs.net.circuit import Circuit, Circuits
    from fusefs.net.origin import WebOrigin
    from fusefs.net.route import Route
    from fusefs.net.secret import Secret
    from fusefs.values.settings import Settings

MAX_REDIRECTS = 10
REDIRECTS = frozenset((301, 302, 303, 307, 308))
_SAFE = frozenset(("GET", "HEAD"))
"""Methods that change nothing: these follow redirects."""

_CONNECT_TIMEOUT = 10.0
"""Seconds for a SYN to be answered: four are sent in that time, and P7 has a cached manifest waiting behind it."""

_ALIVE = 1 << 16
"""Bytes of a body that show that its host works, when it does not end before; a byte a second would take a day."""

_SCRAP = 1 << 16
"""A rest of a body up to this is read to keep its connection; a larger one costs more than a new connection."""

# urllib3 logs whole URLs, and a signed URL is a credential.
logging.getLogger("urllib3").setLevel(logging.ERROR)


class Response:
    """Status, headers and body of one answer.  One thread reads it; any thread may close it.

    Attributes:
        url: where it came from in the end.
        redirected: whether that is another URL than was asked for.
        status: the HTTP status.
        headers: case-insensitive.
        source: the host that answered, for messages.
        complete: the body has been read to its end, so that the connection can serve again.
        through: the proxy that may have answered in its place, for messages; empty where there is none.
        elsewhere: whether a host of another origin had a say: even one that sent us back chose the path there.
        public: whether that host is at a public address.
        sent: whether a public host sent us there.
    """

    def __init__(
        self,
        url: Url,
        route: Route,
        response: BaseHTTPResponse,
        flight: Exchange,
        flights: Exchanges,
        circuit: Circuit,
    ) -> None:
        self.url = url
        self.redirected = self.elsewhere = self.sent = False
        self.public = not route.private if route.through else flight.public
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.source = route.label
        # Over TLS nobody but the host itself can have answered.
        self.through = route.through if url.origin.scheme == "http" else ""
        assert flight.raw is not None  # urllib3 has made a response from it
        self._raw = flight.raw
        self._response = response
        self._flight = flight
        self._flights = flights
        self._circuit = circuit
        self._judged = False
        self._reading = threading.Lock()
        self._done = False
        self.complete = self._raw.isclosed() and not self._raw.length

    def all(self, name: str) -> list[str]:
        """Each value of a header that may come several times, in order."""
        return list(self._response.headers.getlist(name))

    def readinto(self, buffer: memoryview) -> int:
        """Fill the front of `buffer` with the next bytes; 0 at the end of the body.

        Raises:
            TransportError: it broke, stalled, or ended before its Content-Length.
            Cancelled: it was closed.
        """
        with self._reading:
            try:
                got = self._receive(buffer)
            except TransportError as exc:
                self._fail(exc)
                raise
            self._flight.received += got
            self.complete = self._raw.isclosed() and not self._raw.length
            if not self._judged and (self._flight.received >= _ALIVE or self.complete):
                self._judged = True
                self._circuit.worked()
            return got

    def _receive(self, buffer: memoryview) -> int:
        raw = self._raw
        try:
            got = 0 if self._done else raw.receive_into(buffer)
        except FOREIGN as exc:
            raise translated(exc, self._flight, self.source) from exc
        # A socket that was shut down reads like one whose peer has gone.
        if self._flight.ended is not None:
            raise self._flight.error(self.source)
        if got == 0 and buffer and raw.length:
            raise TransportError(f"the connection ended {raw.length} bytes too early", source=self.source)
        return got

    def _fail(self, failure: TransportError) -> None:
        self._judged = True
        self._circuit.failed(failure)

    def go_on(self) -> None:
        """What has come is worth the time of a whole answer more."""
        self._flight.extend()

    def host_rests(self, seconds: float, reason: str) -> None:
        """The host asks to be left alone, not for this request only."""
        self._circuit.rest(seconds, reason)

    def read(self, limit: int) -> bytes:
        """The rest of the body, at most `limit` bytes of it."""
        data = bytearray()
        for piece in self.pieces():
            data += piece
            if len(data) >= limit:
                break
        return bytes(data[:limit])

    def pieces(self) -> Iterator[bytes]:
        """The rest of the body, in pieces."""
        view = memoryview(bytearray(_SCRAP))
        while got := self.readinto(view):
            yield bytes(view[:got])

    def close(self, failure: FusefsError | None = None) -> None:
        """Give the connection back when the body has been read, else drop it, because of `failure`.  Idempotent."""
        if isinstance(failure, TransportError):
            self._fail(failure)
        if not self.complete:
            self._flight.abort()  # whoever reads now ends, and lets go of the lock
        with self._reading:
            if self._done:
                return
            self._done = True
            if not self._judged:
                self._circuit.left()
            if not self.complete:
                self._response.close()
            self._flights.end(self._flight)
            self._response.release_conn()

    def discard(self) -> None:
        """Close it; a short rest is read first, so that its connection stays usable."""
        try:
            self.read(_SCRAP)
        except FusefsError:
            pass  # the answer is not wanted, so neither is what went wrong with it
        finally:
            self.close()


class _Asked(NamedTuple):
    """What is sent, wherever it goes."""

    method: str
    headers: Mapping[str, str]
    body: bytes | None


class Transport:
    """Makes the requests of one source, over warm connections."""

    def __init__(
        self, settings: Settings, *, insecure_host: str = "", named: str = "", circuits: Circuits | None = None
    ) -> None:
        """Make one; nothing is connected yet.

        Args:
            settings: `stall` bounds each silent wait, `timeout` a whole answer.
            insecure_host: the one host whose certificate is not checked.
            named: the host that a person named; any other is where that one led.
            circuits: what is known of each host; without them each request is made.
        """
        self._settings = settings
        self._named = named
        self._routes = Routes(settings.connections, insecure_host)
        self._flights = Exchanges()
        self._circuits = circuits
        self._answered: set[WebOrigin] = set()

    def get(
        self,
        url: Url | str,
        headers: Mapping[str, str],
        *,
        authorization: Secret | None = None,
        sent: bool = False,
        method: str = "GET",
        body: bytes | None = None,
    ) -> Response:
        """GET `url` and follow its redirects; `headers` go along, `authorization` only to the origin of `url`.

        Args:
            url: absolute, http or https.
            headers: of the request, without `Host`.
            authorization: what to show.
            sent: it was a public host that named `url`.
            method: another one; what changes something is never sent on to where a redirect leads.
            body: of the request.

        Raises:
            SourceError: no answer, or a redirect that must not be followed.
            HostResting: nothing was asked.
            Cancelled: the transport was closed.
        """
        url = Url.parse(url) if isinstance(url, str) else url
        seen, at, elsewhere = {url}, url, False
        flight = self._flights.start(self._settings.timeout)
        try:
            while True:
                own = authorization if at.origin == url.origin else None
                response = self._send(_Asked(method, headers, body), at, own, flight, sent=sent)
                elsewhere = elsewhere or at.origin != url.origin
                response.redirected, response.sent, response.elsewhere = at != url, sent, elsewhere
                target = response.headers.get("Location")
                if response.status not in REDIRECTS or not target or method not in _SAFE:
                    return response
                response.discard()
                at, sent = self._next(at, target, seen), response.public
                # A new flight, because the old one has let go of its socket; it ends when the old one would have.
                flight = self._flights.start(self._settings.timeout, until=flight.deadline)
        except BaseException:
            self._flights.end(flight)
            raise

    def refresh(self) -> None:
        """Read the environment again: it may name other proxies by now."""
        self._routes.refresh()

    def in_flight(self) -> list[str]:
        """One line a request under way, oldest first."""
        return self._flights.lines()

    def close(self) -> None:
        """End what is in flight with Cancelled and close all connections.  Idempotent."""
        self._flights.close()
        self._routes.close()

    def _next(self, at: Url, target: str, seen: set[Url]) -> Url:
        here = str(at.origin)
        try:
            url = at.join(target)
        except SourceError as exc:
            raise WrongResponse(f"redirected to what is {exc}", source=here) from exc
        if not at.origin.allows(url.origin):
            raise SourceError(f"redirected from https to plain http at {url.origin}: refused", source=here)
        if url in seen or len(seen) > MAX_REDIRECTS:
            raise WrongResponse("too many redirects", source=here)
        seen.add(url)
        return url

    def _send(self, asked: _Asked, url: Url, authorization: Secret | None, flight: Exchange, *, sent: bool) -> Response:
        origin = url.origin
        try:
            route = self._routes.find(origin)
        except FOREIGN as exc:  # of the certificates, which are read here
            raise translated(exc, flight, str(origin)) from exc
        guarded = sent and not self._settings.allow_private
        if guarded and route.through and route.private:
            raise refusal(origin.host, origin.host)
        flight.no_private = guarded and not route.through
        flight.chosen_by = "" if route.through or origin.host == self._named else self._named
        flight.url = url
        flight.through = route.through
        flight.scheme = origin.scheme
        flight.expected = origin in self._answered or origin.host != self._named
        circuit = self._circuits.of(origin) if self._circuits is not None else Untold()
        circuit.enter()
        try:
            response = self._urlopen(asked, url, authorization, flight, route)
        except TransportError as exc:
            if ran_out(exc):
                circuit.left()  # of descriptors: the host was not even asked
            else:
                circuit.failed(exc)
            raise
        except BaseException:
            circuit.left()
            raise
        self._answered.add(origin)
        answer = Response(url, route, response, flight, self._flights, circuit)
        # http.client takes the end of the connection for the end of the head.
        if flight.ended is not None:
            ended = flight.error(route.label)
            answer.close(ended)
            raise ended
        return answer

    def _urlopen(
        self,
        asked: _Asked,
        url: Url,
        authorization: Secret | None,
        flight: Exchange,
        route: Route,
    ) -> BaseHTTPResponse:
        # Nobody below us parses a URL: the pool is chosen by the parts, and the target begins with a slash, but to a
        # proxy, which wants all of it, and to which it is only text.
        fields = {
            "Host": route.label,
            "User-Agent": f"fusefs/{__version__}",
            **asked.headers,
            "Accept-Encoding": "identity",
        }
        if authorization is not None:
            fields["Authorization"] = authorization.value
        stall = self._settings.stall
        token = current.set(flight)
        try:
            return route.pool().urlopen(
                asked.method,
                str(url) if route.whole else url.target,
                body=asked.body,
                headers=fields,
                redirect=False,
                retries=False,
                assert_same_host=False,  # a proxy is asked for others
                preload_content=False,
                decode_content=False,
                timeout=Timeout(connect=min(stall, _CONNECT_TIMEOUT), read=stall),
            )
        except FOREIGN as exc:
            raise translated(exc, flight, route.label) from exc
        finally:
            current.reset(token)
