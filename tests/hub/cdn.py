"""Cdn: the host that signed URLs point to: ranges of xorbs, files of the Xet store put together, files of git-lfs."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

from tests.hub.refusal import Refused
from tests.hub.slices import sliced
from tests.wire_faults import Answer

if TYPE_CHECKING:
    from tests.faulty_registry import Request
    from tests.hub.origin import Origin
    from tests.hub.packing import Xorb
    from tests.hub.repository import HubFile, Repository


class Cdn:
    """Answers for one origin.

    Attributes:
        xorbs: what it has, by name.
        bridge: files of the Xet store can be had as they are, too.
    """

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._generation = 0
        self._files: dict[str, bytes] = {}
        self.xorbs: dict[str, Xorb] = {}
        self.bridge = True
        origin.answering = self._answer

    def expire(self) -> None:
        """End all URLs signed so far."""
        self._generation += 1

    def xorb_url(self, name: str, spans: list[tuple[int, int]]) -> str:
        """A URL for exactly these byte ranges (inclusive) of a xorb."""
        signed = "bytes=" + ",".join(f"{first}-{last}" for first, last in spans)
        return self._signed(f"/xorbs/default/{name}", f"X-Xet-Signed-Range={quote(signed, safe='')}&")

    def file_url(self, repository: Repository, file: HubFile) -> str:
        """A URL for a file that is not kept in git."""
        if file.packed is not None:
            path = f"/xet-bridge-us/{repository.number}/{file.packed.hash}"
        else:
            path = f"/repos/{repository.number}/{file.sha256}"
        self._files[path] = file.data
        return self._signed(path)

    def _signed(self, path: str, query: str = "") -> str:
        rest = f"Expires=1790330665&Policy=e30_&Signature=s{self._generation}&Key-Pair-Id=K2"
        return f"{self._origin.url}{path}?{query}{rest}"

    def _answer(self, request: Request) -> Answer:
        url = urlsplit(request.path)
        query = parse_qs(url.query)
        if "authorization" in request.headers:
            raise _refusal(400, "InvalidArgument")  # a signed URL and credentials: storage takes one of them
        if query.get("Signature") != [f"s{self._generation}"]:
            raise _refusal(403, "AccessDenied")
        wanted = request.headers.get("range", "")
        if url.path.startswith("/xorbs/default/"):
            signed = query["X-Xet-Signed-Range"][0]
            single = wanted.removeprefix("bytes=") in signed.removeprefix("bytes=").split(",")
            if not wanted or not (single or wanted == signed):
                raise _refusal(403, "AccessDenied")
            return sliced(self.xorbs[url.path.rpartition("/")[2]].data, wanted, {})
        data = self._files.get(url.path)
        if data is None or (not self.bridge and url.path.startswith("/xet-bridge-us/")):
            raise _refusal(403, "AccessDenied")
        etag = hashlib.sha256(url.path.encode()).hexdigest()  # 64 digits, and no digest of the content
        return sliced(data, wanted, {"ETag": f'"{etag}"'})


def _refusal(status: int, code: str) -> Refused:
    text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code></Error>'
    return Refused(Answer(status, text.encode(), {"Content-Type": "application/xml"}))
