"""FaultyRegistry: an HTTP(S) registry on the loopback address that serves properly, and lies on demand.

Serving:
    with FaultyRegistry() as registry:
        model = registry.add_model("library/m:latest", {"model.gguf": data}, chunk_size=16)
        model.name              # a Name with this server's host; str(model.name) is what a person would type
        model.blobs["model.gguf"], model.manifest
        registry.requests       # every request so far: method, path, headers, span (start, end) or None, body paths
        registry.paths()        # only the paths, in order
        registry.asked(blob.digest)   # [(start, end), …] inclusive, one for each blob request
        registry.sent(blob.digest)    # [count, …]: how many times each byte of the blob went out
    registry.injected       # how many requests were answered with a fault

Misbehaving:
    registry.fault("short-body", match="/blobs/", times=2, at=3)      # kinds: tests.wire_faults.Kind
    registry.fault("status", match=r"bytes=16-31$", status=429, retry_after="1")
    `match` is a regular expression that is searched in "<path> <Range header>"; `times=None` means always.
    "silence-*" and "trickle" hold until `registry.release()` (closing releases too);
    `registry.silent` is an Event that is set when a silence begins.
    registry.refuse()       # end all connections and refuse new ones; `accept` ends that, and so does closing

Options of the constructor: `chunksums` (False: no such endpoint), `content_location` ("absolute", "relative", "none",
"signed"), `token` (then every /v2/ request needs `Bearer <token>`), `realm`, `token_answer`, `basic` ("user:password"
needed for everything), `ranges` (False: Range is ignored, and blobs come whole), `storage` (another FaultyRegistry to
which blobs are redirected with signed URLs; `storage.expire()` makes all URLs signed so far answer 403), `certificate`
(then it speaks TLS), `port`, `address`.

Strict:
    registry.expect("/v2/library/m/manifests/latest", body=b"…", headers={"Accept": …}, span=None, answer=Answer(…))
    From the first `expect` on, only expected requests are answered, each once, in any order.  A request that nobody
    expected gets 500 and fails the test when the context ends, and so does an expected one that never came.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

from fusefs.artifacts.manifest import DOCKER_MANIFEST
from fusefs.values.chunks import Blob, ChunkList
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from tests.loopback_server import LoopbackServer
from tests.wire_faults import Answer, Fault, Kind, Wire

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http.server import BaseHTTPRequestHandler
    from types import TracebackType

    from tests.certificate import Certificate

MODEL_TYPE = "application/vnd.ollama.image.model"


@dataclass(frozen=True)
class Request:
    """One request as it came; `span` is its Range, inclusive."""

    method: str
    path: str
    headers: dict[str, str]
    span: tuple[int, int] | None
    body: bytes = b""

    @property
    def text(self) -> str:
        """What `match` is searched in."""
        return f"{self.path} {self.headers.get('range', '')}".rstrip()


@dataclass(frozen=True)
class Model:
    """A model that the registry serves."""

    name: Name
    manifest: bytes
    blobs: dict[str, Blob]


@dataclass
class _Expected:
    path: str
    span: tuple[int, int] | None
    headers: dict[str, str]
    answer: Answer


@dataclass
class _Fault:
    pattern: re.Pattern[str]
    fault: Fault
    left: int | None = field(default=None)


class FaultyRegistry:
    """See the module's text."""

    def __init__(
        self,
        *,
        chunksums: bool = True,
        content_location: Literal["absolute", "relative", "none", "signed"] = "absolute",
        token: str | None = None,
        realm: str | None = None,
        token_answer: Mapping[str, Any] | None = None,
        basic: str | None = None,
        ranges: bool = True,
        storage: FaultyRegistry | None = None,
        certificate: Certificate | None = None,
        port: int = 0,
        address: str = "127.0.0.1",
    ) -> None:
        self._chunksums = chunksums
        self._content_location = content_location
        self.token = token
        self._realm = realm
        self.token_answer = dict(token_answer) if token_answer is not None else None
        self._basic = basic
        self._ranges = ranges
        self._storage = storage
        self._generation = 0
        self._blobs: dict[Digest, bytes] = {}
        self._lists: dict[Digest, bytes] = {}
        self._manifests: dict[str, bytes] = {}
        self._types: dict[str, str] = {}
        self._faults: list[_Fault] = []
        self._expected: list[_Expected] | None = None
        self._sent: dict[Digest, list[int]] = {}
        self._lock = threading.Lock()
        self._problems: list[str] = []
        self.requests: list[Request] = []
        self.injected = 0
        self.released = threading.Event()
        self.silent = threading.Event()
        self._server = LoopbackServer(self._handle, certificate.context() if certificate else None, port, address)
        self.host = f"{address}:{self._server.port}"
        self.scheme = "https" if certificate else "http"
        self.url = f"{self.scheme}://{self.host}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.released.set()
        self._server.stop()
        missing = [f"never asked for: {expected.path} {expected.span}" for expected in self._expected or ()]
        problems = self._problems + self._server.problems + missing
        if exc is None and problems:
            raise AssertionError("; ".join(problems))

    def add_model(
        self,
        name: str,
        files: Mapping[str, bytes],
        *,
        chunk_size: int = 1 << 20,
        media_type: str = MODEL_TYPE,
        config: bytes | None = b"{}",
    ) -> Model:
        """Serve a model of one layer a file (its `name` is the key); blobs get chunk lists of `chunk_size`."""
        full = Name.parse(f"{self.scheme}://{self.host}/{name}")
        blobs = {key: self.add_blob(data, chunk_size=chunk_size) for key, data in files.items()}
        layers = [
            {"mediaType": media_type, "digest": str(blob.digest), "size": blob.size, "name": key}
            for key, blob in blobs.items()
        ]
        document: dict[str, Any] = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "layers": layers}
        if config is not None:
            blob = self.add_blob(config)
            kind = "application/vnd.docker.container.image.v1+json"
            document["config"] = {"mediaType": kind, "digest": str(blob.digest), "size": blob.size}
        raw = json.dumps(document).encode()
        self.add_manifest(name, raw)
        return Model(full, raw, blobs)

    def add_manifest(self, name: str, raw: bytes, *, media_type: str = DOCKER_MANIFEST) -> None:
        """Serve `raw` as the manifest `namespace/model:tag`, and under its digest."""
        repository, _, tag = name.rpartition(":")
        for reference in (tag, str(Digest.of(raw))):
            self._manifests[f"/v2/{repository}/manifests/{reference}"] = raw
            self._types[f"/v2/{repository}/manifests/{reference}"] = media_type

    def add_blob(self, data: bytes, *, chunk_size: int = 1 << 20) -> Blob:
        """Serve a blob."""
        digest = Digest.of(data)
        self._blobs[digest] = data
        self._sent.setdefault(digest, [0] * len(data))
        if self._storage is not None:
            self._storage.add_blob(data, chunk_size=chunk_size)
        pairs = (
            (Digest.of(data[chunk.start : chunk.stop]), chunk) for chunk in ChunkList.uniform(len(data), chunk_size)
        )
        self.set_chunksums(digest, "".join(f"{part} {chunk}\n" for part, chunk in pairs).encode())
        return Blob(digest, len(data))

    def set_chunksums(self, digest: Digest, text: bytes) -> None:
        """Serve `text` as the chunk list of a blob."""
        self._lists[digest] = text

    def fault(self, kind: Kind, match: str = "", *, times: int | None = 1, **options: Any) -> None:
        """Misbehave to the next `times` requests that match; see the module's text.  Earlier faults go first."""
        with self._lock:
            self._faults.append(_Fault(re.compile(match), Fault(kind, times=times, **options), times))

    def clear_faults(self) -> None:
        """Behave."""
        with self._lock:
            self._faults.clear()

    def expect(
        self,
        path: str,
        *,
        span: tuple[int, int] | None = None,
        headers: Mapping[str, str] | None = None,
        answer: Answer | None = None,
        body: bytes = b"",
    ) -> None:
        """Expect one request; see the module's text.  Each of `headers` must stand in the request's header."""
        wanted = {key.lower(): value for key, value in (headers or {}).items()}
        with self._lock:
            self._expected = self._expected or []
            self._expected.append(_Expected(path, span, wanted, answer or Answer(200, body)))

    def expire(self) -> None:
        """Every URL signed so far is answered with 403."""
        self._generation += 1

    def refuse(self) -> None:
        """End all connections, and refuse new ones."""
        self._server.refuse()

    def accept(self) -> None:
        """Accept connections again.  Idempotent."""
        self._server.accept()

    def release(self) -> None:
        """End all silences, present and future."""
        self.released.set()

    def paths(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [request.path for request in self.requests]

    def asked(self, digest: Digest) -> list[tuple[int, int]]:
        """The ranges of a blob that were asked for, in order."""
        return [r.span for r in self.requests if r.span and re.search(f"/(blobs|signed)/{digest}", r.path)]

    def sent(self, digest: Digest) -> list[int]:
        """How many times each byte of a blob went out."""
        with self._lock:
            return list(self._sent[digest])

    def signed_url(self, digest: Digest) -> str:
        """A URL for a blob here, good until `expire`."""
        return f"{self.url}/signed/{digest}?signature={self._generation}"

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        headers = {key.lower(): value for key, value in handler.headers.items()}
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("range", ""))
        span = (int(match[1]), int(match[2])) if match else None
        request = Request(handler.command, handler.path, headers, span, getattr(handler, "body", b""))
        with self._lock:
            self.requests.append(request)
            strict = self._expected is not None
            expected = self._take_expected(request)
            fault = self._take_fault(request)
        if fault is not None:
            fault.act()
        if strict:
            answer = expected.answer if expected is not None else Answer(500, b"unscripted")
        else:
            answer = self._answer(request)
        Wire(handler, self.released, self.silent).send(answer, fault)

    def _take_expected(self, request: Request) -> _Expected | None:
        for expected in self._expected or ():
            same = (expected.path, expected.span) == (request.path, request.span)
            if same and all(value in request.headers.get(key, "") for key, value in expected.headers.items()):
                assert self._expected is not None
                self._expected.remove(expected)
                return expected
        if self._expected is not None:
            self._problems.append(f"unscripted: {request.method} {request.text}")
        return None

    def _take_fault(self, request: Request) -> Fault | None:
        for planned in self._faults:
            if planned.left != 0 and planned.pattern.search(request.text):
                planned.left = planned.left if planned.left is None else planned.left - 1
                self.injected += 1
                return planned.fault
        return None

    def _answer(self, request: Request) -> Answer:
        url = urlsplit(request.path)
        if url.path == "/token" and self.token is not None:
            body = {"token": self.token} if self.token_answer is None else self.token_answer
            return Answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})
        if url.path.startswith("/signed/"):
            return self._signed(request)
        if (refusal := self._refusal(request)) is not None:
            return refusal
        if url.path in self._manifests:
            return self._manifest(url.path, request)
        match = re.fullmatch(r"/v2/.+/(blobs|chunksums)/(sha256:[0-9a-f]{64})", url.path)
        if match is None:
            return _unknown("NOT_FOUND", 404)
        digest = Digest.parse(match[2])
        return self._blob(digest, request) if match[1] == "blobs" else self._chunk_list(digest, request)

    def _refusal(self, request: Request) -> Answer | None:
        given = request.headers.get("authorization", "")
        if self.token is not None and given != f"Bearer {self.token}":
            repository = "/".join(request.path.split("/")[2:-2])
            realm = self._realm or f"{self.url}/token"
            challenge = f'Bearer realm="{realm}",service="faulty",scope="repository:{repository}:pull"'
            return _unknown("UNAUTHORIZED", 401, {"WWW-Authenticate": challenge})
        if self._basic is not None and given != self._basic:
            return _unknown("UNAUTHORIZED", 401, {"WWW-Authenticate": 'Basic realm="faulty"'})
        return None

    def _manifest(self, path: str, request: Request) -> Answer:
        if self._types[path] not in request.headers.get("accept", ""):
            return _unknown("MANIFEST_UNKNOWN", 404)  # as docker-registry does
        return Answer(200, self._manifests[path], {"Content-Type": self._types[path]})

    def _chunk_list(self, digest: Digest, request: Request) -> Answer:
        if not self._chunksums or digest not in self._lists:
            return _unknown("NOT_FOUND", 404)
        headers = {"Content-Type": "text/plain"}
        location = request.path.replace("/chunksums/", "/blobs/")
        match self._content_location:
            case "absolute":
                headers["Content-Location"] = self.url + location
            case "relative":
                headers["Content-Location"] = f"../blobs/{digest}"
            case "signed":
                headers["Content-Location"] = (self._storage or self).signed_url(digest)
        return Answer(200, self._lists[digest], headers, chunked=True)

    def _signed(self, request: Request) -> Answer:
        url = urlsplit(request.path)
        if parse_qs(url.query)["signature"] != [str(self._generation)]:
            return Answer(403, b"<Error><Code>AccessDenied</Code></Error>", {"Content-Type": "application/xml"})
        return self._bytes(Digest.parse(url.path.removeprefix("/signed/")), request)

    def _blob(self, digest: Digest, request: Request) -> Answer:
        if digest not in self._blobs:
            return _unknown("BLOB_UNKNOWN", 404)
        if self._storage is not None:
            return Answer(307, b"", {"Location": self._storage.signed_url(digest)})
        return self._bytes(digest, request)

    def _bytes(self, digest: Digest, request: Request) -> Answer:
        data = self._blobs[digest]
        span = request.span if self._ranges else None
        start, end = span or (0, len(data) - 1)
        if end >= len(data) and span:
            return Answer(416, b"requested range not satisfiable\n", {"Content-Range": f"bytes */{len(data)}"})
        position = start

        def on_sent(size: int) -> None:
            nonlocal position
            with self._lock:
                for i in range(position, min(position + size, len(data))):
                    self._sent[digest][i] += 1
            position += size

        headers = {"Content-Type": "application/octet-stream", "ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
        if span is None:
            return Answer(200, data, headers, whole=data, on_sent=on_sent)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
        return Answer(206, data[start : end + 1], headers, whole=data, on_sent=on_sent)


def _unknown(code: str, status: int, headers: dict[str, str] | None = None) -> Answer:
    document = {"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}
    return Answer(status, json.dumps(document).encode(), {"Content-Type": "application/json", **(headers or {})})
