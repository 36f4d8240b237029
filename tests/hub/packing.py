"""Packing: files as the Xet store keeps them, made by `hf_xet` itself in a folder of this machine.

packing = pack((b"one file", b"another"))
packing.files[0].hash, packing.files[0].terms, packing.xorbs[…].data
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("HF_XET_LOG_DEST", os.devnull)  # else it writes its log below the home of who tests

import hf_xet

from tests.hub.shard import MAGIC, Shard

if TYPE_CHECKING:
    from tests.hub.shard import Term


def hash_text(raw: bytes) -> str:
    """A hash of Xet as it stands in URLs: four little-endian numbers of 64 bits."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", raw))


def hash_bytes(text: str) -> bytes:
    """The other way round."""
    return struct.pack("<4Q", *(int(text[i : i + 16], 16) for i in range(0, 64, 16)))


@dataclass(frozen=True)
class Xorb:
    """A xorb as it is served.

    Attributes:
        name: its hash, as text.
        data: its chunks with their headers, without the footer.
        chunks: hash and unpacked size of each.
    """

    name: str
    data: bytes
    chunks: tuple[tuple[bytes, int], ...]

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Where each chunk begins in `data`, and where the last one ends."""
        found = [0]
        for _ in self.chunks:
            packed = int.from_bytes(self.data[found[-1] + 1 : found[-1] + 4], "little")
            found.append(found[-1] + 8 + packed)
        return tuple(found)


@dataclass(frozen=True)
class PackedFile:
    """A file in the Xet store.

    Attributes:
        hash: its Xet hash, as text.
        size: in bytes.
        terms: the chunks that it is made of, in order.
        chunks: hash and size of each of them.
    """

    hash: str
    size: int
    terms: tuple[Term, ...]
    chunks: tuple[tuple[bytes, int], ...]


@dataclass(frozen=True)
class Packing:
    """Files that were stored together, in the order in which they were given, and the xorbs that hold them."""

    files: tuple[PackedFile, ...]
    xorbs: dict[str, Xorb]


@lru_cache(maxsize=32)
def pack(contents: tuple[bytes, ...], base: tuple[bytes, ...] = ()) -> Packing:
    """Store `contents` (none of them empty) in one commit, after `base`, whose chunks they share where they can."""
    root = Path(tempfile.mkdtemp(prefix="fusefs-xet-"))
    try:
        _store(root, base)
        hashes = _store(root, contents)
        return _read(root, hashes)
    finally:
        shutil.rmtree(root)


def _store(root: Path, contents: tuple[bytes, ...]) -> list[str]:
    if not contents:
        return []
    commit = hf_xet.XetSession().new_upload_commit(endpoint=f"local://{root}")
    hashes = []
    for data in contents:  # one after the other, so that the same contents always make the same xorbs
        upload = commit.start_upload_stream()
        upload.write(data)
        hashes.append(upload.finish().xet_info.hash)
    commit.wait_to_finish()
    return hashes


def _read(root: Path, hashes: list[str]) -> Packing:
    texts = (path.read_bytes() for path in root.rglob("*.mdb"))
    shards = [Shard.parse(text) for text in texts if text.startswith(MAGIC)]  # others are databases
    xorbs: dict[str, Xorb] = {}
    files: dict[str, tuple[Term, ...]] = {}
    for shard in shards:
        files |= {hash_text(raw): terms for raw, terms in shard.files.items()}
        for raw, chunks in shard.xorbs.items():
            name = hash_text(raw)
            (path,) = root.rglob(f"default.{name}")
            xorb = Xorb(name, path.read_bytes(), chunks)
            xorbs[name] = Xorb(name, xorb.data[: xorb.offsets[-1]], chunks)
    packed = tuple(_packed(one, files[one], xorbs) for one in hashes)
    return Packing(packed, xorbs)


def _packed(file_hash: str, terms: tuple[Term, ...], xorbs: dict[str, Xorb]) -> PackedFile:
    chunks = [chunk for term in terms for chunk in xorbs[hash_text(term.xorb)].chunks[term.start : term.stop]]
    return PackedFile(file_hash, sum(size for _, size in chunks), terms, tuple(chunks))
