"""A program: readers of one kind, each in a thread, that read in random patterns until time is up, and compare.

    python -m tests.faults.load_readers KIND COUNT SEED SECONDS NUMBER:SIZE:PATH…

It writes one JSON document: bytes compared, reads, the longest read in seconds, what was wrong, what failed.
`pread` reads pieces at random and runs of them in order, `whole` whole files, `mapped` touches a mapping at random; a
page fault keeps the interpreter's lock, so of these there should be one a process.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import random
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.load_content import MIB, Content

SIZES = (1, 17, 512, 4096, 4097, 65_536, 131_072, MIB)


@dataclass
class Tally:
    """What readers found.

    Attributes:
        compared: bytes.
        reads: how many.
        longest: seconds of the longest read.
        wrong: file and offset of each wrong read.
        failed: what was raised.
    """

    compared: int = 0
    reads: int = 0
    longest: float = 0.0
    wrong: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count another's, too."""
        self.compared += other.compared
        self.reads += other.reads
        self.longest = max(self.longest, other.longest)
        self.wrong += other.wrong
        self.failed += other.failed


class Reader(threading.Thread):
    """One reader; its tally is its own."""

    def __init__(self, kind: str, seed: int, deadline: float, files: list[tuple[Content, Path]]) -> None:
        super().__init__()
        self.tally = Tally()
        self._pass = {"pread": self._scattered, "whole": self._whole, "mapped": self._mapped}[kind]
        self._random = random.Random(seed)
        self._deadline = deadline
        self._files = files

    def run(self) -> None:
        """Pass after pass, each over a file of its own choice, whose pages are dropped then: the next read is ours."""
        while self._has_time():
            content, path = self._random.choice(self._files)
            try:
                fd = os.open(path, os.O_RDONLY)
                try:
                    self._pass(fd, content, str(path))
                    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(fd)
            except OSError as exc:
                self.tally.failed.append(f"{path}: {exc}")

    def _has_time(self) -> bool:
        return time.monotonic() < self._deadline

    def _scattered(self, fd: int, content: Content, path: str) -> None:
        for _ in range(20):
            size = self._random.choice(SIZES)
            off = self._random.randrange(content.size)
            for _ in range(self._random.choice((1, 1, 1, 16))):
                if off >= content.size or not self._has_time():
                    break
                self._read(fd, content, path, off, size)
                off += size

    def _whole(self, fd: int, content: Content, path: str) -> None:
        for off in range(0, content.size, MIB):
            if self._has_time():
                self._read(fd, content, path, off, MIB)

    def _mapped(self, fd: int, content: Content, path: str) -> None:
        with contextlib.closing(mmap.mmap(fd, 0, prot=mmap.PROT_READ)) as area:
            for _ in range(20):
                size = self._random.choice(SIZES)
                off = self._random.randrange(content.size)
                if self._has_time():
                    start = time.monotonic()
                    self._compare(area[off : off + size], content, path, off, size, start)

    def _read(self, fd: int, content: Content, path: str, off: int, size: int) -> None:
        start = time.monotonic()
        data = os.pread(fd, size, off)
        self._compare(data, content, path, off, size, start)

    def _compare(self, data: bytes, content: Content, path: str, off: int, size: int, start: float) -> None:
        self.tally.longest = max(self.tally.longest, time.monotonic() - start)
        self.tally.reads += 1
        self.tally.compared += len(data)
        if data != content.part(off, size):
            self.tally.wrong.append(f"{path} at {off}: {len(data)} of {size} bytes")


def main(kind: str, count: str, seed: str, seconds: str, *files: str) -> None:
    """See the module's text."""
    split = [file.split(":", 2) for file in files]
    known = [(Content(int(number), int(size)), Path(path)) for number, size, path in split]
    deadline = time.monotonic() + float(seconds)
    readers = [Reader(kind, int(seed) * 1000 + i, deadline, known) for i in range(int(count))]
    for reader in readers:
        reader.start()
    total = Tally()
    for reader in readers:
        reader.join()
        total.add(reader.tally)
    sys.stdout.write(json.dumps(vars(total)))


if __name__ == "__main__":
    main(*sys.argv[1:])
