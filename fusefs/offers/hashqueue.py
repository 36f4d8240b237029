"""HashQueue: which file is hashed next.  Files come in groups, a model each; who is asked for goes before who is not.

A worker hashes a turn of a file and asks again: a model that somebody asks for never waits for the end of a large one,
and what was hashed of that stays.  Of the groups that were asked for, the first few take turns; the others wait, so
that the number of open files is bounded.
Knows neither digests that are kept nor clients: what hashes a file is handed in.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_TURNING = 4
"""Groups that take turns: enough that a small model passes by a large one, and few open files."""


class Work(Protocol):
    """A file that is hashed."""

    def turn(self) -> tuple[int, bool]:
        """Hash some of it: how many bytes that were, and whether there is nothing left to do."""

    def close(self) -> None:
        """Let go of the file."""


@dataclass(eq=False, slots=True)
class Job:
    """A file in the queue.

    Attributes:
        path: of the file.
        size: bytes of it, as far as is known.
        work: what hashes it; made when its first turn comes.
    """

    path: Path
    size: int
    work: Work | None = None


@dataclass(eq=False, slots=True)
class Group:
    """The files of one model.

    Attributes:
        key: by which the queue knows it.
        label: what a person calls it.
        size: bytes of the files that were put into the queue.
        done: bytes of them that are hashed, or need not be.
        watchers: called, once and in any thread, when no file is left.
    """

    key: str
    label: str
    size: int = 0
    done: int = 0
    watchers: set[Callable[[], None]] = field(default_factory=set)
    waiting: deque[Job] = field(default_factory=deque)
    running: int = 0
    paths: set[Path] = field(default_factory=set)


class HashQueue:
    """Thread-safe; `work_on` is what its threads run."""

    def __init__(self, start: Callable[[Path], Work | None], progress: Callable[[str, int, int], None] | None) -> None:
        """Make an empty one.

        Args:
            start: opens a file to hash it; None when there is nothing to do for it.
            progress: called with the label of a group, and the bytes done and in all of everything that was in the
                queue since it was last empty; from any thread.
        """
        self._start = start
        self._progress = progress
        self._changed = threading.Condition()
        self._groups: dict[str, Group] = {}
        self._demanded: deque[str] = deque()
        self._stopped = False
        self._done = self._size = 0

    def put(self, key: str, label: str, files: dict[Path, int], *, demanded: bool) -> Group | None:
        """Queue the files of a group that are not queued yet.

        Args:
            key: of the group.
            label: of the group.
            files: paths, and their sizes.
            demanded: somebody waits for them.

        Returns:
            The group; None when the queue was stopped.
        """
        with self._changed:
            if self._stopped:
                return None
            group = self._groups.setdefault(key, Group(key, label))
            for path, size in files.items():
                if path not in group.paths:
                    group.paths.add(path)
                    group.waiting.append(Job(path, size))
                    group.size += size
                    self._size += size
            if demanded and key not in self._demanded:
                self._demanded.append(key)
            self._changed.notify_all()
            return group

    def watch(self, group: Group, callback: Callable[[], None]) -> bool:
        """Have `callback` called when no file of the group is left; False when that is so already."""
        with self._changed:
            if self._stopped or self._groups.get(group.key) is not group:
                return False
            group.watchers.add(callback)
            return True

    def unwatch(self, group: Group, callback: Callable[[], None]) -> None:
        """Forget `callback`."""
        with self._changed:
            group.watchers.discard(callback)

    def wait_empty(self, timeout: float) -> bool:
        """Wait until nothing is left to hash; False when that takes longer than `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._stopped or not self._groups, timeout)

    def stop(self) -> None:
        """Have the threads end, and nobody wait any more.  Idempotent."""
        with self._changed:
            self._stopped = True
            left = list(self._groups.values())
            self._groups.clear()
            self._demanded.clear()
            self._changed.notify_all()
        for group in left:
            self._close(group)
            self._tell(group)

    def work_on(self) -> None:
        """Hash what is queued, until `stop`."""
        while (taken := self._next()) is not None:
            group, job = taken
            count, over = 0, True
            try:
                if job.work is None:
                    job.work = self._start(job.path)
                if job.work is not None:
                    count, over = job.work.turn()
            finally:
                self._put_back(group, job, count, over=over)

    # ---- all below: which is next

    def _next(self) -> tuple[Group, Job] | None:
        """Wait for a file; None when the queue was stopped."""
        with self._changed:
            while not self._stopped:
                for key in chain(list(islice(self._demanded, _TURNING)), self._groups):
                    group = self._groups[key]
                    if group.waiting:
                        self._rotate(key)
                        group.running += 1
                        return group, group.waiting.popleft()
                self._changed.wait()
            return None

    def _rotate(self, key: str) -> None:
        """Of those who take turns, `key` comes last now."""
        if key not in self._demanded:
            return
        self._demanded.remove(key)
        self._demanded.insert(min(_TURNING - 1, len(self._demanded)), key)

    def _put_back(self, group: Group, job: Job, count: int, *, over: bool) -> None:
        if over and job.work is not None:
            job.work.close()
        with self._changed:
            self._count(group, job, count, over=over)
            group.running -= 1
            if self._stopped:
                if not over and job.work is not None:
                    job.work.close()
                return
            if over:
                group.paths.discard(job.path)
            else:
                group.waiting.appendleft(job)
            finished = not group.waiting and not group.running
            if finished:
                del self._groups[group.key]
                if group.key in self._demanded:
                    self._demanded.remove(group.key)
            done, size = self._done, self._size
            if not self._groups:
                self._done = self._size = 0
            self._changed.notify_all()
        if self._progress is not None:
            self._progress(group.label, done, size)
        if finished:
            self._tell(group)

    def _count(self, group: Group, job: Job, count: int, *, over: bool) -> None:
        """A file that turned out to need no hashing, or to be of another size, counts as it was announced."""
        count = job.size if over else min(count, job.size)
        job.size -= count
        group.done += count
        self._done += count

    @staticmethod
    def _close(group: Group) -> None:
        for job in group.waiting:
            if job.work is not None:
                job.work.close()

    @staticmethod
    def _tell(group: Group) -> None:
        for callback in list(group.watchers):
            callback()
