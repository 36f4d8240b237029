"""Statement: the in-toto statement of OMS: each file of a model with its digest, or each shard of each file.

Sources: OMS 1.0, sections 5 and 6; model_signing 1.1, `_signing/signing.py` and `manifest.py`.
"""

from __future__ import annotations

import hashlib
from array import array
from typing import TYPE_CHECKING

import msgspec

from fusefs.errors import InvalidChunkList, InvalidDigest, InvalidSignature
from fusefs.values.chunks import ChunkList
from fusefs.values.digest import Digest
from fusefs.values.signed import Signed, SignedFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fusefs.values.voucher import Voucher

_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
_SHA256 = "sha256"
_SHARD_ALGORITHM = "sha256-sharded-"
"""Before the size of a shard: what model_signing calls the digest of one."""

_MAX_OBJECTS = 1 << 19
_GIT = (".git", ".gitattributes", ".github", ".gitignore")
"""What no signer signs (OMS 1.0, section 6.2)."""


class _Resource(msgspec.Struct, frozen=True):
    name: str
    algorithm: str
    digest: str


class _Serialization(msgspec.Struct, frozen=True):
    method: str
    hash_type: str
    shard_size: float | None = None
    ignore_paths: list[str] = []  # msgspec copies a mutable default


class _Predicate(msgspec.Struct, frozen=True):
    serialization: _Serialization
    resources: list[_Resource]


class _Subject(msgspec.Struct, frozen=True):
    digest: dict[str, str]


class _Statement(msgspec.Struct, frozen=True, rename={"kind": "_type", "predicate_type": "predicateType"}):
    kind: str
    predicate_type: str
    subject: list[_Subject]
    predicate: _Predicate


class _Head(msgspec.Struct, frozen=True, rename={"kind": "_type", "predicate_type": "predicateType"}):
    kind: str
    predicate_type: str


_decoder = msgspec.json.Decoder(_Statement)
_head = msgspec.json.Decoder(_Head)


def parse_statement(
    payload: bytes, voucher: Voucher, place: str, own: Digest, *, ignore_unsigned: bool = False
) -> Signed:
    """Read what was signed, after the signature was checked.

    Args:
        payload: the statement.
        voucher: who has signed.
        place: where the signature lies.
        own: its digest.
        ignore_unsigned: see `Signed`.

    Raises:
        InvalidSignature: it says nothing of a model, or nothing that sha256 can prove.
    """
    statement = _decoded(payload)
    serialization = statement.predicate.serialization
    if serialization.hash_type != _SHA256:
        raise InvalidSignature(
            f"its files were hashed by {serialization.hash_type[:40]!a}, and only sha256 can be proved: sign it again"
        )
    resources = statement.predicate.resources
    _check_root(statement.subject, resources)
    if serialization.method == "files":
        files = dict(_whole_files(resources))
    elif serialization.method == "shards":
        files = dict(_sharded_files(resources, serialization.shard_size))
    else:
        raise InvalidSignature(f"the method {serialization.method[:40]!a} is not known")
    if not files:
        raise InvalidSignature("it signs no file")
    ignored = (*_GIT, *filter(None, map(_ignored, serialization.ignore_paths)))
    empty_too = serialization.method == "files"
    return Signed(files, ignored, voucher, place, own, empty_too=empty_too, ignore_unsigned=ignore_unsigned)


def _decoded(payload: bytes) -> _Statement:
    if payload.count(b"{") > _MAX_OBJECTS:
        raise InvalidSignature(f"it signs more than {_MAX_OBJECTS} files or shards")
    try:
        head = _head.decode(payload)
        if head.kind != _STATEMENT or head.predicate_type != _PREDICATE:
            raise InvalidSignature(
                f"it signs {head.predicate_type[:80]!a} and no model by OMS 1.0 ({_PREDICATE}): sign the model again"
            )
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidSignature(f"what it signs is no statement about a model: {str(exc)[:200]}") from exc


def _check_root(subjects: Sequence[_Subject], resources: Sequence[_Resource]) -> None:
    """The subject has a digest of all digests, in their order."""
    root = hashlib.sha256()
    for resource in resources:
        root.update(_digest_of(resource).raw)
    if [subject.digest.get(_SHA256) for subject in subjects] != [root.hexdigest()]:
        raise InvalidSignature("the digest of all its files is not that of its subject")


def _digest_of(resource: _Resource) -> Digest:
    if resource.algorithm != _SHA256 and not resource.algorithm.startswith(_SHARD_ALGORITHM):
        raise InvalidSignature(f"{resource.name[:80]!a} was hashed by {resource.algorithm[:40]!a}, and not by sha256")
    try:
        return Digest.parse(f"sha256:{resource.digest}")
    except InvalidDigest as exc:
        raise InvalidSignature(f"{resource.name[:80]!a}: {exc}") from exc


def _whole_files(resources: Sequence[_Resource]) -> Iterator[tuple[str, SignedFile]]:
    seen: set[str] = set()
    for resource in resources:
        if resource.name in seen:
            raise InvalidSignature(f"{resource.name[:80]!a} stands in it twice")
        seen.add(resource.name)
        yield resource.name, SignedFile(_digest_of(resource))


def _sharded_files(resources: Sequence[_Resource], shard_size: float | None) -> Iterator[tuple[str, SignedFile]]:
    """Files by their shards, which may come in any order: as text `a:10:20` comes before `a:5:10`."""
    if shard_size is None or not shard_size.is_integer() or shard_size < 1:
        raise InvalidSignature(f"shards of {shard_size} bytes")
    size = int(shard_size)
    shards: dict[str, dict[int, tuple[int, bytes]]] = {}
    for resource in resources:
        path, start, end = _shard(resource.name)
        of_file = shards.setdefault(path, {})
        if start in of_file:
            raise InvalidSignature(f"{resource.name[:80]!a} stands in it twice")
        of_file[start] = end, _digest_of(resource).raw
    for path, of_file in shards.items():
        whole = max(end for end, _ in of_file.values())
        for start, (end, _) in of_file.items():
            if start % size or end != min(start + size, whole):
                raise InvalidSignature(f"{path[:80]!a}: {start}:{end} is no shard of {size} bytes")
        if len(of_file) != -(-whole // size):
            raise InvalidSignature(f"{path[:80]!a}: a shard is missing")
        starts = sorted(of_file)
        try:
            chunks = ChunkList.from_packed(whole, array("Q", starts), b"".join(of_file[at][1] for at in starts))
        except InvalidChunkList as exc:
            raise InvalidSignature(f"the shards of {path[:80]!a} are no chunk list: {exc}") from exc
        yield path, SignedFile(chunks.digest(0) if len(chunks) == 1 else None, chunks)


def _shard(name: str) -> tuple[str, int, int]:
    """Read `<path>:<start>:<end>`, of which a path may have colons, too."""
    path, *bounds = name.rsplit(":", 2)
    if len(bounds) == 2 and all(part.isascii() and part.isdecimal() and len(part) < 20 for part in bounds):
        start, end = map(int, bounds)
        if path and start < end:
            return path, start, end
    raise InvalidSignature(f"{name[:80]!a} is no shard of a file")


def _ignored(path: str) -> str:
    """A path relative to the model; empty of what would be all of it, or lies outside."""
    path = path.removeprefix("./").rstrip("/")
    return "" if path in ("", ".") or path.startswith(("/", "../")) else path
