"""BucketFiles: objects of S3, Google Cloud Storage and Azure through obstore, each pinned by its ETag (If-Match).

Needs the extra `cloud`.  What leaves here is `fusefs.errors`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import obstore
from obstore import exceptions

from fusefs.errors import NotFound, SourceChanged, SourceError, TransportError, Unauthorized, WrongResponse
from fusefs.sources.tree.bucketbody import BucketBody
from fusefs.sources.tree.bucketstore import CREDENTIALS, open_bucket
from fusefs.sources.tree.looped import Looped
from fusefs.sources.tree.treeserver import Seen

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from fusefs.sources.tree.looped import Call
    from fusefs.values.chunks import Blob, Chunk
    from fusefs.values.settings import Settings

_PIECE = 1 << 20
"""Bytes that come from obstore at a time, at least: each takes a turn of its loop."""

_STATUS = re.compile(r"status code: (\d{3})")
_LONGEST = 300


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

    def open(self, place: str, blob: Blob, chunk: Chunk, seen: Seen | None) -> tuple[BucketBody, Seen]:
        """See `Files.open`."""
        options: dict[str, Any] = {"range": (chunk.start, chunk.stop)}
        if seen is not None and seen.etag and not seen.etag.startswith("W/"):
            options["if_match"] = seen.etag

        async def opened() -> Any:
            return await obstore.get_async(self._store, place, options=options)  # type: ignore[arg-type] # a TypedDict

        result = self.result(self.begin(opened(), place), place)
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

    def in_flight(self) -> list[str]:
        """See `Remote.in_flight`."""
        return self._loop.lines()

    def close(self) -> None:
        """See `Source.close`."""
        self._loop.close()

    def begin(self, work: Coroutine[Any, Any, Any], place: str) -> Call:
        """Have something done for an object."""
        return self._loop.begin(work, place)

    def result(self, call: Call, place: str) -> Any:
        """What came of it.  Blocking.

        Raises:
            SourceError, Cancelled: it failed, or ended early.
        """
        try:
            return self._loop.result(call)
        except (exceptions.BaseError, OSError) as exc:  # FileNotFoundError among them
            raise self._translated(exc, place) from exc

    def _translated(self, exc: Exception, place: str) -> SourceError:
        if isinstance(exc, FileNotFoundError | exceptions.NotFoundError):
            return NotFound(f"there is no object {place}", source=self.label)
        if isinstance(exc, exceptions.PreconditionError):
            return SourceChanged(
                f"{self.label}/{place} has changed since it was listed (its ETag is another one); mount it again when "
                "its list of digests is right",
                source=self.label,
            )
        text = str(exc).partition("\n")[0].partition("<?xml")[0].strip(" :")[:_LONGEST]
        if isinstance(exc, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
            return Unauthorized(text, source=self.label)
        if "169.254." in text or "metadata.google" in text:
            return Unauthorized(f"no credentials were found; {CREDENTIALS[self._scheme]} ({text})", source=self.label)
        status = _STATUS.search(text)
        if status and status[1] == "407":  # a proxy's: the library has no error of its own for it
            return Unauthorized(text, source=self.label)
        if status and status[1].startswith("4") and status[1] not in ("408", "429"):
            return SourceError(text, source=self.label)
        return TransportError(text, source=self.label)


def _seen(meta: Any) -> Seen:
    return Seen(meta["size"], meta["e_tag"] or meta["version"] or "", str(meta["last_modified"]))
