"""FaultyBucket: a server of S3's protocol on the loopback address, with every fault of `FaultyRegistry`.

It has GET and HEAD of objects by path: signatures (that there is one, and whose), ETag, `If-Match`, Range, and errors
as S3 words them; of objects in parts their checksums, and lists of objects.  What only a real server shows is shown by
SeaweedFS (`tests.bucket`), which keeps no checksums of single parts.  Source: Amazon S3 API, ListObjectsV2, HeadObject,
GetObjectAttributes.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from fusefs.values.digest import Digest
from tests.faulty_registry import FaultyRegistry
from tests.wire_faults import Answer

if TYPE_CHECKING:
    from tests.faulty_registry import Request

_XML = '<?xml version="1.0" encoding="UTF-8"?>'
_SPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
_MODIFIED = "Mon, 02 Nov 2026 10:00:00 GMT"


class FaultyBucket(FaultyRegistry):
    """Give it objects by `put`; a `public` one wants no signature.

    Attributes:
        tells_parts: whether it lets us ask for the attributes of objects (`s3:GetObjectAttributes`).
    """

    def __init__(self, *, public: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._public = public
        self._objects: dict[str, bytes] = {}
        self._part_sizes: dict[str, int] = {}
        self.tells_parts = True
        self._homes: dict[Digest, set[str]] = {}

    def put(self, path: str, data: bytes, *, part_size: int = 0) -> None:
        """Have an object `/bucket/key`, in the place of another one; uploaded with SHA256 in parts of a size."""
        self._objects[path] = data
        self._part_sizes[path] = part_size
        self._homes.setdefault(Digest.of(data), set()).add(path)
        self._sent.setdefault(Digest.of(data), [0] * len(data))
        self._blobs[Digest.of(data)] = data

    def asked(self, digest: Digest) -> list[tuple[int, int]]:
        """See `FaultyRegistry.asked`: of the objects that have, or had, this content."""
        paths = self._homes.get(digest, set())
        return [r.span for r in self.requests if r.span and urlsplit(r.path).path in paths]

    def _answer(self, request: Request) -> Answer:
        path = unquote(urlsplit(request.path).path)
        if not self._public and not _is_signed(request):
            return _error(403, "AccessDenied")
        query = parse_qs(urlsplit(request.path).query, keep_blank_values=True)
        if "list-type" in query:
            return self._listed(path, query.get("prefix", [""])[0])
        data = self._objects.get(path)
        if data is not None and "attributes" in query:
            return self._attributes(path) if self.tells_parts else _error(403, "AccessDenied")
        if data is None:
            return _error(404, "NoSuchKey")
        digest = Digest.of(data)
        wanted = request.headers.get("if-match")
        if wanted is not None and wanted.strip('"') != digest.hex:
            return _error(412, "PreconditionFailed")
        answer = self._bytes(digest, request)
        if answer.status in (200, 206):
            answer.headers |= {"ETag": f'"{digest.hex}"', "Last-Modified": _MODIFIED}
            if self._part_sizes[path] and request.headers.get("x-amz-checksum-mode") == "ENABLED":
                sums = self._sums(path)
                whole = hashlib.sha256(b"".join(sums)).digest()
                answer.headers |= {"x-amz-checksum-sha256": f"{_base64(whole)}-{len(sums)}"}
                answer.headers |= {"x-amz-checksum-type": "COMPOSITE"}
            if number := query.get("partNumber"):
                answer.body = self._parts(path)[int(number[0]) - 1]
        return answer

    def _parts(self, path: str) -> list[bytes]:
        data, size = self._objects[path], self._part_sizes[path]
        return [data[off : off + size] for off in range(0, len(data), size)]

    def _sums(self, path: str) -> list[bytes]:
        return [hashlib.sha256(part).digest() for part in self._parts(path)]

    def _listed(self, bucket: str, prefix: str) -> Answer:
        entries = ""
        for path, data in self._objects.items():
            key = path.removeprefix(f"{bucket.rstrip('/')}/")
            if key != path and key.startswith(prefix):
                algorithm = "<ChecksumAlgorithm>SHA256</ChecksumAlgorithm>" if self._part_sizes[path] else ""
                entries += f"<Contents><Key>{escape(key)}</Key><LastModified>2026-11-02T10:00:00.000Z</LastModified>"
                entries += (
                    f"<ETag>&quot;{Digest.of(data).hex}&quot;</ETag><Size>{len(data)}</Size>{algorithm}</Contents>"
                )
        text = f"{_XML}<ListBucketResult {_SPACE}><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"
        return Answer(200, text.encode(), {"Content-Type": "application/xml"})

    def _attributes(self, path: str) -> Answer:
        """In pages of two parts, so that there are several of them."""
        parts, sums = self._parts(path), self._sums(path)
        marker = int(self.requests[-1].headers.get("x-amz-part-number-marker", 0))
        stop = min(marker + 2, len(parts))
        told = "".join(
            f"<Part><PartNumber>{i + 1}</PartNumber><Size>{len(parts[i])}</Size>"
            f"<ChecksumSHA256>{_base64(sums[i])}</ChecksumSHA256></Part>"
            for i in range(marker, stop)
        )
        more = f"<IsTruncated>{str(stop < len(parts)).lower()}</IsTruncated>"
        more += f"<NextPartNumberMarker>{stop}</NextPartNumberMarker><PartsCount>{len(parts)}</PartsCount>"
        inside = f"<ObjectParts>{more}{told}</ObjectParts>"
        text = f"{_XML}<GetObjectAttributesResponse {_SPACE}>{inside}</GetObjectAttributesResponse>"
        return Answer(200, text.encode(), {"Content-Type": "application/xml"})


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _is_signed(request: Request) -> bool:
    """By whom, and not whether the signature is right: in a header, or in the URL."""
    query = unquote(urlsplit(request.path).query)
    return "Credential=tests/" in request.headers.get("authorization", "") or "X-Amz-Credential=tests/" in query


def _error(status: int, code: str) -> Answer:
    text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code></Error>'
    return Answer(status, text.encode(), {"Content-Type": "application/xml"})
