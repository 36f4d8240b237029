"""S3Sums: asks S3 for the sha256 that it keeps of objects, through boto3.  Blocking.

obstore, which gives the bytes, has no way to ask.  Only objects whose listing names the algorithm are asked for; of a
server that says nothing of it in listings the first few decide.  What S3 does not keep, or does not let us see, is
none; trouble that may pass is trouble: a fault must not choose the weaker check.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from boto3 import Session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from fusefs.artifacts.s3sums import S3Part, S3Sum, digest_of, pieces_of
from fusefs.errors import SourceChanged, SourceError, TransportError
from fusefs.sources.tree.treeserver import Sums

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fusefs.sources.tree.treeserver import Seen
    from fusefs.values.settings import Settings

_AT_ONCE = 8
_MOST_PARTS = 10_000
"""S3's own limit."""

_FEW = 8
"""Objects that are asked about of a server whose listings do not say which of them have a checksum."""

_REFUSED = frozenset((400, 401, 403, 404, 405, 501))
"""To a question about checksums: this server keeps none, or does not show them to us."""


class S3Sums:
    """Of one bucket.

    Args:
        bucket: its name.
        label: what to call it in messages.
        settings: timeouts.

    Raises:
        SourceError: the environment names something that cannot be.
    """

    def __init__(self, bucket: str, label: str, settings: Settings) -> None:
        self._bucket = bucket
        self._label = label
        endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None)
        unsigned = os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true", "yes", "on")
        config = Config(
            connect_timeout=min(10.0, settings.stall),
            read_timeout=settings.stall,
            retries={"total_max_attempts": 1},  # who asks tries again
            max_pool_connections=_AT_ONCE,
            s3={"addressing_style": "path"} if endpoint else {},
            **({"signature_version": UNSIGNED} if unsigned else {}),
        )
        try:
            session = Session()
            region = os.environ.get("AWS_REGION") or session.region_name or "us-east-1"
            self._client: Any = session.client(
                "s3", region_name=region, endpoint_url=endpoint, config=config, verify=_certificates()
            )
        except (BotoCoreError, ValueError) as exc:
            raise SourceError(f"its checksums cannot be asked for: {exc}", source=label) from exc

    def of(self, prefix: str, objects: Sequence[tuple[str, Seen]]) -> dict[str, Sums]:
        """The checksums that there are.

        Args:
            prefix: what the keys of the objects begin with.
            objects: the key of each, and what was seen of it.

        Raises:
            SourceError: it cannot be known now.
        """
        listed = self._asked(lambda: dict(self._algorithms(prefix)), {})
        told = any(algorithms is not None for algorithms in listed.values())
        wanted = [one for one in objects if one[1].size and "SHA256" in (listed.get(one[0]) or (() if told else _ALL))]
        if told:
            return self._sums(wanted)
        found = self._sums(wanted[:_FEW])
        return found | self._sums(wanted[_FEW:]) if found else {}

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def _sums(self, wanted: Sequence[tuple[str, Seen]]) -> dict[str, Sums]:
        with ThreadPoolExecutor(_AT_ONCE, "checksums") as pool:
            found = zip(wanted, pool.map(lambda one: self._sum(*one), wanted), strict=True)
            return {key: sums for (key, _), sums in found if sums is not None}

    def _algorithms(self, prefix: str) -> Iterator[tuple[str, Sequence[str] | None]]:
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
            for one in page.get("Contents", ()):
                yield one["Key"], one.get("ChecksumAlgorithm")

    def _sum(self, key: str, seen: Seen) -> Sums | None:
        named = {"Bucket": self._bucket, "Key": key, "ChecksumMode": "ENABLED"}
        if seen.etag:
            named["IfMatch"] = seen.etag
        head = self._asked(lambda: self._client.head_object(**named), {})
        found = S3Sum.read(head.get("ChecksumSHA256", ""), head.get("ChecksumType", ""), head.get("ETag", ""))
        if found is None:
            return None
        if not found.parts:
            digest = digest_of(found, seen.size, 0)
            return Sums(digest) if digest is not None else None
        parts = self._asked(lambda: list(self._parts(key)), [])
        sizes = [part.size for part in parts] or [self._part_size(named, number) for number in (1, found.parts)]
        if len({*sizes[:-1]}) > 1 or (len(sizes) > 1 and sizes[-1] != seen.size - sizes[0] * (found.parts - 1)):
            return None  # parts of several sizes: what they prove is no list of equal chunks
        digest = digest_of(found, seen.size, sizes[0])
        return None if digest is None else Sums(digest, pieces_of(digest, seen.size, parts))

    def _part_size(self, named: dict[str, str], number: int) -> int:
        head = self._asked(lambda: self._client.head_object(**named, PartNumber=number), {})
        return int(head.get("ContentLength", 0))

    def _parts(self, key: str) -> Iterator[S3Part]:
        marker, left = 0, _MOST_PARTS
        while left > 0:
            found = self._client.get_object_attributes(
                Bucket=self._bucket,
                Key=key,
                ObjectAttributes=["ObjectParts"],
                MaxParts=1000,
                PartNumberMarker=marker,
            ).get("ObjectParts", {})
            for part in found.get("Parts", ()):
                left -= 1
                yield S3Part(part.get("Size", 0), part.get("ChecksumSHA256", ""))
            following = found.get("NextPartNumberMarker", 0)
            if not found.get("IsTruncated") or following <= marker:
                return
            marker = following

    def _asked(self, ask: Callable[[], Any], nothing: Any) -> Any:
        try:
            return ask()
        except ClientError as exc:
            status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if status in _REFUSED:
                return nothing
            if status == 412:
                raise SourceChanged("an object has changed while it was listed", source=self._label) from exc
            raise TransportError(_line(exc), source=self._label) from exc
        except BotoCoreError as exc:
            raise TransportError(_line(exc), source=self._label) from exc


_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_ALL = ("SHA256",)
_LONGEST = 300


def _certificates() -> str | None:
    """Who is trusted: as everywhere here, and as the SDKs read it."""
    return os.environ.get("AWS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or None


def _line(exc: Exception) -> str:
    return str(exc).partition("\n")[0][:_LONGEST]
