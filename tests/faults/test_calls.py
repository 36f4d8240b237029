"""Every system call of cache and fetch fails, once and for ever: right bytes or an error of ours, and nothing left."""

from __future__ import annotations

import errno
import logging
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING

import pytest
import trio

from fusefs.errors import FusefsError
from tests.faults.calls import ERRORS, IN_PARTS, NEVER_FAILS, SHORT, Failing, Fault, watched
from tests.faults.calls_scenes import (
    ACTS,
    Stage,
    boot,
    copy,
    files_open,
    prepare,
    recover,
    sweep_old,
    temporary_files,
    without_waiting,
)
from tests.marks import one_soon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MAY_LEAVE_FILES = frozenset({"", "unlink"})
"""What cannot be removed stays until somebody can: the next who opens the cache."""


REACHED = {
    "chmod": "blobs sealing eviction",
    "dup2": "sealing",
    "fallocate": "mapfile",
    "fsync": "blobs files sealing",
    "lease": "leases",
    "listdir": "blobs files links traces eviction",
    "lock": "files locks",
    "lseek": "files",
    "mkdir": "disk files guard",
    "mmap": "chunkmap",
    "open": "data direct eviction files sealing verification",
    "pread": "stored mapfile files",
    "punch": "eviction",
    "pwrite": "files",
    "read": "files",
    "rename": "blobs files sealing eviction",
    "rmdir": "links",
    "stat": "mapfile data disk eviction files links sealing traces verification",
    "statvfs": "quota",
    "truncate": "data",
    "unlink": "blobs files links verification",
    "utime": "blobs",
}
"""Which files of the cache, and of what it stands on, make which calls, at the least, in the acts together."""


class _Bugs(logging.Handler):
    """Keeps errors that are not ours, which somebody met and logged instead of telling."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        exc = record.exc_info[1] if record.exc_info else None
        if record.levelno >= logging.ERROR or (exc is not None and not isinstance(exc, FusefsError)):
            self.found.append(f"{record.getMessage()}: {exc!r}")


class Theatre:
    """Plays acts, each with one fault, and looks at what is left."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch, record: Callable[[str, object], None]) -> None:
        self._root = root
        self._patch = patch
        self._record = record
        self.sites: set[tuple[str, str]] = set()
        self._totals: Counter[str] = Counter()
        without_waiting(patch)
        boot(patch, 1)
        prepare(root / "arrived")

    def rehearse(self, name: str) -> Failing:
        """The act with nothing wrong: how often it makes which call."""
        failing = self._play(name, None)
        self.sites |= failing.sites
        return failing

    def play(self, name: str, fault: Fault) -> bool:
        """The act with a fault; False when the fault did not come about."""
        try:
            failing = self._play(name, fault)
        except BaseException as exc:
            exc.add_note(f"{name}: {fault}")
            raise
        return bool(failing.injected)

    def _play(self, name: str, fault: Fault | None) -> Failing:
        act, root = ACTS[name], self._root / "cache"
        boot(self._patch, 2)
        copy(self._root / "arrived", root, act)
        failing, bugs, stage = Failing(fault), _Bugs(), Stage(root)
        logging.getLogger().addHandler(bugs)
        try:
            with watched(failing):
                trio.run(act.scene, stage)
        finally:
            logging.getLogger().removeHandler(bugs)
        assert not bugs.found, bugs.found
        assert files_open(root) == [], "files left open"
        kind = fault.kind if fault else "none"
        assert stage.still_locked == (), f"left locked: {failing.injected}"
        if kind in MAY_LEAVE_FILES and root.exists():
            sweep_old(root)
        assert temporary_files(root) == []
        if act.again:
            trio.run(act.scene, Stage(root))
        compared = stage.compared + recover(root).compared
        shutil.rmtree(root)
        self._totals.update(rounds=1, injected=len(failing.injected), bytes_compared=compared, bytes_wrong=0)
        return failing

    def report(self) -> None:
        """Record the numbers."""
        for name, number in self._totals.items():
            self._record(f"faults.{name}", number)


@pytest.fixture
def theatre(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> Iterator[Theatre]:
    made = Theatre(tmp_path, monkeypatch, record_property)
    yield made
    made.report()


@pytest.mark.logs(".")
@pytest.mark.parametrize("name", one_soon(sorted(ACTS, key=lambda name: name != "arrive")))
def test_p2_every_kind_of_call_fails(theatre: Theatre, name: str) -> None:
    """A thin slice: one call of each kind, in the middle, or from the first on."""
    counts = theatre.rehearse(name).counts
    for number, kind in enumerate(sorted(counts.keys() - NEVER_FAILS - {""})):
        if number % 2:
            fault = Fault(kind, counts[kind] // 2 + 1, errno.EIO, forever=False)
        else:
            fault = Fault(kind, 1, errno.ENOSPC, forever=True)
        assert theatre.play(name, fault)


@pytest.mark.slow
@pytest.mark.logs(".")
@pytest.mark.parametrize("name", ACTS)
def test_p2_every_single_call_fails(theatre: Theatre, name: str) -> None:
    """For N = 1, 2, … the Nth call of each kind, until a run has no fault left; each error has its turn."""
    counts = theatre.rehearse(name).counts
    for kind in sorted(counts.keys() - NEVER_FAILS - {""}):
        nth = 0
        left = True
        while left:
            nth += 1
            # Threads have their own order: how many calls there are differs a little from run to run.
            assert nth < 2 * counts[kind] + 10
            left = theatre.play(name, Fault(kind, nth, ERRORS[nth % len(ERRORS)], forever=False))
            if left and nth % 4 == 0:
                theatre.play(name, Fault(kind, nth, ERRORS[(nth // 4) % len(ERRORS)], forever=True))
            if left and kind in IN_PARTS and nth % 2:
                theatre.play(name, Fault(kind, nth, SHORT, forever=nth % 4 == 1))


@pytest.mark.slow
@pytest.mark.logs(".")
@pytest.mark.parametrize("name", ACTS)
def test_p2_the_disk_dies(theatre: Theatre, name: str) -> None:
    """From some call on nothing works any more; and each kind of call alone, from the first on, with each error."""
    counts = theatre.rehearse(name).counts
    # The last calls of the rehearsal may not come about: how many chunks land together depends on the clock.
    surely = round(0.9 * counts[""])
    for nth in range(1, counts[""], 12):
        assert theatre.play(name, Fault("", nth, ERRORS[nth % len(ERRORS)], forever=True)) or nth > surely
    for kind in sorted(counts.keys() - NEVER_FAILS - {""}):
        for error in ERRORS:
            assert theatre.play(name, Fault(kind, 1, error, forever=True))


@pytest.mark.logs(".")
def test_what_fails_is_every_call_that_the_cache_is_known_to_make(theatre: Theatre) -> None:
    """A call that has moved or got another name is to be noticed, not to escape."""
    for name in ACTS:
        theatre.rehearse(name)
    reached = {(kind, PurePath(site.split()[0]).stem) for kind, site in theatre.sites}
    wanted = {(kind, file) for kind, files in REACHED.items() for file in files.split()}
    assert wanted <= reached, wanted - reached


@pytest.mark.slow
@pytest.mark.logs(".")
@pytest.mark.parametrize(
    "injection",
    ["pwrite64:error=ENOSPC:when=9+", "fsync:error=EIO", "fallocate:error=EDQUOT", "renameat:error=EROFS:when=3"],
)
def test_p2_the_kernel_itself_refuses(tmp_path: Path, injection: str) -> None:
    """The same with strace in place of our own hands: what is watched here is what the kernel is asked."""
    code = "import sys, trio; from tests.faults.calls_scenes import *; trio.run(arrive, Stage(Path(sys.argv[1])))"
    code = f"from pathlib import Path; {code}"
    trace, root = tmp_path / "trace", tmp_path / "cache"
    call = injection.split(":")[0]
    command: list[str | Path] = ["strace", "-f", "-qq", "-o", trace, "-e", f"trace={call}", "-e", f"inject={injection}"]
    done = subprocess.run(
        [*command, sys.executable, "-B", "-c", code, root], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "(INJECTED)" in trace.read_text()
    assert temporary_files(root) == []
    recover(root)
