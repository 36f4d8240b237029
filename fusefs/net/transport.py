"""Transport: GET over urllib3, with redirects, proxies, deadlines and cancellation.

What leaves here is `fusefs.errors` (see `translate`).  It knows nothing of registries; statuses other than redirects
are the caller's to judge.

Where a host sends us on to is its choice, so a public one must not choose what only we can reach: a service of this
machine or of its network (`--allow-private` lets it).  A host that is private itself may send anywhere.  What counts is
the address that was connected to.  A proxy resolves for us, so through one only addresses in URLs can be judged.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import urllib3
from urllib3.util import Timeout, make_headers

from fusefs import __version__
from fusefs.errors import FusefsError, SourceError, TransportError, WrongResponse
from fusefs.net.addresses import is_public, literal
from fusefs.net.circuit import Untold
from fusefs.net.connection import HttpPool, HttpsPool, refusal
from fusefs.net.exchange import Exchange, Exchanges, current
from fusefs.net.proxies import proxy_for
from fusefs.net.translate import translated
from fusefs.net.trust import tls_context
from fusefs.net.url import Url
from fusefs.system.descriptors import ran_out

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from urllib3.response import BaseHTTPResponse

    from fusefs.net.circuit import Circuit, Circuits
    from fusefs.net.origin import WebOrigin
    from fusefs.net.proxies import Proxy
    from fusefs.net.secret import Secret
    from fusefs.values.settings import Settings

MAX_REDIRECTS = 10
REDIRECTS = frozenset((301, 302, 303, 307, 308))

_CONNECT_TIMEOUT = 10.0
"""Seconds for a SYN to be answered: four are sent in that time, and P7 has a cached manifest waiting behind it."""

_MAX_PROXIES = 256
"""Origins whose proxy is remembered; a hostile registry can redirect to any number of them."""

_ALIVE = 1 << 16
"""Bytes of a body that show that its host works, when it does not end before; a byte a second would take a day."""

_SCRAP = 1 << 16
"""A rest of a body up to this is read to keep its connection; a larger one costs more than a new connection."""

# urllib3 logs whole URLs, and a signed URL is a credential.
logging.getLogger("urllib3").setLevel(logging.ERROR)


class Response:
    """Status, headers and body of one GET.  One thread reads it; any thread may close it.

    Attributes:
        url: where it came from in the end.
        redirected: whether that is another URL than was asked for.
        status: the HTTP status.
        headers: case-insensitive.
        source: the host that answered, for messages.
        through: the proxy that may have answered in its place, for messages; empty where there is none.
        elsewhere: whether a host of another origin had a say: even one that sent us back chose the path there.
        public: whether that host is at a public address.
        sent: whether a public host sent us there.
    """

    def __init__(
        self,
        url: Url,
        response: BaseHTTPResponse,
        flight: Exchange,
        flights: Exchanges,
        circuit: Circuit,
        *,
        public: bool,
    ) -> None:
        self.url = url
        self.redirected = self.elsewhere = self.sent = False
        self.public = public
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.source = str(url.origin)
        # Over TLS nobody but the host itself can have answered.
        self.through = flight.through if url.origin.scheme == "http" else ""
        assert flight.raw is not None  # urllib3 has made a response from it
        self._raw = flight.raw
        self._response = response
        self._flight = flight
        self._flights = flights
        self._circuit = circuit
        self._judged = False
        self._reading = threading.Lock()
        self._done = False

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
                self._judge(exc)
                raise
            self._flight.received += got
            if not self._judged and (self._flight.received >= _ALIVE or self._complete):
                self._judge()
            return got

    def _receive(self, buffer: memoryview) -> int:
        raw = self._raw
        with translated(self._flight, self.source):
            got = 0 if self._done else raw.receive_into(buffer)
        # A socket that was shut down reads like one whose peer has gone.
        ended = self._flight.error(self.source)
        if ended is not None:
            raise ended
        if got == 0 and buffer and raw.length:
            raise TransportError(f"the connection ended {raw.length} bytes too early", source=self.source)
        return got

    def _judge(self, failure: TransportError | None = None) -> None:
        """Tell the circuit what became of this."""
        self._judged = True
        if failure is None:
            self._circuit.worked()
        else:
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
            self._judge(failure)
        if not self._complete:
            self._flight.abort()  # whoever reads now ends, and lets go of the lock
        with self._reading:
            if self._done:
                return
            self._done = True
            if not self._judged:
                self._circuit.left()
            if not self._complete:
                self._response.close()
            self._flights.end(self._flight)
            self._response.release_conn()

    @property
    def _complete(self) -> bool:
        """Whether the body has been read to its end, so that the connection can serve again."""
        return self._raw.isclosed() and not self._raw.length

    def discard(self) -> None:
        """Close it; a short rest is read first, so that its connection stays usable."""
        try:
            self.read(_SCRAP)
        except FusefsError:
            pass  # the answer is not wanted, so neither is what went wrong with it
        finally:
            self.close()


class Transport:
    """Makes GET requests for one source, over warm connections."""

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
        self._insecure_host = insecure_host
        self._managers: dict[tuple[Proxy | None, str, bool], urllib3.PoolManager] = {}
        self._proxies: dict[WebOrigin, Proxy | None] = {}
        self._lock = threading.Lock()
        self._flights = Exchanges()
        self._circuits = circuits
        self._answered: set[WebOrigin] = set()

    def get(
        self, url: Url | str, headers: Mapping[str, str], *, authorization: Secret | None = None, sent: bool = False
    ) -> Response:
        """GET `url` and follow its redirects; `headers` go along, `authorization` only to the origin of `url`.

        Args:
            url: absolute, http or https.
            headers: of the request, without `Host`.
            authorization: what to show.
            sent: it was a public host that named `url`.

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
                response = self._send(at, headers, own, flight, sent=sent)
                elsewhere = elsewhere or at.origin != url.origin
                response.redirected, response.sent, response.elsewhere = at != url, sent, elsewhere
                target = response.headers.get("Location")
                if response.status not in REDIRECTS or not target:
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
        self._proxies.clear()

    def in_flight(self) -> list[str]:
        """One line a request under way, oldest first."""
        return self._flights.lines()

    def close(self) -> None:
        """End what is in flight with Cancelled and close all connections.  Idempotent."""
        self._flights.close()
        with self._lock:
            managers = list(self._managers.values())
            self._managers.clear()
        for manager in managers:
            # `clear` alone forgets the pools; their idle connections would stay open until the garbage collector comes.
            for key in manager.pools.keys():  # noqa: SIM118  # this container cannot be iterated
                pool = manager.pools.get(key)
                if pool is not None:
                    pool.close()
            manager.clear()

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

    def _send(
        self, url: Url, headers: Mapping[str, str], authorization: Secret | None, flight: Exchange, *, sent: bool
    ) -> Response:
        origin = url.origin
        proxy = self._proxy(origin)
        proxied = proxy is not None
        guarded = sent and not self._settings.allow_private
        address = literal(origin.host)
        if guarded and proxied and address is not None and not is_public(address):
            raise refusal(origin.host, address)
        flight.no_private = guarded and not proxied
        flight.chosen_by = "" if proxied or origin.host == self._named else self._named
        flight.url = url
        flight.through = "" if proxy is None else str(proxy)
        flight.scheme = origin.scheme
        flight.expected = origin in self._answered or origin.host != self._named
        circuit = self._circuits.of(origin) if self._circuits is not None else Untold()
        circuit.enter()
        try:
            response = self._urlopen(url, headers, authorization, flight, proxy)
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
        public = (address is None or is_public(address)) if proxied else is_public(flight.peer)
        answer = Response(url, response, flight, self._flights, circuit, public=public)
        # http.client takes the end of the connection for the end of the head.
        ended = flight.error(str(origin))
        if ended is not None:
            answer.close(ended)
            raise ended
        return answer

    def _urlopen(
        self,
        url: Url,
        headers: Mapping[str, str],
        authorization: Secret | None,
        flight: Exchange,
        proxy: Proxy | None,
    ) -> BaseHTTPResponse:
        origin = url.origin
        # Nobody below us parses a URL: the pool is chosen by the parts, and the target begins with a slash, but to a
        # proxy, which wants all of it, and to which it is only text.
        fields = {"Host": str(origin), "User-Agent": f"fusefs/{__version__}", **headers, "Accept-Encoding": "identity"}
        if authorization is not None:
            fields["Authorization"] = authorization.value
        stall = self._settings.stall
        token = current.set(flight)
        try:
            with translated(flight, str(origin)):
                manager = self._manager(origin, proxy)
                host = f"[{origin.host}]" if ":" in origin.host else origin.host
                return manager.connection_from_host(host, origin.port, origin.scheme).urlopen(
                    "GET",
                    str(url) if manager.proxy and origin.scheme == "http" else url.target,
                    headers=fields,
                    redirect=False,
                    retries=False,
                    assert_same_host=False,  # a proxy is asked for others
                    preload_content=False,
                    decode_content=False,
                    timeout=Timeout(connect=min(stall, _CONNECT_TIMEOUT), read=stall),
                )
        finally:
            current.reset(token)

    def _proxy(self, origin: WebOrigin) -> Proxy | None:
        """The proxy for an origin, looked up once: the environment has dozens of variables, and each is read."""
        if origin not in self._proxies:
            if len(self._proxies) >= _MAX_PROXIES:
                self._proxies.clear()
            self._proxies[origin] = proxy_for(origin)
        return self._proxies.get(origin)

    def _manager(self, origin: WebOrigin, proxy: Proxy | None) -> urllib3.PoolManager:
        insecure = origin.scheme == "https" and origin.host == self._insecure_host
        key = (proxy, origin.scheme, insecure)
        with self._lock:
            if key not in self._managers:
                self._managers[key] = self._new_manager(*key)
            return self._managers[key]

    def _new_manager(self, proxy: Proxy | None, scheme: str, insecure: bool) -> urllib3.PoolManager:
        options: dict[str, Any] = {"num_pools": 16, "maxsize": self._settings.connections}
        if scheme == "https":  # only then, because reading the certificates takes 20 ms
            options["ssl_context"] = tls_context(insecure=insecure)
        manager: urllib3.PoolManager
        if proxy is not None:
            login = unquote(proxy.login)
            options["proxy_headers"] = make_headers(proxy_basic_auth=login) if login else None
            manager = urllib3.ProxyManager(proxy.url, **options)
        else:
            manager = urllib3.PoolManager(**options)
        manager.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}
        return manager
