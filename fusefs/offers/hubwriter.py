"""HubWriter: fills the cache of the Hugging Face Hub's library, so that it finds there what it would have fetched.

The library's own steps, so that both may work on one cache at once: a file `blobs/<etag>.<8 digits>.incomplete` gets
its final name under the lock `.locks/<repository>/<etag>.lock` (flock), and a link in `snapshots` leads to it.  Other
than the library we hash every byte on its way, and a blob that is there is hashed, too, before it is believed.

A reference is written last: whoever follows it finds all of the commit.
Source: huggingface_hub 2.4, `file_download.py`, `_tree_cache.py`, `utils/_fixes.py`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import time
from typing import TYPE_CHECKING

from fusefs.artifacts.hublisting import listing_of
from fusefs.errors import ServeError
from fusefs.offers.treefiles import FICLONE, Placed
from fusefs.system.files import copy_exactly, hexdigest_of, pwrite_all, reader_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from fusefs.artifacts.hubtree import HubFile
    from fusefs.values.chunks import Blob

_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This file is a cache directory tag created by huggingface_hub.\n"
    "# For information about cache directory tags, see:\n"
    "#\thttps://bford.info/cachedir/\n"
)
"""As the library writes it."""

_LOOK = 0.1
"""Seconds between two tries to have a lock: a download of another program takes minutes."""


class HubWriter:
    """Writes one repository.  Blocking; for one thread.

    Attributes:
        folder: of the repository.
    """

    def __init__(self, cache: Path, folder: str, told: Callable[[str], None] = lambda _: None) -> None:
        """Make the folders that are not there.

        Args:
            cache: the folder of the cache.
            folder: of the repository in it, `models--organization--name`.
            told: called once with a line for each lock that has to be waited for.

        Raises:
            ServeError: the disk does not let us.
        """
        self.folder = cache / folder
        self._locks = cache / ".locks" / folder
        self._told = told
        with _written(self.folder):
            for path in (self.folder / "blobs", self.folder / "refs", self._locks):
                path.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError), open(cache / "CACHEDIR.TAG", "x", encoding="ascii") as file:
                file.write(_TAG)

    def add_blob(self, file: HubFile, source: int) -> Placed:
        """Have the content of a file in `blobs`.

        Args:
            file: of the commit.
            source: a descriptor of a file with that content.

        Raises:
            ServeError: the source has other bytes, or the disk does not take them.
        """
        etag = file.blob.digest.hex
        path = self.folder / "blobs" / etag
        with _written(path), self._locked(etag):
            if _holds(path, file.blob):
                return Placed.KEPT
            scratch = path.with_name(f"{path.name}.{secrets.token_hex(4)}.incomplete")
            # By the mode that the umask leaves: a cache may be shared, as the library has it.
            fd = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            try:
                placed = _fill(fd, source, file)
                os.fdatasync(fd)  # its name is what says that it is whole
                os.replace(scratch, path)  # a link to a shared blob is replaced, and what it leads to is not touched
            finally:
                os.close(fd)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(scratch)
            return placed

    def leads_to(self, file: HubFile, place: Path) -> bool:
        """Whether the name of a file in `blobs` leads to `place`, a path without links."""
        try:
            return (self.folder / "blobs" / file.blob.digest.hex).resolve(strict=True) == place
        except (OSError, RuntimeError):
            return False

    def finish(self, commit: str, revision: str, files: Sequence[HubFile], shown: Sequence[HubFile]) -> Path:
        """Have the snapshot, the listing and the reference, when all blobs are there.

        Args:
            commit: its name.
            revision: that meant it; empty, or the commit itself: no reference is written.
            files: all of the commit.
            shown: those whose blobs are there.

        Returns:
            The folder of the files.

        Raises:
            ServeError: the disk does not let us.
        """
        snapshot = self.folder / "snapshots" / commit
        for file in shown:
            path = snapshot / file.path
            with _written(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                _link(path, os.path.relpath(self.folder / "blobs" / file.blob.digest.hex, path.parent))
        self._replace(self.folder / "trees" / f"{commit}.json", listing_of(files))
        if revision not in ("", commit):
            self._replace(self.folder / "refs" / revision, commit.encode())
        return snapshot

    def _replace(self, path: Path, data: bytes) -> None:
        scratch = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
        with _written(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            try:
                pwrite_all(fd, memoryview(data), 0)
                os.fsync(fd)
                os.replace(scratch, path)
            finally:
                os.close(fd)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(scratch)

    @contextlib.contextmanager
    def _locked(self, etag: str) -> Iterator[None]:
        """The library's lock of a blob.  Its file stays, for who waits has it open."""
        path = self._locks / f"{etag}.lock"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o664)
        try:
            waited = False
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not waited:
                        self._told(f"another program is writing {etag[:12]}… into {self.folder}; waiting for it")
                    waited = True
                    time.sleep(_LOOK)
            yield
        finally:
            os.close(fd)


def _holds(path: Path, blob: Blob) -> bool:
    """Whether a blob is there and right; one in the store that repositories share is reached through its link."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    with open(fd, "rb", buffering=0) as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size != blob.size:
            return False
        return hexdigest_of(file, blob.digest, blob.size) == blob.digest.hex


def _fill(fd: int, source: int, file: HubFile) -> Placed:
    """Give an empty file the content of another one, and hash it."""
    digest, size = file.blob.digest, file.blob.size
    try:
        fcntl.ioctl(fd, FICLONE, source)
    except OSError:  # no such file system, or not the same one
        placed = Placed.COPIED
        hasher = digest.hasher(size)
        copy_exactly(reader_from(source), fd, size, file.path, hasher)
        found = hasher.hexdigest()
    else:
        placed = Placed.LINKED
        with open(fd, "rb", buffering=0, closefd=False) as clone:
            found = hexdigest_of(clone, digest, size)
    if found != digest.hex:
        raise ServeError(f"{file.path} changed while it was copied; run the command again")
    return placed


def _link(path: Path, target: str) -> None:
    """Have a symbolic link at `path`, in the place of whatever is there."""
    with contextlib.suppress(OSError):
        if os.readlink(path) == target:
            return
    scratch = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        os.symlink(target, scratch)
    except OSError as exc:
        if exc.errno in (errno.EPERM, errno.EOPNOTSUPP):
            raise ServeError(f"cannot write {path}: its file system has no symbolic links") from exc
        raise
    try:
        os.replace(scratch, path)
    except OSError:
        os.unlink(scratch)
        raise


@contextlib.contextmanager
def _written(what: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise ServeError(f"cannot write {what}: {exc.strerror or exc}") from exc
