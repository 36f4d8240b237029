"""One of several programs that open, read, map and close files of a mount, and compare what they get.

    python -m tests.programs.native_readers MOUNT PLAIN SEED OPENS

Prints a line of JSON: what went wrong, how many files were opened, how many bytes compared.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import sys
from pathlib import Path

_MOST_OPEN = 6
"""Files that one program has open at once."""


class Reader:
    """One program.

    Attributes:
        opens: files that it opened.
        compared: bytes.
        wrong: what went wrong, for a person.
        wrong_bytes: bytes of answers that were not right.
    """

    def __init__(self, mount: Path, plain: Path, seed: int) -> None:
        self._random = random.Random(seed)
        self._mount = mount
        self._right = {path.name: path.read_bytes() for path in plain.iterdir()}
        self._open: list[tuple[str, int, mmap.mmap | None]] = []
        self.opens = self.compared = self.wrong_bytes = 0
        self.wrong: list[str] = []

    def step(self) -> None:
        """Open one, read of what is open, close some."""
        name = self._random.choice(sorted(self._right))
        try:
            fd = os.open(self._mount / name, os.O_RDONLY)
        except OSError as exc:
            self.wrong.append(f"open of {name}: {exc}")
            return
        self.opens += 1
        mapped = mmap.mmap(fd, 0, prot=mmap.PROT_READ) if self._random.random() < 0.2 else None
        self._open.append((name, fd, mapped))
        self._read(*self._random.choice(self._open))
        while len(self._open) > self._random.randrange(_MOST_OPEN):
            self._close(self._open.pop(self._random.randrange(len(self._open))))

    def _read(self, name: str, fd: int, mapped: mmap.mmap | None) -> None:
        right = self._right[name]
        off = self._random.randrange(len(right))
        size = self._random.choice((100, 5000, 200_000))
        try:
            got = os.pread(fd, size, off) if mapped is None else mapped[off : off + size]
        except OSError as exc:
            self.wrong.append(f"read of {name} at {off}: {exc}")
            return
        self.compared += len(got)
        if got != right[off : off + size]:
            self.wrong.append(f"{name}: wrong bytes at {off}, {size} of them")
            self.wrong_bytes += size

    def _close(self, one: tuple[str, int, mmap.mmap | None]) -> None:
        _, fd, mapped = one
        os.close(fd)
        if mapped is not None:
            mapped.close()

    def end(self) -> None:
        """Close everything."""
        while self._open:
            self._close(self._open.pop())


def main() -> None:
    """Do as the command line says."""
    mount, plain, seed, opens = sys.argv[1:]
    reader = Reader(Path(mount), Path(plain), int(seed))
    for _ in range(int(opens)):
        reader.step()
    reader.end()
    counted = {"opens": reader.opens, "compared": reader.compared, "wrong_bytes": reader.wrong_bytes}
    print(json.dumps({"wrong": reader.wrong[:5], **counted}))


if __name__ == "__main__":
    main()
