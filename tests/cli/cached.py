"""Caches for the tests of `ls`, `gc`, `rm` and `pin`: models of known sizes that were used last at known times; and a
shell that starts no process for these, for starting one takes longer than they do."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from fusefs import __main__
from fusefs.cache.disk import DiskCache
from fusefs.system.files import reader_of
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from tests.cli.conftest import Shell
from tests.world import some_bytes

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400.0
SIZE = 200_000
"""Bytes of a blob where the test does not say."""


class Inside(Shell):
    """Runs the commands of the cache in this process; others, and what has a prefix, in one of their own."""

    @classmethod
    def of(cls, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Inside:
        """The same folders as `shell`."""
        monkeypatch.setenv("XDG_CACHE_HOME", shell.env["XDG_CACHE_HOME"])
        monkeypatch.delenv("FUSEFS_CACHE_DIR", raising=False)
        return cls(shell.root, shell.env)

    def __post_init__(self) -> None:
        """`of` has taken what another one has made."""

    def __call__(
        self, *args: str | Path, code: int = 0, prefix: tuple[str, ...] = (), timeout: float = 40
    ) -> subprocess.CompletedProcess[str]:
        if prefix or args[0] not in ("ls", "gc", "rm", "pin", "unpin"):
            return super().__call__(*args, code=code, prefix=prefix, timeout=timeout)
        raw, err = io.BytesIO(), io.StringIO()
        out = io.TextIOWrapper(raw, "utf-8")
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            ended = __main__.run([str(arg) for arg in args])
            out.flush()
        shown = raw.getvalue().decode()
        assert ended == code, f"{args} ended with {ended}:\n{shown}\n{err.getvalue()}"
        return subprocess.CompletedProcess(args, ended, shown, err.getvalue())


class Cached:
    """The default cache directory of a `Shell`.

    Attributes:
        root: it.
        cache: on it.
    """

    def __init__(self, fusefs: Shell) -> None:
        self.root: Path = fusefs.root / "cache" / "fusefs"
        self.cache = DiskCache.open(self.root)
        self._seed = 0

    def blob(self, days: float, size: int = SIZE) -> Digest:
        """A sealed blob that was used last so many days ago."""
        self._seed += 1
        return self._put(some_bytes(size, seed=self._seed), days)

    def model(self, name: str, days: float, *shared: Digest, size: int = SIZE) -> Digest:
        """A model of one blob of its own and `shared`; gives the digest of its own."""
        own = self.blob(days, size)
        layers = [own, *shared]
        raw = json.dumps(
            {"layers": [{"digest": str(one), "size": self.cache.get(one).size} for one in layers]}
        ).encode()
        self._put(raw, 0)
        self.cache.links.write(Name.parse(name), raw)
        return own

    def _put(self, data: bytes, days: float) -> Digest:
        digest = Digest.of(data)
        self.cache.put(digest, reader_of(data), len(data), mtime=int(time.time() - days * DAY))
        return digest

    def has(self, digest: Digest) -> bool:
        """Whether the sealed blob is there."""
        return self.cache.path(digest).exists()

    def names(self) -> list[str]:
        """Models by their short names."""
        return [name.short for name in self.cache.links]

    def used(self) -> int:
        """Bytes on disk of all blobs."""
        return sum(path.lstat().st_blocks * 512 for path in (self.root / "blobs").iterdir())

    def tree(self) -> dict[str, tuple[int, int, int]]:
        """Everything there is: path to mode, size and time."""
        return {
            str(path.relative_to(self.root)): (info.st_mode, info.st_size, info.st_mtime_ns)
            for path in self.root.rglob("*")
            for info in [os.lstat(path)]
        }


@pytest.fixture(name="fusefs")
def inside(fusefs: Shell, monkeypatch: pytest.MonkeyPatch) -> Inside:
    """For the modules that import it: the command, as far as it can be, in this process."""
    return Inside.of(fusefs, monkeypatch)


@pytest.fixture
def cached(fusefs: Shell) -> Cached:
    """A cache that this test fills."""
    return Cached(fusefs)
