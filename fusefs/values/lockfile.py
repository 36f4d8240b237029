"""Lock: what models were made of when somebody said so, so that they are the same for ever (`fusefs lock`, `--lock`).

A JSON document.  The digest of a manifest pins its blobs; they stand there all the same, so that a person sees what is
pinned, and a reader that knows no registry can use it: with their paths they are the list of a folder on a web server.
Of a chunk list the lock has the sha256 of its text, a line a chunk in order, as `fusefs index` writes it: the list
itself may come from anywhere.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

import msgspec

from fusefs.errors import InvalidInput, InvalidSetting
from fusefs.values.chunklimits import check_blob_size
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest
from fusefs.values.reference import parse_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fusefs.values.chunks import ChunkList
    from fusefs.values.names import Name

VERSION = 1

MAX_LOCK_SIZE = 64 << 20
"""Bytes of a lock; 65,536 blobs take 15 MB."""

_MAX_OBJECTS = 1 << 19


class _Blob(msgspec.Struct, frozen=True):
    digest: str
    size: int
    chunks: str | None = None
    paths: list[str] = []  # msgspec copies a mutable default


class _Model(msgspec.Struct, frozen=True):
    source: str
    manifest: str
    blobs: list[_Blob]


class _Document(msgspec.Struct, frozen=True):
    version: int
    models: list[_Model]


class _Head(msgspec.Struct, frozen=True):
    version: int


_decoder = msgspec.json.Decoder(_Document)
_head = msgspec.json.Decoder(_Head)


@dataclass(frozen=True, slots=True)
class LockedModel:
    """One model.

    Attributes:
        name: with the digest of its manifest.
        blobs: digest and size of each.
        lists: of blobs whose chunk list is pinned: `list_digest` of it.
        paths: where each blob is a whole file of the model, by path; as they were written, so not checked.
    """

    name: Name
    blobs: tuple[Blob, ...]
    lists: Mapping[Digest, Digest]
    paths: Mapping[Digest, tuple[str, ...]] = field(default_factory=dict)

    @property
    def source(self) -> Name:
        """The name as a person wrote it."""
        return replace(self.name, digest=None)

    def check(self, blobs: Iterable[Blob]) -> None:
        """Compare what a manifest is made of with what stands here.

        Raises:
            InvalidSetting: it is something else; the digest of the manifest is right, so the lock was changed.
        """
        if {*blobs} != {*self.blobs}:
            raise InvalidSetting(f"{self.name}: the blobs in the lock are not those of the manifest that it pins")


@dataclass(frozen=True, slots=True)
class Lock:
    """What a lock pins.

    Attributes:
        models: in its order; at least one.
        file: where it lies, for people; empty when nowhere.
    """

    models: tuple[LockedModel, ...]
    file: str = ""

    @classmethod
    def parse(cls, raw: bytes, file: str = "") -> Self:
        """Read a lock that lies in `file`.

        Raises:
            InvalidSetting: it is none, or of a version to come.
        """
        if len(raw) > MAX_LOCK_SIZE or raw.count(b"{") > _MAX_OBJECTS:
            raise InvalidSetting(f"not a lock: {len(raw)} bytes of too many objects")
        try:
            version = _head.decode(raw).version
            if version != VERSION:
                raise InvalidSetting(f"a lock of version {version}; this fusefs reads version {VERSION}")
            document = _decoder.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise InvalidSetting(f"not a lock: {str(exc)[:200]}") from exc
        if not document.models:
            raise InvalidSetting("not a lock: it has no models")
        try:
            return cls(tuple(map(_model, document.models)), file)
        except InvalidInput as exc:
            raise InvalidSetting(f"not a lock: {exc}") from exc

    def format(self) -> str:
        """The document: the same lock is the same text."""
        models = [
            {
                "source": str(model.source),
                "manifest": str(model.name.digest),
                "blobs": [_entry(blob, model) for blob in model.blobs],
            }
            for model in self.models
        ]
        return json.dumps({"version": VERSION, "models": models}, indent=1) + "\n"

    def pinned(self, name: Name) -> Name:
        """A name as it is locked.

        Raises:
            InvalidSetting: it is not in the lock, or with another digest.
        """
        for model in self.models:
            if model.name.key == name.key and model.name.scheme == name.scheme:
                if name.digest not in (None, model.name.digest):
                    raise InvalidSetting(f"{name}: the lock has it with {model.name.digest}")
                return model.name
        raise InvalidSetting(f"{name} is not in the lock; it has {', '.join(self._shown())}")

    def model(self, name: Name) -> LockedModel | None:
        """What is locked of a name with its digest."""
        return next((model for model in self.models if model.name == name), None)

    def of_source(self, name: Name) -> LockedModel | None:
        """What is locked of a name, whatever digest that has."""
        return next((model for model in self.models if model.source == replace(name, digest=None)), None)

    def _shown(self) -> list[str]:
        shown = [str(model.source) for model in self.models]
        return shown if len(shown) <= _MAX_SHOWN else [*shown[:_MAX_SHOWN], f"{len(shown) - _MAX_SHOWN} more"]


_MAX_SHOWN = 4


def list_digest(chunks: ChunkList) -> Digest:
    """The sha256 of the text of a complete list, as `fusefs index` writes it."""
    seen = hashlib.sha256()
    lines = chunks.format()
    while some := "".join(islice(lines, 1024)):
        seen.update(some.encode())
    return Digest.from_raw(seen.digest())


def _model(model: _Model) -> LockedModel:
    name, manifest = parse_model(model.source), Digest.parse(model.manifest)
    blobs = tuple(Blob(Digest.from_text(one.digest), one.size) for one in model.blobs)
    lists = {blob.digest: Digest.parse(one.chunks) for blob, one in zip(blobs, model.blobs, strict=True) if one.chunks}
    paths = {blob.digest: tuple(one.paths) for blob, one in zip(blobs, model.blobs, strict=True) if one.paths}
    for blob in blobs:
        check_blob_size(blob.size)
    if name.digest is not None:
        raise InvalidSetting(f"the digest of {name} stands in its name")
    return LockedModel(name.pinned(manifest), blobs, lists, paths)


def _entry(blob: Blob, model: LockedModel) -> dict[str, Any]:
    entry: dict[str, Any] = {"digest": str(blob.digest), "size": blob.size}
    if blob.digest in model.lists:
        entry["chunks"] = str(model.lists[blob.digest])
    if blob.digest in model.paths:
        entry["paths"] = list(model.paths[blob.digest])
    return entry
