"""HubRepository: one repository in the cache of the Hugging Face Hub's library, to be read and never touched.

`fusefs.offers.hubcache` has the layout.  Besides, `trees/<commit>.json` lists a commit, and a blob may be a link into
the store that the repositories of a cache share: `blobs/<2 digits>/<hash of Xet>` at the top.

What lies there is a claim: the library compares sizes alone, so that who reads a blob hashes it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from fusefs.artifacts.hublisting import COMMIT, MAX_LISTING_SIZE, file_by_etag, hub_folder, parse_listing
from fusefs.artifacts.hubtree import HubTree
from fusefs.errors import InvalidManifest, ServeError
from fusefs.offers.folders import Found
from fusefs.offers.roots import Roots
from fusefs.offers.stamp import Stamp

if TYPE_CHECKING:
    from fusefs.artifacts.hubtree import HubFile

_REFERENCE = 256
"""Bytes of a reference that are read at most; it holds the name of a commit."""

_DEEPEST = 64
"""Folders above a file at most: what a mount takes."""


class HubRepository:
    """Blocking.  Whatever is not there, cannot be read, or leads out of the cache counts as not there.

    Attributes:
        roots: from which it is read: the cache.
    """

    def __init__(self, cache: Path, kind: str, repository: str, *, closed_too: bool) -> None:
        """Hold the cache open.

        Args:
            cache: its folder.
            kind: `models`, `datasets` or `spaces`.
            repository: `organization/name`.
            closed_too: read what others may not, too.

        Raises:
            ServeError: there is no such cache.
        """
        self.roots = Roots(cache, closed_too=closed_too)
        self._folder = self.roots.top / hub_folder(kind, repository)

    def commit(self, revision: str) -> str | None:
        """The commit that a revision meant when the library asked last; a commit means itself."""
        if COMMIT.fullmatch(revision):
            return revision
        raw = self._read(self._folder / "refs" / revision, _REFERENCE)
        text = raw.decode("ascii", "replace").strip() if raw is not None else ""
        return text if COMMIT.fullmatch(text) else None

    def listed(self, commit: str) -> HubTree | None:
        """What a commit is made of, as the library has listed it."""
        raw = self._read(self._folder / "trees" / f"{commit}.json", MAX_LISTING_SIZE + 1)
        if raw is None or len(raw) > MAX_LISTING_SIZE:
            return None
        try:
            return parse_listing(commit, raw)
        except InvalidManifest:
            return None

    def linked(self, commit: str) -> HubTree | None:
        """What of a commit is there by the links of its snapshot, which caches without listings have, too.

        How Xet has a file they do not say, and what was never downloaded is missing.
        """
        found: list[HubFile] = []
        try:
            self._walk(self._folder / "snapshots" / commit, "", found)
            return HubTree.of(commit, found)
        except (OSError, InvalidManifest):
            return None

    def blob(self, file: HubFile) -> Found | None:
        """The file that is said to have this content, if it has its size."""
        places = [self._folder / "blobs" / file.blob.digest.hex]
        if file.xet:
            places.append(self.roots.top / "blobs" / file.xet[:2] / file.xet)
        found = (self._regular(place) for place in places)
        return next((place for place in found if place is not None and place.stamp.size == file.blob.size), None)

    def _walk(self, folder: Path, prefix: str, found: list[HubFile]) -> None:
        for name, status in self.roots.statuses(folder):
            path = folder / name
            if stat.S_ISDIR(status.st_mode) and prefix.count("/") < _DEEPEST:
                self._walk(path, f"{prefix}{name}/", found)
            elif stat.S_ISLNK(status.st_mode) and (place := self._regular(path)) is not None:
                etag = os.path.basename(os.readlink(path))
                file = file_by_etag(prefix + name, place.stamp.size, etag)
                found += [file] if file is not None else []

    def _regular(self, path: Path) -> Found | None:
        """The file that a path leads to."""
        real = self._resolved(path)
        status = self.roots.status(real) if real is not None else None
        if real is None or status is None or not stat.S_ISREG(status.st_mode):
            return None
        return Found(real, Stamp.of(status))

    def _read(self, path: Path, limit: int) -> bytes | None:
        real = self._resolved(path)
        if real is None:
            return None
        try:
            fd, _ = self.roots.open(real)
            with open(fd, "rb") as file:
                return file.read(limit)
        except (ServeError, OSError):
            return None

    def _resolved(self, path: Path) -> Path | None:
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError, ValueError):  # RuntimeError: how Python 3.11 reports a loop of links
            return None
        return real if self.roots.has(real) else None
