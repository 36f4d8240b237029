"""The registry's endpoints over a Catalog: Docker's registry API V2 as far as reading goes, and Ollama's chunksums.

FileSource: Docker registry HTTP API V2, OCI distribution-spec 1.1, Ollama's `server/internal/client/ollama`.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import quote

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fusefs.artifacts.listartifact import blob_of
from fusefs.artifacts.manifest import OCI_INDEX
from fusefs.errors import Cancelled, FusefsError, InvalidDigest, InvalidName, ServeError
from fusefs.offers.catalog import Document, Refused
from fusefs.offers.indexer import FileChanged, NotYet
from fusefs.serve.accept import wants_oci
from fusefs.serve.body import FileResponse, OpenFile, TextResponse
from fusefs.serve.byteranges import Unsatisfiable, matches, requested_range
from fusefs.serve.paging import page_of
from fusefs.serve.proved import ProvedFile
from fusefs.serve.waiting import when_known
from fusefs.serve.welcome import HEADERS, page
from fusefs.values.chunks import Blob, Chunk, ChunkList
from fusefs.values.digest import Digest
from fusefs.values.names import Name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from starlette.requests import Request

    from fusefs.offers.catalog import Catalog, StoredFile
    from fusefs.serve.body import FileSource

    Endpoint = Callable[[Request], Awaitable[Response]]

_CODES = {400: "BAD_REQUEST", 404: "NOT_FOUND", 405: "UNSUPPORTED"}
_LINES = 2048
"""Lines of chunksums sent at a time, about 180 KiB."""

_READERS = 16
"""Threads that read and hash for all clients together: enough to wait for a disk, and a piece each takes its turn."""


def make_app(catalog: Catalog) -> Starlette:
    """The ASGI application over `catalog`."""
    registry = Registry(catalog)
    repository = "/v2/{repository:path}"
    routes = [
        Route("/", registry.welcome),
        Route("/v2/", registry.version),
        Route("/v2", registry.version),
        Route("/v2/_catalog", registry.list_repositories),
        Route(f"{repository}/tags/list", registry.list_tags),
        Route(f"{repository}/manifests/{{reference}}", registry.manifest),
        Route(f"{repository}/blobs/{{digest}}", registry.blob),
        Route(f"{repository}/chunksums/{{digest}}", registry.chunksums),
        Route(f"{repository}/referrers/{{digest}}", registry.referrers),
        Route("/chunksums/{title}", registry.list_of_any),
    ]
    handlers = {HTTPException: registry.on_http_error, FusefsError: registry.on_fusefs_error}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return app


class Registry:
    """The endpoints."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        # To look at a large folder, or to write a large list, takes seconds: it must not take the threads of others.
        self._slow = trio.CapacityLimiter(8)
        self._readers = trio.CapacityLimiter(_READERS)

    async def version(self, _request: Request) -> Response:
        """`/v2/`: this is a registry."""
        return JSONResponse({}, headers={"Docker-Distribution-Api-Version": "registry/2.0"})

    async def welcome(self, request: Request) -> Response:
        """`/`: a page for a person."""
        offers = await trio.to_thread.run_sync(self._catalog.offers)
        return Response(page(offers, _base(request)), headers=HEADERS)

    async def list_repositories(self, request: Request) -> Response:
        """`/v2/_catalog`."""
        names = await trio.to_thread.run_sync(self._catalog.repositories)
        shown = page_of(names, "/v2/_catalog", request.query_params)
        return JSONResponse({"repositories": shown.names}, headers=shown.headers)

    async def list_tags(self, request: Request) -> Response:
        """`/v2/<repository>/tags/list`."""
        repository = _repository(request)
        tags = await trio.to_thread.run_sync(self._catalog.tags, repository)
        shown = page_of(tags, f"/v2/{repository}/tags/list", request.query_params)
        return JSONResponse({"name": repository, "tags": shown.names}, headers=shown.headers)

    async def manifest(self, request: Request) -> Response:
        """`/v2/<repository>/manifests/<tag or digest>`."""
        repository, reference = _repository(request), _reference(request)
        wanted = partial(self._catalog.manifest, oci=wants_oci(request.headers.getlist("accept")))
        document = await when_known(wanted, repository, reference, limiter=self._slow)
        answer = _document(request, document)
        answer.headers["Vary"] = "Accept"
        return answer

    async def referrers(self, request: Request) -> Response:
        """`/v2/<repository>/referrers/<digest>`: nothing; whoever knows of an empty list asks for no fallback."""
        repository, _ = _repository(request), Digest.parse(request.path_params["digest"])
        await trio.to_thread.run_sync(self._catalog.tags, repository)  # refuses what is not here
        headers = {"Content-Type": OCI_INDEX}
        if "artifactType" in request.query_params:
            headers["OCI-Filters-Applied"] = "artifactType"
        return JSONResponse({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}, headers=headers)

    async def blob(self, request: Request) -> Response:
        """`/v2/<repository>/blobs/<digest>`."""
        repository, digest = _repository(request), Digest.parse(request.path_params["digest"])
        found = await when_known(self._open, repository, digest)
        if isinstance(found, Document):
            return _document(request, found)
        file, place = found
        try:
            return self._file(request, file, place, digest)
        except BaseException:
            file.close()
            raise

    async def chunksums(self, request: Request) -> Response:
        """`/v2/<repository>/chunksums/<digest>`."""
        repository, digest = _repository(request), Digest.parse(request.path_params["digest"])
        chunks = await when_known(self._catalog.chunk_list, repository, digest, limiter=self._slow)
        return await self._text(request, repository, digest, chunks)

    async def list_of_any(self, request: Request) -> Response:
        """`/chunksums/sha256-<hex>.chunksums`: the list of a blob of any model, for copies of it that others have."""
        digest = blob_of(request.path_params["title"])
        if digest is None:
            raise HTTPException(404)
        repository, chunks = await trio.to_thread.run_sync(self._any_list, digest, limiter=self._slow)
        return await self._text(request, repository, digest, chunks)

    def _any_list(self, digest: Digest) -> tuple[str, ChunkList]:
        """As far as it is known by now: to hash all models for somebody's question would take hours.

        Raises:
            NotYet: it may be one of a model that is being hashed.
            Refused: no model has the blob.
        """
        later: NotYet | None = None
        for repository in self._catalog.repositories():
            try:
                return repository, self._catalog.chunk_list(repository, digest)
            except NotYet as exc:
                later = exc
            except ServeError:
                continue
        raise later or Refused("BLOB_UNKNOWN", f"no model here has a blob {digest}")

    async def _text(self, request: Request, repository: str, digest: Digest, chunks: ChunkList) -> Response:
        headers = {
            "Content-Location": f"/v2/{repository}/blobs/{digest}",
            # A client of HTTP/1.0 (a proxy, often) knows no chunked body: without a length it waits for the end.
            "Content-Length": str(await trio.to_thread.run_sync(_text_size, chunks, limiter=self._slow)),
            "Docker-Content-Digest": str(digest),
            "Cache-Control": "no-cache",
        }
        lines = iter(()) if request.method == "HEAD" else _lines(chunks)
        return TextResponse(lines, headers)

    async def on_http_error(self, _request: Request, exc: Exception) -> Response:
        """No such path, or a method that a read-only registry does not have."""
        assert isinstance(exc, HTTPException)
        return _error(exc.status_code, _CODES.get(exc.status_code, "UNKNOWN"), exc.detail, dict(exc.headers or {}))

    async def on_fusefs_error(self, _request: Request, exc: Exception) -> Response:
        """What the catalog or a parser refused."""
        match exc:
            case Refused():
                return _error(exc.status, exc.code, str(exc))
            case InvalidDigest():
                return _error(400, "DIGEST_INVALID", str(exc))
            case InvalidName():
                return _error(400, "NAME_INVALID", str(exc))
            case FileChanged() | NotYet():
                # Without Retry-After: that would be about all requests to this server, and other models are ready.
                return _error(503, "UNAVAILABLE", str(exc))
            case Cancelled():
                return _error(503, "UNAVAILABLE", str(exc), {"Retry-After": "1"})
            case _:
                return _error(500, "UNKNOWN", str(exc))

    def _file(self, request: Request, file: OpenFile, place: StoredFile, digest: Digest) -> Response:
        etag, size = f'"{digest}"', file.stamp.size
        headers = {"ETag": etag, "Docker-Content-Digest": str(digest), "Accept-Ranges": "bytes"}
        if matches(request.headers.get("if-none-match"), etag):
            file.close()
            return Response(status_code=304, headers=headers)
        try:
            chunk = _range(request, etag, size)
        except Unsatisfiable:
            file.close()
            return _unsatisfiable(size)
        headers |= {"Content-Type": "application/octet-stream", "Content-Length": str(chunk.size if chunk else size)}
        if chunk is not None:
            headers["Content-Range"] = f"bytes {chunk}/{size}"
        else:
            # Ollama's client takes the bytes from where this leads, and from nowhere else.
            headers["Location"] = quote(request.url.path, safe="/:")
        wanted = chunk or (Chunk(0, size - 1) if size else None)
        source = self._proved(file, place, wanted, digest)
        return FileResponse(source, wanted, 200 if chunk is None else 206, headers)

    def _proved(self, file: OpenFile, place: StoredFile, wanted: Chunk | None, digest: Digest) -> FileSource:
        """`file`, hashed as it is sent.

        Where no chunk list is known yet (a large blob of a store whose list nobody asked for), the digest of the whole
        proves the whole; a part of it is sent as it lies, and the client's own list decides.
        """
        chunks = place.chunks
        if chunks is None and wanted is not None and wanted.size == file.stamp.size and digest.is_sha256:
            chunks = ChunkList.single(Blob(digest, file.stamp.size))
        if chunks is None or wanted is None:
            return file
        return ProvedFile(file, chunks, wanted, place.distrust, self._readers)

    def _open(self, repository: str, digest: Digest) -> Document | tuple[OpenFile, StoredFile]:
        for place in self._catalog.blobs(repository, digest):
            if isinstance(place, Document):
                return place
            file = _opened(place)
            if file is not None:
                return file, place
        raise Refused(
            "BLOB_UNKNOWN",
            f"the file with the digest {digest} changed since; mount or pull the model again to have the new version",
        )


def _opened(place: StoredFile) -> OpenFile | None:
    """The file, provided that it is still the one that has the digest."""
    try:
        fd, stamp = place.open(place.path)
    except FusefsError:
        return None
    file = OpenFile(fd, stamp, str(place.path))
    if stamp == place.stamp:
        return file
    file.close()
    return None


def _text_size(chunks: ChunkList) -> int:
    """Bytes of the chunksums text."""
    return sum(map(len, chunks.format()))


def _lines(chunks: ChunkList) -> Iterator[bytes]:
    lines = chunks.format()
    while piece := "".join(islice(lines, _LINES)).encode():
        yield piece


def _repository(request: Request) -> str:
    return Name.of("localhost", request.path_params["repository"]).repository


def _base(request: Request) -> str:
    """The server's URL as the client calls it; that it may call it so was looked at before."""
    scheme, host = request.scope["scheme"], request.headers.get("host")
    if host:
        return f"{scheme}://{host}"
    address, port = request.scope["server"]  # HTTP/1.0 without a Host
    return f"{scheme}://[{address}]:{port}" if ":" in address else f"{scheme}://{address}:{port}"


def _reference(request: Request) -> str | Digest:
    text = request.path_params["reference"]
    if ":" in text:
        return Digest.parse(text)
    return Name.of("localhost", "local/model", text).tag


def _document(request: Request, document: Document) -> Response:
    etag = f'"{document.digest}"'
    headers = {"ETag": etag, "Docker-Content-Digest": str(document.digest), "Content-Type": document.media_type}
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    headers["Accept-Ranges"] = "bytes"
    try:
        chunk = _range(request, etag, len(document.raw))
    except Unsatisfiable:
        return _unsatisfiable(len(document.raw))
    if chunk is None:
        return Response(document.raw, headers=headers)
    headers["Content-Range"] = f"bytes {chunk}/{len(document.raw)}"
    return Response(memoryview(document.raw)[chunk.start : chunk.stop], 206, headers)


def _range(request: Request, etag: str, size: int) -> Chunk | None:
    """The range to send; Range means something for GET alone, and If-Range with another tag cancels it."""
    if request.method != "GET" or request.headers.get("if-range", etag) != etag:
        return None
    return requested_range(request.headers.get("range"), size)


def _unsatisfiable(size: int) -> Response:
    return _error(416, "RANGE_INVALID", f"the blob has {size} bytes", {"Content-Range": f"bytes */{size}"})


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"errors": [{"code": code, "message": message}]}, status, headers)
