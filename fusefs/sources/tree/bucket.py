"""BucketFiles: objects of S3, Google Cloud Storage and Azure through obstore, each pinned by its ETag (If-Match).

Needs the extra `cloud`.  What leaves here is `fusefs.errors`.
"""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import obstore
from obstore import exceptions

from fusefs.errors import InvalidManifest, NotFound, Unauthorized, WrongResponse
from fusefs.sources.tree.askedtime import AskedTime
from fusefs.sources.tree.bucketbody import BucketBody
from fusefs.sources.tree.bucketerrors import asks_to_wait, translated
from fusefs.sources.tree.bucketstore import open_bucket
from fusefs.sources.tree.looped import Looped
from fusefs.sources.tree.treeserver import Found, Seen, Sums

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from fusefs.errors import ResponseError
    from fusefs.sources.tree.looped import Call
    from fusefs.values.chunks import Blob, Chunk
    from fusefs.values.settings import Settings

_PIECE = 1 << 20
"""Bytes that come from obstore at a time, at least: each takes a turn of its loop."""

_PAGE = 1000
"""Objects of a listing that come at a time: what a page of the servers has."""

_MINUTE = timedelta(minutes=1)


class BucketFiles:
    """Objects of one bucket.

    Args:
        scheme: `s3`, `gs` or `az`.
        bucket: its name; of Azure the container's.
        settings: timeouts.

    Raises:
        MissingExtra: boto3 is not installed, and a profile is asked for.
        SourceError: the environment names something that cannot be.
    """

    web = False

    def __init__(self, scheme: str, bucket: str, settings: Settings) -> None:
        self.label = self.host = f"{scheme}://{bucket}"
        self._scheme = scheme
        self._bucket = bucket
        self._settings = settings
        self._store: Any = open_bucket(self._scheme, self._bucket, self._settings)
        self._loop = Looped(self.label, settings.stall)
        self._asked = AskedTime(settings)

    def at(self, folder: str, path: str) -> str:
        """See `Files.at`: the key."""
        return f"{folder}{path}".removeprefix("/")

    def fetch(self, place: str, limit: int) -> bytes:
        """See `Files.fetch`."""

        async def fetched() -> bytes:
            result = await obstore.get_async(self._store, place)
            data = bytearray()
            async for piece in result.stream(min_chunk_size=_PIECE):
                data += piece
                if len(data) >= limit:
                    break
            return bytes(data[:limit])

        return bytes(self.result(self.begin(fetched(), place), place))

    def look(self, place: str) -> Seen:
        """See `Files.look`."""

        async def looked() -> Seen:
            return _seen(await obstore.head_async(self._store, place))

        found = self.result(self.begin(looked(), place), place)
        assert isinstance(found, Seen)
        return found

    def found(self, folder: str, limit: int) -> list[Found]:
        """See `Files.found`; of S3 with the checksums that it keeps."""
        prefix = self.at(folder, "")
        objects = self._objects(prefix, limit)
        if not objects:
            raise NotFound(f"there is no object below {prefix or '/'}", source=self.label)
        sums: Mapping[str, Sums] = {}
        if self._scheme == "s3":
            from fusefs.sources.tree.bucketsums import S3Sums  # boto3 takes long to load

            with closing(S3Sums(self._bucket, self.label, self._settings)) as asked:
                sums = asked.of(prefix, objects)
        return [Found(key.removeprefix(prefix), seen, sums.get(key)) for key, seen in objects]

    def listed(self, folder: str, limit: int) -> dict[str, Seen]:
        """See `Files.listed`."""
        try:
            return dict(self._objects(self.at(folder, ""), limit))
        except (NotFound, Unauthorized, InvalidManifest):  # who may read objects need not be let list them
            return {}

    def _objects(self, prefix: str, limit: int) -> list[tuple[str, Seen]]:
        stream = obstore.list(self._store, prefix or None, chunk_size=_PAGE)
        objects: list[tuple[str, Seen]] = []

        async def page() -> list[Any]:
            return list(await anext(stream, []))

        while some := self.result(self.begin(page(), prefix), prefix):
            objects += [(meta["path"], _seen(meta)) for meta in some]
            if len(objects) > limit:
                raise InvalidManifest(f"{self.label}/{prefix}: more than {limit} objects")
        return objects

    def open(self, place: str, blob: Blob, chunk: Chunk, seen: Seen | None) -> tuple[BucketBody, Seen]:
        """See `Files.open`."""
        options: dict[str, Any] = {"range": (chunk.start, chunk.stop)}
        if seen is not None and seen.etag and not seen.etag.startswith("W/"):
            options["if_match"] = seen.etag

        async def opened() -> Any:
            return await obstore.get_async(self._store, place, options=options)  # type: ignore[arg-type] # a TypedDict

        result = self.result(self.begin(opened(), place), place, f"bytes={chunk}")
        now = _seen(result.meta)
        (seen or Seen(blob.size)).check(now, f"{self.label}/{place}", self.label)
        if tuple(result.range) != (chunk.start, chunk.stop):
            raise WrongResponse(f"asked for bytes {chunk} of {blob.size}, got {result.range}", source=self.label)
        return BucketBody(self, place, chunk, result.stream(min_chunk_size=_PIECE)), now

    @property
    def ignores_range(self) -> bool:
        """See `Remote.ignores_range`."""
        return False

    def refresh(self) -> None:
        """See `Remote.refresh`: the environment does not change, but a profile's credentials may."""
        self._store = open_bucket(self._scheme, self._bucket, self._settings)
        self._asked.forget()

    def in_flight(self) -> list[str]:
        """See `Remote.in_flight`."""
        return self._loop.lines()

    def close(self) -> None:
        """See `Source.close`."""
        self._asked.close()
        self._loop.close()

    def begin(self, work: Coroutine[Any, Any, Any], place: str) -> Call:
        """Have something done for an object."""
        return self._loop.begin(work, place)

    def result(self, call: Call, place: str, span: str = "") -> Any:
        """What came of it, of the bytes `span` of an object, where they are some.  Blocking.

        Raises:
            SourceError, Cancelled: it failed, or ended early.
        """
        try:
            return self._loop.result(call)
        except (exceptions.BaseError, OSError) as exc:  # FileNotFoundError among them
            if asks_to_wait(exc) and (told := self._asked_time(place, span)) is not None:
                raise told.with_traceback(None) from exc
            raise translated(exc, self.label, self._scheme, place) from exc

    def _asked_time(self, place: str, span: str) -> ResponseError | None:
        async def signed() -> str:
            return await obstore.sign_async(self._store, "GET", place, _MINUTE)

        try:
            url = str(self._loop.result(self.begin(signed(), place)))
        except (exceptions.BaseError, OSError, ValueError):
            return None  # of a public bucket, or with credentials that sign nothing
        return self._asked.ask(url, span)


def _seen(meta: Any) -> Seen:
    etag = meta["e_tag"] or meta["version"] or ""
    if etag and not etag.startswith(('"', "W/")):  # so Azure writes it in lists, and in quotes elsewhere
        etag = f'"{etag}"'
    return Seen(meta["size"], etag, str(meta["last_modified"]))
