"""Resolving: the answers to requests for files, by branch or commit: the file, or where it can be had."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from tests.hub.refusal import refusal
from tests.hub.slices import sliced
from tests.wire_faults import Answer

if TYPE_CHECKING:
    from tests.faulty_registry import Request
    from tests.hub.cdn import Cdn
    from tests.hub.gate import Gate
    from tests.hub.repository import Commit, HubFile, RepoKind, Repository

_TEXT = (".json", ".md", ".txt", ".py")


class Resolving:
    """Answers to `/NAME/resolve/REVISION/PATH`, and to the place that it sends clients to for files in git.

    Attributes:
        cas_url: where the Xet store is.
        compresses: text is compressed for clients that do not ask for it as it is.
    """

    def __init__(self, gate: Gate, cdn: Cdn, cas_url: str) -> None:
        self._gate = gate
        self._cdn = cdn
        self._cas_url = cas_url
        self.compresses = True

    def answer(self, request: Request, kind: RepoKind, path: str) -> Answer:
        """The answer to `NAME/resolve/REVISION/PATH`."""
        repo_id, rest = self._gate.split(path)
        if (new := self._gate.moved.get((kind, repo_id))) is not None:
            prefix = "" if kind == "models" else f"/{kind}"
            return Answer(307, b"", {"Location": "/".join([prefix, new, *rest])})
        repository = self._gate.find(request, kind, repo_id)
        if len(rest) < 3 or rest[0] != "resolve":
            raise refusal(404, "Not found")
        revision = unquote(rest[1])
        commit = self._gate.commit(repository, revision)
        file = self._file(request, repository, commit, unquote("/".join(rest[2:])))
        if file.keeping != "regular":
            return self._elsewhere(request, repository, commit, file)
        if revision != commit.sha:
            there = f"/api/resolve-cache/{kind}/{repository.id}/{commit.sha}/{quote(file.path)}"
            location = f"{there}?{quote(urlsplit(request.path).path, safe='')}=&etag=%22{file.oid}%22"
            headers = {"Location": location, "X-Repo-Commit": commit.sha, "ETag": f'"{file.oid}"'}
            return Answer(307, b"Temporary Redirect. Redirecting to " + location.encode(), headers)
        return self._here(request, commit, file)

    def cached(self, request: Request, kind: RepoKind, path: str) -> Answer:
        """The answer to `NAME/COMMIT/PATH` of the cache of files in git."""
        ids = sorted((one for what, one in self._gate.repositories if what == kind), key=len, reverse=True)
        repo_id = next((one for one in ids if path.startswith(f"{one}/")), "")
        repository = self._gate.find(request, kind, repo_id)
        sha, _, rest = path.removeprefix(f"{repo_id}/").partition("/")
        commit = self._gate.commit(repository, sha)
        return self._here(request, commit, self._file(request, repository, commit, unquote(rest)))

    def _file(self, request: Request, repository: Repository, commit: Commit, path: str) -> HubFile:
        self._gate.content(request, repository, path)
        if path not in commit.files:
            raise refusal(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit.sha)
        return commit.files[path]

    def _here(self, request: Request, commit: Commit, file: HubFile) -> Answer:
        headers = {"ETag": f'"{file.oid}"', "X-Repo-Commit": commit.sha, "Content-Type": "text/plain; charset=utf-8"}
        if self.compresses and file.path.endswith(_TEXT) and "gzip" in request.headers.get("accept-encoding", ""):
            headers |= {"Content-Encoding": "gzip", "ETag": f'W/"{file.oid}"'}
            return Answer(200, gzip.compress(file.data), headers, chunked=request.method != "HEAD")
        return sliced(file.data, request.headers.get("range", ""), headers)

    def _elsewhere(self, request: Request, repository: Repository, commit: Commit, file: HubFile) -> Answer:
        location = self._cdn.file_url(repository, file)
        headers = {
            "Location": location,
            "X-Repo-Commit": commit.sha,
            "X-Linked-Etag": f'"{file.sha256}"',
            "X-Linked-Size": str(len(file.data)),
            "Accept-Ranges": "bytes",
            "Cache-Control": "no-store",
            "Vary": "Origin, Accept",
        }
        if file.packed is not None:
            token = (
                f"http://{request.headers['host']}/api/{repository.kind}/{repository.id}/xet-read-token/{commit.sha}"
            )
            recipe = f"{self._cas_url}/v1/reconstructions/{file.packed.hash}"
            headers["X-Xet-Hash"] = file.packed.hash
            headers["Link"] = f'<{token}>; rel="xet-auth", <{recipe}>; rel="xet-reconstruction-info"'
        return Answer(302, b"Found. Redirecting to " + location.encode(), headers)
