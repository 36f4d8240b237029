"""HubApi: the answers of the Hub's API for repositories: information, references, trees, tokens of the Xet store."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.hub.refusal import refusal
from tests.wire_faults import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faulty_registry import Request
    from tests.hub.cas import Cas
    from tests.hub.gate import Gate
    from tests.hub.repository import Commit, RepoKind, Repository

MODIFIED = "2026-11-02T10:00:00.000Z"


class HubApi:
    """Answers to `/api/…`.

    Attributes:
        page: entries of a tree in one answer.
        endless: each page says that another one follows, and that has other paths again.
    """

    def __init__(self, gate: Gate, cas: Cas) -> None:
        self._gate = gate
        self._cas = cas
        self.page = 1000
        self.endless = False

    def answer(self, request: Request, kind: RepoKind, path: str) -> Answer:
        """The answer to a request for `path`, which begins with the id of a repository."""
        repo_id, rest = self._gate.split(path)
        if (new := self._gate.moved.get((kind, repo_id))) is not None:
            query = urlsplit(request.path).query
            location = "/".join([f"/api/{kind}", new, *rest])
            return Answer(307, b"", {"Location": f"{location}?{query}" if query else location})
        repository = self._gate.find(request, kind, repo_id)
        verb, *rest = rest or ["revision", "main"]
        if verb == "refs":
            return _json(_refs(repository))
        commit = self._gate.commit(repository, unquote(rest[0] if rest else "main"))
        below = unquote("/".join(rest[1:]))
        answers: dict[str, Callable[[Request, Repository, Commit, str], Answer]] = {
            "revision": self._info,
            "tree": self._tree,
            "paths-info": self._paths,
            "xet-read-token": self._token,
        }
        return answers[verb](request, repository, commit, below)

    def _info(self, request: Request, repository: Repository, commit: Commit, _below: str) -> Answer:
        masked = self._gate.masked(request, repository)
        blobs = "blobs" in parse_qs(urlsplit(request.path).query)
        document = {
            "_id": repository.number,
            "id": repository.id,
            "private": repository.private,
            "gated": repository.gated,
            "disabled": repository.disabled,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "sha": commit.sha,
            "lastModified": MODIFIED,
            "createdAt": MODIFIED,
            "siblings": [_sibling(file.entry(masked=masked), blobs=blobs) for file in commit.files.values()],
        }
        return _json(document)

    def _tree(self, request: Request, repository: Repository, commit: Commit, below: str) -> Answer:
        query = parse_qs(urlsplit(request.path).query)
        entries = _entries(commit, below, masked=self._gate.masked(request, repository))
        if below and not entries:
            raise refusal(404, f"{below} does not exist", "EntryNotFound")
        if query.get("recursive", ["false"])[0].lower() not in ("true", "1"):
            depth = len(PurePosixPath(below).parts) + 1
            entries = [entry for entry in entries if len(PurePosixPath(entry["path"]).parts) == depth]
        page = min(int(query.get("limit", [self.page])[0]), self.page)
        start = int(query.get("cursor", ["c0"])[0][1:])
        headers = {"Content-Type": "application/json", "X-Repo-Commit": commit.sha}
        if start + page < len(entries) or self.endless:
            others = "&".join(f"{key}={quote(value[0])}" for key, value in query.items() if key != "cursor")
            url = f"http://{request.headers['host']}{urlsplit(request.path).path}?{others}&cursor=c{start + page}"
            headers["Link"] = f'<{url}>; rel="next"'
        shown = entries[start : start + page]
        if self.endless and start:
            shown = [{**entry, "path": f"{start}/{entry['path']}"} for entry in entries[:page]]
        return Answer(200, json.dumps(shown).encode(), headers)

    def _paths(self, request: Request, repository: Repository, commit: Commit, _below: str) -> Answer:
        if request.headers.get("content-type", "").startswith("application/json"):
            wanted = json.loads(request.body)["paths"]
        else:
            wanted = parse_qs(request.body.decode()).get("paths", [])
        entries = _entries(commit, "", masked=self._gate.masked(request, repository))
        return _json([entry for entry in entries if entry["path"] in wanted])

    def _token(self, request: Request, repository: Repository, _commit: Commit, _below: str) -> Answer:
        self._gate.content(request, repository, "")
        document = self._cas.token()
        headers = {
            "Content-Type": "application/json",
            "X-Xet-Access-Token": document["accessToken"],
            "X-Xet-Cas-Url": document["casUrl"],
            "X-Xet-Token-Expiration": str(document["exp"]),
        }
        return Answer(200, json.dumps(document).encode(), headers)


def _json(document: Any) -> Answer:
    return Answer(200, json.dumps(document).encode(), {"Content-Type": "application/json; charset=utf-8"})


def _refs(repository: Repository) -> dict[str, Any]:
    plain = {name: sha for name, sha in repository.branches.items() if not name.startswith("refs/")}
    return {
        "branches": [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": sha} for name, sha in plain.items()],
        "converts": [],
        "tags": [],
    }


def _sibling(entry: dict[str, Any], *, blobs: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"rfilename": entry["path"]}
    if blobs:
        found |= {"size": entry["size"], "blobId": entry["oid"]}
        if "lfs" in entry:
            lfs = entry["lfs"]
            found["lfs"] = {"sha256": lfs["oid"], "size": lfs["size"], "pointerSize": lfs["pointerSize"]}
    return found


def _entries(commit: Commit, below: str, *, masked: bool) -> list[dict[str, Any]]:
    """Files and folders below a folder, in the order of their paths."""
    prefix = f"{below}/" if below else ""
    found = {path: file.entry(masked=masked) for path, file in commit.files.items() if path.startswith(prefix)}
    folders = {str(parent) for path in found for parent in PurePosixPath(path).parents} - {"."}
    for folder in folders:
        if folder.startswith(prefix):
            oid = hashlib.sha1(f"{commit.sha} {folder}".encode()).hexdigest()
            found[folder] = {"oid": oid, "path": folder, "size": 0, "type": "directory"}
    return [found[path] for path in sorted(found)]
