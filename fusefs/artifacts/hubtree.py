r"""HubTree: which files a repository of the Hugging Face Hub has at one commit, out of the Hub's listing of it.

The listing comes in pages of JSON; of what it says the tree keeps paths, sizes and hashes, so that the same commit
gives the same document whoever lists it.  The document has the shape of a manifest, so that whoever reads manifests
reads it:

    {"schemaVersion":2,"mediaType":"application/vnd.fusefs.hub.tree.v1+json","commit":"<40 hex>","layers":[
     {"name":"config.json","size":612,"digest":"git-sha1:<40 hex>"},
     {"name":"model.safetensors","size":90868376,"digest":"sha256:<64 hex>","oid":"<40 hex>","xetHash":"<64 hex>"}]}

A file that the Hub keeps in git is named by git's hash of it (`sha1("blob <size>\0" + content)`); a large one by its
sha256, which its pointer in git binds to the `oid`.  Everything here came from the network and is hostile until
checked.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import msgspec

from fusefs.artifacts.manifest import HUB_TREE, MAX_LAYERS, MAX_MANIFEST_SIZE, decode_document
from fusefs.artifacts.paths import Paths
from fusefs.errors import InvalidDigest, InvalidManifest, Masked
from fusefs.values.chunklimits import MAX_BLOB_SIZE
from fusefs.values.chunks import Blob
from fusefs.values.digest import GIT_SHA1, SHA256, Digest

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_PAGE_SIZE = 16 << 20
"""Bytes of a page of a listing at most; the Hub's have 1000 entries, of which few have a kilobyte."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HASH = re.compile(r"[0-9a-f]{64}")
_MASKED = re.compile(r"\*+")
_SHOWN = 100

_MAX_OBJECTS = 4 * MAX_LAYERS


class _Lfs(msgspec.Struct, rename="camel", frozen=True):
    oid: str
    size: int
    pointer_size: int | None = None


class _Entry(msgspec.Struct, rename="camel", frozen=True):
    """An entry of a listing, as far as it is read."""

    type: str
    path: str
    oid: str = ""
    size: int = 0
    lfs: _Lfs | None = None
    xet_hash: str | None = None


class _File(msgspec.Struct, rename="camel", frozen=True):
    """A file of the document."""

    name: str
    size: int
    digest: str
    oid: str = ""
    xet_hash: str = ""


class _Document(msgspec.Struct, rename="camel", frozen=True):
    media_type: str
    commit: str
    layers: list[_File]


_page = msgspec.json.Decoder(list[_Entry])
_document = msgspec.json.Decoder(_Document)


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a tree.

    Attributes:
        path: relative, components joined by `/`, checked.
        blob: its content: by sha256 where the Hub keeps it outside of git, else by git's hash.
        oid: the name that git has for the content, or for the pointer that stands for it there.
        xet: the hash of the content in the Hub's Xet store, as the Hub writes it; empty where it is not in there.
    """

    path: str
    blob: Blob
    oid: str
    xet: str = ""


@dataclass(frozen=True, slots=True)
class HubTree:
    """A repository at one commit.

    Attributes:
        commit: 40 hexadecimal digits.
        files: in the order of their paths; at least one.
    """

    commit: str
    files: tuple[HubFile, ...]

    @classmethod
    def of(cls, commit: str, files: Iterable[HubFile]) -> Self:
        """The tree of files that were listed, in any order.

        Raises:
            InvalidManifest: none, too many, two of one path, a file that is also a folder, or one hash with two sizes.
        """
        found, paths, sizes = [], Paths(), dict[Digest, int]()
        for file in files:
            _take(paths, file.path)
            if sizes.setdefault(file.blob.digest, file.blob.size) != file.blob.size:
                raise InvalidManifest(f"{file.path[:_SHOWN]!a}: {file.blob.digest} is listed with two sizes")
            found.append(file)
            if len(found) > MAX_LAYERS:
                raise InvalidManifest(f"more than {MAX_LAYERS} files")
        if not found:
            raise InvalidManifest("it has no files")
        return cls(_checked_commit(commit), tuple(sorted(found, key=lambda file: file.path)))

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a document that `document` wrote.

        Raises:
            InvalidManifest: it is none.
        """
        document = decode_document(raw, _document)
        if document.media_type != HUB_TREE:
            raise InvalidManifest("this is no tree of the Hugging Face Hub")
        return cls.of(document.commit, map(_file_of, document.layers))

    def without_xet(self) -> Self:
        """The same as it was listed before the Hub put its large files into the Xet store, as it does with old ones."""
        return replace(self, files=tuple(replace(file, xet="") for file in self.files))

    def document(self) -> bytes:
        """The bytes that say all this: of the same tree always the same.

        Raises:
            InvalidManifest: they are more than anybody reads.
        """
        value: dict[str, Any] = {"schemaVersion": 2, "mediaType": HUB_TREE, "commit": self.commit}
        value["layers"] = [_layer(file) for file in self.files]
        raw = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        if len(raw) > MAX_MANIFEST_SIZE:
            raise InvalidManifest(f"its files and their names take more than {MAX_MANIFEST_SIZE} bytes")
        return raw


def files_of_page(raw: bytes) -> list[HubFile]:
    """The files of one page of a listing (`/api/…/tree/<commit>?recursive=true`), in its order.

    Raises:
        Masked: the hashes are not shown to who asked.
        InvalidManifest: it is no such page, or one that contradicts itself.
    """
    entries = decode_document(raw, _page, size=MAX_PAGE_SIZE, objects=_MAX_OBJECTS)
    return [_listed(entry) for entry in entries if entry.type == "file"]


def _listed(entry: _Entry) -> HubFile:
    shown = ascii(entry.path[:_SHOWN])
    hashes = (entry.oid, entry.lfs.oid if entry.lfs else "", entry.xet_hash or "")
    if any(map(_MASKED.fullmatch, hashes)):
        raise Masked(f"the hash of {shown} is not shown")
    if not _COMMIT.fullmatch(entry.oid) or not 0 <= entry.size <= MAX_BLOB_SIZE:
        raise InvalidManifest(f"{shown} has no oid of 40 digits, or {entry.size} bytes")
    if entry.lfs is None:
        # A Xet hash beside it would be of no use: what is so small is fetched whole.
        return HubFile(entry.path, Blob(Digest(GIT_SHA1, entry.oid), entry.size), entry.oid)
    if not _HASH.fullmatch(entry.lfs.oid) or not _HASH.fullmatch(entry.xet_hash or entry.lfs.oid):
        raise InvalidManifest(f"{shown} has hashes that are none")
    _check_pointer(entry, entry.lfs, shown)
    return HubFile(entry.path, Blob(Digest(SHA256, entry.lfs.oid), entry.size), entry.oid, entry.xet_hash or "")


def _check_pointer(entry: _Entry, lfs: _Lfs, shown: str) -> None:
    """The sha256 of a large file is bound to the name that git has for its pointer, before a byte of it is fetched.

    Raises:
        InvalidManifest: it is not.
    """
    if lfs.size != entry.size:
        raise InvalidManifest(f"{shown} has {entry.size} bytes, and {lfs.size} by its pointer")
    pointer = pointer_of(lfs.oid, lfs.size)
    if not Digest(GIT_SHA1, entry.oid).matches(pointer) or lfs.pointer_size not in (None, len(pointer)):
        raise InvalidManifest(f"{shown}: the oid {entry.oid} is not that of a pointer to sha256 {lfs.oid[:12]}…")


def pointer_of(sha256: str, size: int) -> bytes:
    """What git keeps in the place of a large file.  Source: git-lfs, docs/spec.md."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def _file_of(file: _File) -> HubFile:
    try:
        digest = Digest.from_text(file.digest)
    except InvalidDigest as exc:
        raise InvalidManifest(f"{file.name[:_SHOWN]!a}: {exc}") from None
    oid = file.oid or digest.hex
    if digest.algorithm not in (SHA256, GIT_SHA1) or not _COMMIT.fullmatch(oid) or not 0 <= file.size <= MAX_BLOB_SIZE:
        raise InvalidManifest(f"{file.name[:_SHOWN]!a} is no file of a tree")
    if file.xet_hash and not _HASH.fullmatch(file.xet_hash):
        raise InvalidManifest(f"{file.name[:_SHOWN]!a} has a Xet hash that is none")
    return HubFile(file.name, Blob(digest, file.size), oid, file.xet_hash)


def _layer(file: HubFile) -> dict[str, Any]:
    layer = {"name": file.path, "size": file.blob.size, "digest": str(file.blob.digest)}
    layer |= {"oid": file.oid} if file.oid != file.blob.digest.hex else {}
    return layer | ({"xetHash": file.xet} if file.xet else {})


def _checked_commit(text: str) -> str:
    if not _COMMIT.fullmatch(text):
        raise InvalidManifest(f"{text[:_SHOWN]!a} is no commit of 40 digits")
    return text


def _take(paths: Paths, path: str) -> None:
    try:
        paths.add(path)
    except InvalidManifest as exc:
        raise InvalidManifest(
            str(exc).replace("layer name", "file name", 1).replace("two layers", "two files")
        ) from None
