"""Cas: the content-addressed store of Xet: how files are put together, and proofs of their parts, for a short token."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fusefs.xet.merkle import Node
from tests.hub.proofs import proof_of
from tests.hub.recipe import Recipe
from tests.hub.refusal import Refused
from tests.hub.slices import spans_of
from tests.wire_faults import Answer

if TYPE_CHECKING:
    from tests.faulty_registry import Request
    from tests.hub.cdn import Cdn
    from tests.hub.origin import Origin
    from tests.hub.packing import PackedFile, Packing

_PATH = re.compile(r"/(v1|v2)/(reconstructions|file-chunk-hashes)/([0-9a-f]{64})")


class Cas:
    """Answers for one origin.

    Attributes:
        life: seconds that a token lives.
        version: the newest version of reconstructions that it knows, 1 or 2.
        proofs: it gives proofs of windows.
        to_the_end: windows go on to the end of the file.
        settled: windows go on until chunks are settled, as on the Hub; else they end with the last chunk asked for.
        whole_terms: see `Recipe`.
    """

    def __init__(self, origin: Origin, cdn: Cdn) -> None:
        self._origin = origin
        self._cdn = cdn
        self._files: dict[str, PackedFile] = {}
        self._tokens: dict[str, int] = {}
        self._issued = 0
        self.life = 900
        self.version = 2
        self.proofs = True
        self.to_the_end = False
        self.settled = True
        self.whole_terms = False
        origin.answering = self._answer

    def add(self, packing: Packing) -> None:
        """Have these files and xorbs."""
        self._files |= {packed.hash: packed for packed in packing.files}
        self._cdn.xorbs |= packing.xorbs

    def token(self) -> dict[str, Any]:
        """A new token, as the Hub gives it to clients."""
        self._issued += 1
        text, ends = f"xet-token-{self._issued}", int(time.time()) + self.life
        self._tokens[text] = ends
        return {"accessToken": text, "casUrl": self._origin.url, "exp": ends}

    def end_tokens(self) -> None:
        """No token given so far is good any more."""
        self._tokens.clear()

    def _answer(self, request: Request) -> Answer:
        path = urlsplit(request.path).path
        if path == "/v1/telemetry":
            return Answer(200, b"")
        self._check(request)
        match = _PATH.fullmatch(path)
        packed = self._files.get(match[3]) if match is not None else None
        if match is None or packed is None:
            raise _refusal(404, "not found")
        match match[1], match[2]:
            case version, "reconstructions":
                return self._reconstruction(version, packed, request)
            case "v2", "file-chunk-hashes" if self.proofs:
                return self._proof(packed, request)
        raise _refusal(404, "not found")

    def _check(self, request: Request) -> None:
        ends = self._tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "), 0)
        if ends <= time.time():
            raise _refusal(401, "unauthorized")

    def _reconstruction(self, version: str, packed: PackedFile, request: Request) -> Answer:
        if int(version[1:]) > self.version:
            raise _refusal(404, "not found")
        spans = spans_of(request.headers.get("range", ""), packed.size)
        if spans == []:
            raise _refusal(416, "request_id: scripted; (12) invalid range")
        start, stop = (spans[0][0], spans[0][1] + 1) if spans else (0, packed.size)
        recipe = Recipe(packed, self._cdn.xorbs, start, stop, whole_terms=self.whole_terms)
        document = recipe.v2(self._cdn.xorb_url) if version == "v2" else recipe.v1(self._cdn.xorb_url)
        return _json(document)

    def _proof(self, packed: PackedFile, request: Request) -> Answer:
        spans = spans_of(request.headers.get("x-range-dirty", ""), packed.size)
        if not spans:
            raise _refusal(400, "X-Range-Dirty is missing or malformed")
        asked = [(first, packed.size if self.to_the_end else last + 1) for first, last in spans]
        return _json(proof_of([Node(raw, size) for raw, size in packed.chunks], asked, settled=self.settled))


def _json(document: Any) -> Answer:
    return Answer(200, json.dumps(document).encode(), {"Content-Type": "application/json"})


def _refusal(status: int, text: str) -> Refused:
    return Refused(Answer(status, text.encode(), {"Content-Type": "text/plain"}))
