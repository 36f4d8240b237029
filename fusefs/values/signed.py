"""Signed: what a signature says that a model is made of: its files, with the digests of the whole or of their shards.

How a signature is written, and whose it must be, is known to `fusefs.signatures` alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.errors import NotSigned
from fusefs.values.digest import Digest
from fusefs.values.selection import EVERYTHING, Selection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusefs.values.chunks import Blob, ChunkList
    from fusefs.values.snapshot import File, Snapshot
    from fusefs.values.voucher import Voucher

    Unread = tuple[File, "SignedFile"]
    """A file whose bytes must be read before it can be said whether they are what was signed."""

_SINGLE = "."
"""How a signature names the file of a model that is one file and no folder (model_signing 1.1)."""

_SHOWN = 60
"""Characters of a path that a message has; the end of it says most."""


@dataclass(frozen=True, slots=True)
class SignedFile:
    """One file.

    Attributes:
        digest: sha256 of the whole; None of a file that was signed in several shards.
        shards: the digests of its shards; None where the whole was signed, whose size nobody says then.
    """

    digest: Digest | None
    shards: ChunkList | None = None


@dataclass(frozen=True, slots=True)
class Signed:
    """All that one signature says.

    Attributes:
        files: by path, components joined by `/`; as they were signed, so not checked.
        ignored: paths that were left out, each with all that lies below it.
        voucher: who has signed.
        place: where the signature lies, for messages.
        own: the digest of the signature, which may lie among the files of the model.
        empty_too: empty files are listed like others.
        ignore_unsigned: a file that is not listed is no reason to refuse the model.
        selection: of which files it is asked; the others are neither shown nor fetched.
    """

    files: Mapping[str, SignedFile]
    ignored: tuple[str, ...]
    voucher: Voucher
    place: str
    own: Digest
    empty_too: bool = True
    ignore_unsigned: bool = False
    selection: Selection = EVERYTHING

    def pairs(self, model: Snapshot) -> list[Unread]:
        """Each file of a model that was signed, with what was signed of it.

        Raises:
            NotSigned: a file is missing, or there is one more.
        """
        here = {file.path: file for file in model.files if self.selection.shows(file.path)}
        if len(here) == 1 and self.files.keys() == {_SINGLE}:
            signed = dict.fromkeys(here, self.files[_SINGLE])
        else:
            signed = {path: file for path, file in self.files.items() if self.selection.shows(path)}
        self._check_names(model, here, signed)
        return [(here[path], file) for path, file in signed.items()]

    def unread(self, model: Snapshot) -> list[Unread]:
        """Compare the files of a model with those that were signed, as far as it takes no byte of them.

        Returns:
            Files that are still to be compared: one that was signed in several shards, or has no sha256 of its own,
            as a part of an archive.

        Raises:
            NotSigned: the model is another one; the first difference.
        """
        return [(file, signed) for file, signed in self.pairs(model) if not self._agree(model, file, signed)]

    def parts(self, model: Snapshot) -> list[Unread]:
        """Those of `unread` whose bytes are not compared when they are read: all but what was signed in shards.

        Raises:
            NotSigned: as `unread`.
        """
        return [(file, signed) for file, signed in self.unread(model) if not _is_listed(file, signed)]

    def listed(self, model: Snapshot) -> list[Unread]:
        """The others of `unread`: files whose shards are the chunk lists of their blobs.

        Raises:
            NotSigned: as `unread`.
        """
        return [(file, signed) for file, signed in self.unread(model) if _is_listed(file, signed)]

    def lists(self, model: Snapshot) -> dict[Blob, ChunkList]:
        """The chunk lists that the shards are, of those blobs whose own digest was not signed.

        Raises:
            NotSigned: as `unread`; or one blob is two files that were signed with different shards.
        """
        found: dict[Blob, ChunkList] = {}
        for file, signed in self.listed(model):
            assert signed.shards is not None
            assert not isinstance(file.content, bytes)
            if found.setdefault(file.content.blob, signed.shards) != signed.shards:
                raise NotSigned(
                    f"{model.reference.short}: {_shown(file.path)} and a copy of it were signed differently"
                )
        return found

    def _check_names(self, model: Snapshot, here: Mapping[str, File], signed: Mapping[str, SignedFile]) -> None:
        name = model.reference.short
        missing = [path for path in signed if path not in here]
        if missing and len(missing) == len(signed):
            count = f"none of the {len(missing)} files" if len(missing) > 1 else "the file"
            raise NotSigned(f"{name}: {count} in the signature {self.place} is here: it is another model's")
        if missing:
            raise NotSigned(f"{name}: {_some(missing)} in the signature {self.place}, and not here")
        extra = [] if self.ignore_unsigned else [path for path, file in here.items() if self._is_extra(file, signed)]
        if extra:
            raise NotSigned(
                f"{name}: {_some(extra)} not in the signature {self.place}; --ignore-unsigned-files takes that"
            )

    def _is_extra(self, file: File, signed: Mapping[str, SignedFile]) -> bool:
        path, content = file.path, file.content
        if path in signed or any(path == one or path.startswith(f"{one}/") for one in self.ignored):
            return False
        if isinstance(content, bytes):
            return bool(content or self.empty_too)
        if content.is_whole and content.blob.digest == self.own:
            return False
        return bool(content.size or self.empty_too)

    def _agree(self, model: Snapshot, file: File, signed: SignedFile) -> bool:
        """Whether a file is known to be what was signed; False when its bytes must be read for it.

        Raises:
            NotSigned: it is not.
        """
        content, shards = file.content, signed.shards
        size = len(content) if isinstance(content, bytes) else content.size
        if shards is not None and shards.size != size:
            raise self.differs(model, file.path, f"it has {size} bytes, and {shards.size} were signed")
        actual = None
        if isinstance(content, bytes):
            if shards is not None:
                self._compare(model, file.path, content, shards)
                return True
            actual = Digest.of(content)
        elif content.is_whole and content.blob.digest.is_sha256:
            actual = content.blob.digest
        if signed.digest is None or actual is None:
            return False
        if actual != signed.digest:
            raise self.differs(model, file.path, f"it has the digest {actual}, and {signed.digest} was signed")
        return True

    def _compare(self, model: Snapshot, path: str, data: bytes, shards: ChunkList) -> None:
        for index, shard in enumerate(shards):
            if Digest.of(data[shard.start : shard.stop]) != shards.digest(index):
                raise self.differs(model, path, f"its bytes {shard} are others")

    def differs(self, model: Snapshot, path: str, how: str) -> NotSigned:
        """The error for a file that is another one."""
        return NotSigned(f"{model.reference.short}: {_shown(path)} is not what the signature {self.place} says: {how}")


def _is_listed(file: File, signed: SignedFile) -> bool:
    """Whether the shards of a file are the chunk list of its blob."""
    return signed.digest is None and not isinstance(file.content, bytes) and file.content.is_whole


def _some(paths: Sequence[str]) -> str:
    """`a.bin and 2 more are`."""
    more = f" and {len(paths) - 1} more are" if paths[1:] else " is"
    return f"{_shown(paths[0])}{more}"


def _shown(path: str) -> str:
    return ascii(path if len(path) <= _SHOWN else f"…{path[-_SHOWN:]}")
