"""RegistrySource: a registry that speaks the Docker / OCI protocol, with Ollama's `chunksums` where it has them.

Sources: OCI distribution-spec 1.1, Docker registry HTTP API V2, Ollama's `server/internal/client/ollama`.  It checks
statuses, ranges and lengths; of content it checks only what has a digest here, a manifest that was asked for by one.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.artifacts.imageindex import check_media_type
from fusefs.artifacts.manifest import ACCEPT, MAX_MANIFEST_SIZE
from fusefs.errors import (
    DigestMismatch,
    InvalidManifest,
    ModelNotFound,
    NotFound,
    PrivateAddress,
    SourceError,
    TransportError,
)
from fusefs.net.origin import PORTS
from fusefs.net.tlsprobe import speaks_tls
from fusefs.net.transport import Response, Transport
from fusefs.net.url import Url
from fusefs.sources.rangebody import RangeBody
from fusefs.sources.registry.auth import Authenticator
from fusefs.sources.registry.credentials import KeyRing
from fusefs.sources.registry.endpoint import ITSELF
from fusefs.sources.registry.registrylists import RegistryLists
from fusefs.sources.registry.responses import check_document, check_encoding, check_status, error_of, given_range
from fusefs.values.chunks import Blob, Chunk, ChunkList
from fusefs.values.digest import Digest
from fusefs.values.names import DEFAULT_HOST, DEFAULT_TAG, DOCKER_HUB
from fusefs.values.schemes import LOCAL

if TYPE_CHECKING:
    from fusefs.net.circuit import Circuits
    from fusefs.sources.registry.challenges import Challenge
    from fusefs.sources.registry.endpoint import Endpoint
    from fusefs.values.names import Name
    from fusefs.values.settings import Settings

log = logging.getLogger(__name__)

_EXPIRED = frozenset((400, 401, 403, 404, 410))
"""What storage answers to a signed URL that is not good any more."""

_TURNS = 4
"""Requests of which each answers the 401 of the one before: an old token, a new one, a password, and one to spare."""

_MAX_PLACES = 4096

_HUB_REGISTRY = "registry-1.docker.io"
"""The host that answers for Docker Hub, which nobody calls so."""


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a blob was found, and whether it was a public host that sent us there."""

    url: Url
    sent: bool


@dataclass(slots=True)
class _Place:
    """Where the bytes of one blob of one model lie, for all requests for them.

    Attributes:
        repository: of the model.
        url: the registry's own.
        target: where they were found, a signed URL for example, which is good for many ranges; None for `url`.
    """

    repository: str
    url: Url
    target: _Target | None = None


class RegistrySource:
    """A Source over HTTP.

    Attributes:
        label: as in the name or the option that gave it.
        host: as its origin is called in messages.
    """

    def __init__(
        self,
        scheme: str,
        host: str,
        settings: Settings,
        *,
        keys: KeyRing | None = None,
        circuits: Circuits | None = None,
        endpoint: Endpoint = ITSELF,
    ) -> None:
        """Make one; nothing is connected yet.

        Args:
            scheme: as that of a Name.
            host: as that of a Name.
            settings: timeouts and the number of connections.
            keys: where credentials lie; where Ollama and Docker keep them by default.
            circuits: what is known of each host; without them each request is made.
            endpoint: that of a mirror.

        Raises:
            SourceError: `host` cannot be part of a URL.
        """
        self.label = host + endpoint.prefix
        self._endpoint = endpoint
        served = _HUB_REGISTRY if host == DOCKER_HUB else host
        self._base = Url.parse(f"{'http' if scheme == 'http' else 'https'}://{served}")
        self._undecided = scheme == LOCAL  # whether TLS is spoken there
        self._origin = self._base.origin
        self.host = str(self._origin)
        insecure = self._origin.host if scheme == "https+insecure" else ""
        named = self._origin.host
        self._transport = Transport(settings, insecure_host=insecure, named=named, circuits=circuits)
        self._keys = keys or KeyRing.default()
        self._auth = Authenticator(self._origin, self._transport, self._keys)
        self._places: dict[tuple[str, Digest], _Place] = {}
        self._lists = RegistryLists(self, self._list_location)
        self._told_whole = False
        self._ignoring = ""  # which host of this source ignores Range
        self._lock = threading.Lock()

    def manifest(self, name: Name) -> bytes:
        """See `Source.manifest`."""
        return self._manifest(name, name.digest)

    def chunk_list(self, name: Name, blob: Blob) -> ChunkList | None:
        """See `Source.chunk_list`."""
        return self._lists.chunk_list(name, blob)

    def stored_list(self, name: Name, blob: Blob, text: Digest) -> ChunkList | None:
        """See `ListKeeper.stored_list`."""
        return self._lists.stored_list(name.repository, blob, text)

    def open_range(self, name: Name, blob: Blob, chunk: Chunk) -> RangeBody:
        """See `Source.open_range`."""
        if chunk.end >= blob.size:
            raise SourceError(f"bytes {chunk} lie behind the end of a blob of {blob.size}", source=self.label)
        headers = {"Range": f"bytes={chunk.start}-{chunk.end}"}
        if self._undecided:
            self._decide()
        place = self._place(name, blob)
        target = place.target
        response = None if target is None else self._from_target(place, target, headers)
        if response is None:
            response = self._from_registry(place, headers)
        try:
            check_status(response, wanted=(200, 206))
            sent = given_range(response, chunk, blob.size)
            if response.redirected:
                self._remember(place, response.url, sent=response.sent)
        except BaseException:
            response.close()
            raise
        if chunk.size == blob.size:
            return RangeBody(response, sent, sent)
        ignored = sent.size == blob.size
        if ignored or self._ignoring:
            self._note_range(response.source, ignored=ignored)
        return RangeBody(response, sent, sent if ignored else chunk, stream=ignored)

    def close(self) -> None:
        """See `Source.close`."""
        self._transport.close()

    @property
    def ignores_range(self) -> bool:
        """See `Remote.ignores_range`."""
        return bool(self._ignoring)

    def refresh(self) -> None:
        """See `Remote.refresh`."""
        self._auth.forget()
        self._transport.refresh()
        self._lists.forget()
        with self._lock:
            self._places.clear()
            self._ignoring = ""

    def _decide(self) -> None:
        """Of this machine plain HTTP will do where TLS is not spoken.  Blocking, and before anything is asked."""
        with self._lock:
            if not self._undecided or not self._origin.loopback:
                return
            tls = speaks_tls(self._origin.host, self._origin.port)
            if tls is None:  # the request itself will tell what is wrong
                return
            if not tls:
                port = f":{self._origin.port}" if self._origin.port == PORTS["https"] else ""  # which it does not show
                self._base = Url.parse(f"http://{self._origin}{port}")
                self._origin = self._base.origin
                self._auth = Authenticator(self._origin, self._transport, self._keys)
            self._undecided = False

    @property
    def url(self) -> str:
        """What a mirror is told that it stands for."""
        return f"{self._base.origin.scheme}://{self._base.origin}"

    def in_flight(self) -> list[str]:
        """See `Remote.in_flight`."""
        return self._transport.in_flight()

    def _note_range(self, host: str, *, ignored: bool) -> None:
        """A part of a blob was asked for, and `host` gave that part, or `ignored` it and gives all."""
        with self._lock:
            before = self._ignoring
            if ignored or host == before:
                self._ignoring = host if ignored else ""
        if not ignored or before or self._told_whole:
            return
        if self._endpoint.host:  # a cache does so for what it does not have yet, one file and not another
            self._told_whole = True
            log.warning(
                "The mirror %s answers a request for a part of a file with all of it: while it does, it is used for "
                "files that are wanted whole, and other parts come from the registry.",
                self.label,
            )
        else:
            log.warning(
                "%s answers a request for a part of a file with all of it (a server or a proxy that ignores Range): "
                "each file is read in one stream from its front, and a read waits until the stream has come to it.",
                host,
            )

    def ask(
        self,
        repository: str,
        url: Url | str,
        headers: dict[str, str],
        *,
        method: str = "GET",
        body: bytes | None = None,
    ) -> Response:
        """Ask the registry itself, with authorization; a 401 is answered in each way that it offers.

        Raises:
            Unauthorized: it is answered in none; the text says what was asked for and where we looked.
        """
        if self._undecided:
            self._decide()
        url = self._endpoint.url(self._base, url) if isinstance(url, str) else url
        headers = headers | self._endpoint.headers
        tried: set[Challenge] = set()
        for turn in range(_TURNS):
            secret = self._auth.current(repository)
            secret = secret if url.origin == self._origin else None
            response = self._transport.get(url, headers, authorization=secret, method=method, body=body)
            if response.status != 401 or response.url.origin != self._origin:
                return response
            wanted = response.all("WWW-Authenticate")
            try:
                last = turn == _TURNS - 1
                renewed = not last and self._auth.renew(repository, wanted, secret, public=response.public, tried=tried)
            except BaseException:
                response.close()
                raise
            if not renewed:
                raise self._auth.refusal(repository, error_of(response), wanted)
            response.discard()
        raise AssertionError("the last turn returns or raises")

    def _manifest(self, name: Name, digest: Digest | None) -> bytes:
        repository = f"/v2/{name.repository}"
        paths = [f"{repository}/manifests/{digest or name.tag}"]
        if digest is not None:  # where Ollama's registry has it; others have it among the manifests
            paths.insert(0 if name.host == DEFAULT_HOST else 1, f"{repository}/blobs/{digest}")
        try:
            raw = self._first(name, paths)
        except NotFound as exc:
            raise ModelNotFound(f"model {name.repository}:{name.tag} not found ({exc}){_slash(name, exc)}") from exc
        if digest is not None and not digest.matches(raw):
            raise DigestMismatch(f"{self.label}: manifest of {name.short}", expected=digest, actual=Digest.of(raw))
        return raw

    def _first(self, name: Name, paths: list[str]) -> bytes:
        """The body of the first path that is not 404."""
        for path in paths:
            response = self.ask(name.repository, path, {"Accept": ACCEPT})
            if response.status == 404 and path != paths[-1]:
                response.discard()
                continue
            try:
                check_status(response)
                check_encoding(response)
                body = response.read(MAX_MANIFEST_SIZE + 1)
                check_document(response, body, "the manifest")
                if len(body) > MAX_MANIFEST_SIZE:
                    raise InvalidManifest(f"invalid manifest: at most {MAX_MANIFEST_SIZE} bytes are accepted")
                check_media_type(body, response.headers.get("Content-Type", ""))
                return body
            finally:
                response.close()
        raise AssertionError("no paths")

    def _place(self, name: Name, blob: Blob) -> _Place:
        repository = name.repository
        key = (repository, blob.digest)
        place = self._places.get(key)
        if place is None:
            found = _Place(repository, self._endpoint.url(self._base, f"/v2/{repository}/blobs/{blob.digest}"))
            with self._lock:
                if len(self._places) >= _MAX_PLACES:
                    self._places.clear()
                place = self._places.setdefault(key, found)
        return place

    def _list_location(self, name: Name, blob: Blob, response: Response) -> None:
        """The answer with a chunk list may say where the bytes are."""
        location = response.headers.get("Content-Location")
        if location:
            with contextlib.suppress(SourceError):  # the blob's own URL will do
                self._remember(self._place(name, blob), response.url.join(location), sent=response.public)

    def _remember(self, place: _Place, url: Url, *, sent: bool) -> None:
        """Keep where the bytes of a blob were found; `sent` when a public host says so."""
        if self._origin.allows(url.origin) and url != place.url:
            place.target = _Target(url, sent)

    def _forget(self, place: _Place, target: _Target) -> None:
        with self._lock:
            if place.target == target:
                place.target = None

    def _from_target(self, place: _Place, target: _Target, headers: dict[str, str]) -> Response | None:
        """The answer of where the blob was last found; None when that is not good any more."""
        own = self._auth.current(place.repository) if target.url.origin == self._origin else None
        try:
            response = self._transport.get(target.url, headers, authorization=own, sent=target.sent)
        except PrivateAddress:
            self._forget(place, target)
            return None  # where the blob itself lies may be another place
        except TransportError:
            self._forget(place, target)
            raise
        if response.status not in _EXPIRED:
            return response
        response.discard()
        self._forget(place, target)
        return None

    def _from_registry(self, place: _Place, headers: dict[str, str]) -> Response:
        response = self.ask(place.repository, place.url, headers)
        if response.status in _EXPIRED and response.url.origin != self._origin:
            response.discard()  # a cache before the registry may have kept a redirect for too long
            response = self.ask(place.repository, place.url, headers)
        return response


def _slash(name: Name, exc: NotFound) -> str:
    """What else a person may have meant by the URL of a server that answers as no registry does."""
    plain = name.tag == DEFAULT_TAG and name.digest is None and name.host not in (DEFAULT_HOST, DOCKER_HUB)
    if not plain or exc.code or name.scheme not in ("http", "https"):
        return ""
    return f"; if it is no registry, a folder ends in a slash: {name.scheme}://{name.host}/{name.repository}/"
