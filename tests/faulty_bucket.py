"""FaultyBucket: a server of S3's protocol on the loopback address, with every fault of `FaultyRegistry`.

It has GET and HEAD of objects by path: signatures (that there is one, and whose), ETag, `If-Match`, Range, and errors
as S3 words them.  What only a real server shows is shown by SeaweedFS (`tests.bucket`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from fusefs.values.digest import Digest
from tests.faulty_registry import FaultyRegistry
from tests.wire_faults import Answer

if TYPE_CHECKING:
    from tests.faulty_registry import Request

_MODIFIED = "Mon, 02 Nov 2026 10:00:00 GMT"


class FaultyBucket(FaultyRegistry):
    """Give it objects by `put`; a `public` one wants no signature."""

    def __init__(self, *, public: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._public = public
        self._objects: dict[str, bytes] = {}
        self._homes: dict[Digest, set[str]] = {}

    def put(self, path: str, data: bytes) -> None:
        """Have an object `/bucket/key`, in the place of another one."""
        self._objects[path] = data
        self._homes.setdefault(Digest.of(data), set()).add(path)
        self._sent.setdefault(Digest.of(data), [0] * len(data))
        self._blobs[Digest.of(data)] = data

    def asked(self, digest: Digest) -> list[tuple[int, int]]:
        """See `FaultyRegistry.asked`: of the objects that have, or had, this content."""
        paths = self._homes.get(digest, set())
        return [r.span for r in self.requests if r.span and urlsplit(r.path).path in paths]

    def _answer(self, request: Request) -> Answer:
        path = unquote(urlsplit(request.path).path)
        if not self._public and "Credential=tests/" not in request.headers.get("authorization", ""):
            return _error(403, "AccessDenied")
        data = self._objects.get(path)
        if data is None:
            return _error(404, "NoSuchKey")
        digest = Digest.of(data)
        wanted = request.headers.get("if-match")
        if wanted is not None and wanted.strip('"') != digest.hex:
            return _error(412, "PreconditionFailed")
        answer = self._bytes(digest, request)
        if answer.status in (200, 206):
            answer.headers |= {"ETag": f'"{digest.hex}"', "Last-Modified": _MODIFIED}
        return answer


def _error(status: int, code: str) -> Answer:
    text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code></Error>'
    return Answer(status, text.encode(), {"Content-Type": "application/xml"})
