"""Indexer: the entry of a file, from memory, from what is kept on disk, or by hashing it behind the answers."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, TypeVar

from fusefs.errors import Cancelled, ServeError
from fusefs.offers.filehash import FileChanged, FileHash, FileHasher
from fusefs.offers.folders import Found
from fusefs.offers.hashqueue import HashQueue
from fusefs.offers.kept import HashedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from fusefs.offers.hashqueue import Group, Work
    from fusefs.offers.kept import KeptDigests
    from fusefs.offers.roots import Roots
    from fusefs.offers.stamp import Stamp

    Progress = Callable[[str, int, int], None]
    """What is being hashed, bytes done and bytes in all of everything that was queued; from any thread."""

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_TURN = 0.2
"""Seconds of hashing after which another model gets its turn; a piece is 4 MiB, some milliseconds."""

_REST = 2.0
"""Seconds at least before a file that could not be hashed is tried again.

One that is being written would be hashed again and again, so that it rests for as long as the last try took."""


class NotYet(ServeError):
    """What was asked for is being hashed.

    Attributes:
        watch: have a function called when it is worth asking again; False: now.
        unwatch: forget that function.
    """

    def __init__(self, group: Group, queue: HashQueue) -> None:
        percent = 100 * group.done // group.size if group.size else 0
        super().__init__(f"{group.label} is being hashed, {percent}% of {group.size} bytes; ask again")
        self._group = group
        self._queue = queue

    def watch(self, callback: Callable[[], None]) -> bool:
        """See the class."""
        return self._queue.watch(self._group, callback)

    def unwatch(self, callback: Callable[[], None]) -> None:
        """See the class."""
        self._queue.unwatch(self._group, callback)


def hashed(ask: Callable[[], _T]) -> _T:
    """What `ask` gives, as soon as what it needs is hashed.  Blocking."""
    while True:
        try:
            return ask()
        except NotYet as exc:
            ready = threading.Event()
            if exc.watch(ready.set):
                ready.wait()


class Indexer:
    """Thread-safe.  No method hashes: that is done by threads of its own, a file at a time, who is asked for first.

    Attributes:
        bytes_hashed: bytes read in order to hash them, since the start.
        on_failure: called, once for each reason, with what was wrong with a file.
    """

    def __init__(self, kept: KeptDigests, chunk_size: int, roots: Roots, progress: Progress | None = None) -> None:
        self.bytes_hashed = 0
        self.on_failure: Callable[[str], None] | None = None
        self.roots = roots
        self._kept = kept
        self._chunk_size = chunk_size
        self._lock = threading.Lock()
        self._entries: dict[Path, HashedFile] = {}
        self._failed: dict[Path, tuple[ServeError, float]] = {}
        self._said: set[str] = set()
        self._queue = HashQueue(self._begin, progress)
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()
        self._hashers = threading.local()

    def known(self, path: Path, stamp: Stamp) -> HashedFile | None:
        """Digest and chunk list of a file that looks like that; None when it would have to be hashed."""
        entry = self._entries.get(path)
        if entry is not None and entry.stamp == stamp:
            return entry
        entry = self._kept.load(path, stamp)
        if entry is not None:
            self._entries[path] = entry
        return entry

    def entry(self, path: Path) -> HashedFile:
        """As `entries`, for a file that belongs to no model."""
        files = {path.name: Found(path, self.roots.stamp(path))}
        return self.entries(files, str(path), path.name)[path.name]

    def entries(self, files: dict[str, Found], key: str, label: str) -> dict[str, HashedFile]:
        """The entries of all files of a model.

        Args:
            files: the files as they are, by any names.
            key: of the model, in the queue.
            label: of the model, for people.

        Raises:
            NotYet: some of them are being hashed from now on, before all that nobody asked for.
            ServeError: a file cannot be read, or changes all the time.
            Cancelled: `stop` was called.
        """
        found = {name: self.known(file.path, file.stamp) for name, file in files.items()}
        missing = {files[name].path: files[name].stamp.size for name, entry in found.items() if entry is None}
        if missing:
            raise self._not_yet(missing, key, label)
        return {name: entry for name, entry in found.items() if entry is not None}

    def hash_soon(self, files: Iterable[Found], key: str, label: str) -> None:
        """Hash those files of a model that must be, when nobody asks for anything else."""
        missing = {file.path: file.stamp.size for file in files if self.known(file.path, file.stamp) is None}
        if missing and self._queue.put(key, label, missing, demanded=False) is not None:
            self._start_threads()

    def forget(self, path: Path) -> None:
        """The file is gone."""
        with self._lock:
            self._entries.pop(path, None)
            self._failed.pop(path, None)

    def distrust(self, path: Path) -> None:
        """The file is not what its digest says, though its stamp is the same: it is hashed again when it is needed."""
        self._kept.drop(path)
        with self._lock:
            self._entries.pop(path, None)

    def linked(self, entry: HashedFile) -> None:
        """A file got one more name, and with it the ctime in `entry`; it need not be hashed again for that."""
        with self._lock:
            self._entries[entry.path] = entry
        self._kept.save(entry)

    def wait_idle(self, timeout: float) -> bool:
        """Wait until everything that was queued is hashed; False when that takes longer than `timeout` seconds."""
        return self._queue.wait_empty(timeout)

    def stop(self) -> None:
        """End the hashing that is under way, and refuse more.  Idempotent."""
        self._stopped.set()
        self._queue.stop()

    # ---- what waits

    def _not_yet(self, missing: dict[Path, int], key: str, label: str) -> ServeError | Cancelled:
        now = time.monotonic()
        with self._lock:
            for path in missing:
                error, until = self._failed.get(path, (None, 0.0))
                if error is not None and now < until:
                    return error
        group = self._queue.put(key, label, missing, demanded=True)
        if group is None:
            return Cancelled("the server is stopping")
        self._start_threads()
        return NotYet(group, self._queue)

    def _start_threads(self) -> None:
        with self._lock:
            if self._threads or self._stopped.is_set():
                return
            # Two at least, so that a file on a disk that hangs does not hold up all others.
            count = max(2, min(4, (os.cpu_count() or 1) // 2))
            # Daemons: a read of a disk that hangs must not keep the process from ending.
            self._threads = [threading.Thread(target=self._work, name="indexer", daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        with FileHasher() as self._hashers.own:
            while not self._stopped.is_set():
                try:
                    self._queue.work_on()
                except Exception:
                    # One file must not end the hashing of all others; what can go wrong with a file is handled.
                    log.exception("Hashing a file failed.")

    # ---- one file

    def _begin(self, path: Path) -> Work | None:
        try:
            # Another group, or an earlier life of this program that shares what is kept, may have hashed it.
            if self.known(path, self.roots.stamp(path)) is not None:
                return None
            return _Hashing(self, path, FileHash(*self.roots.open(path), path, self._chunk_size))
        except ServeError as exc:
            self.failed(path, exc, 0.0)
            return None

    def hash_some(self, file: FileHash) -> int:
        """Hash a turn of a file; how many bytes."""
        began, count = time.monotonic(), 0
        hasher: FileHasher = self._hashers.own
        while not file.complete and time.monotonic() - began < _TURN and not self._stopped.is_set():
            step = hasher.step(file)
            count += step
            with self._lock:
                self.bytes_hashed += step
        return count

    def finished(self, path: Path, file: FileHash) -> None:
        """Keep the result."""
        digest, chunks = file.result()
        entry = HashedFile(path, file.stamp, digest, chunks)
        with self._lock:
            self._entries[path] = entry
            self._failed.pop(path, None)
        self._kept.save(entry)

    def failed(self, path: Path, error: ServeError, seconds: float) -> None:
        """Remember why, for those who ask within the next moments, and say so once."""
        with self._lock:
            self._failed[path] = error, time.monotonic() + max(_REST, seconds)
            if str(error) in self._said:
                return
            self._said.add(str(error))
        log.warning("%s.", error)
        if self.on_failure is not None:
            self.on_failure(str(error))


class _Hashing:
    """A file in its turns."""

    def __init__(self, indexer: Indexer, path: Path, file: FileHash) -> None:
        self._indexer = indexer
        self._path = path
        self._file = file
        self._began = time.monotonic()

    def turn(self) -> tuple[int, bool]:
        before = self._file.done
        try:
            self._indexer.hash_some(self._file)
            if self._file.complete:
                self._indexer.finished(self._path, self._file)
        except ServeError as exc:
            # A file that is still being written takes longer each time: never more than half of the time is lost to it.
            self._indexer.failed(self._path, exc, time.monotonic() - self._began)
            return self._file.done - before, True
        return self._file.done - before, self._file.complete

    def close(self) -> None:
        self._file.close()


__all__ = ["FileChanged", "Indexer", "NotYet", "hashed"]
