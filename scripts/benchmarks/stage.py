"""Stage: a working directory, the programs that run in it, and the promise that nothing of it is left behind.

Everything started here is ended by its pid and everything mounted here is unmounted, also after an exception,
SIGINT, SIGTERM or SIGHUP.  Every command has a time limit.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

TOP = Path(__file__).resolve().parents[2]
PYTHON = sys.executable
LIMIT = 300.0
"""Seconds that one command may take; far above what any needs, so that only a hang meets it."""

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CommandFailed(Exception):
    """A program of the benchmark failed, or took longer than it may."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command took.

    Attributes:
        seconds: wall clock.
        cpu: user and system seconds of it and its children.
        out: its standard output.
    """

    seconds: float
    cpu: float
    out: str


def beside_python(name: str) -> Path | None:
    """A program that came with a Python package of this environment; None where it is not there.

    One of the same name that the system has is another version, and is not measured in its place.
    """
    path = Path(sys.executable).with_name(name)
    return path if os.access(path, os.X_OK) else None


def module(name: str, *words: str) -> list[str]:
    """The command line of another module of this package."""
    return [PYTHON, "-m", f"scripts.benchmarks.{name}", *words]


def run(
    argv: Sequence[str | Path], *, limit: float = LIMIT, stdin: str | None = None, env: dict[str, str] | None = None
) -> Finished:
    """Run to the end; `env` is added to the environment.

    Raises:
        CommandFailed: with the end of what it wrote to standard error.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    try:
        done = subprocess.run(
            [str(word) for word in argv],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=limit,
            cwd=TOP,
            env=None if env is None else os.environ | env,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"{_short(argv)}: not done after {limit:g} s") from None
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise CommandFailed(f"{_short(argv)}: exit {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
    return Finished(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout)


def _short(argv: Sequence[str | Path]) -> str:
    return " ".join(str(word) for word in argv)[:160]


@contextlib.contextmanager
def background(
    argv: Sequence[str | Path], *, log: Path | None = None, pipe: bool = False, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run beside the caller; ended by SIGTERM, then SIGKILL, when the caller is done with it."""
    with contextlib.ExitStack() as stack:
        err = stack.enter_context(log.open("w")) if log else subprocess.DEVNULL
        process = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipe else err,
            stderr=err,
            text=True,
            cwd=TOP,
            env=None if env is None else os.environ | env,
            start_new_session=True,  # Ctrl-C reaches us alone, and we end what we started in the right order
        )
        try:
            yield process
        finally:
            end(process)
            if process.stdout:
                process.stdout.close()


def end(process: subprocess.Popen[str], patience: float = 10.0) -> None:
    """End a child, whatever state it is in."""
    for send in (process.terminate, process.kill):
        if process.poll() is not None:
            return
        send()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)


def lives(pid: int) -> bool:
    """Whether there is such a process."""
    return Path(f"/proc/{pid}").exists()


def end_pid(pid: int, patience: float = 5.0) -> None:
    """End a process that is not our child."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if wait_until(lambda: not lives(pid), patience):
            return


def wait_until(ready: Callable[[], bool], limit: float, *, pause: float = 0.01) -> bool:
    """Ask again and again until it is so, or the time is over; says which."""
    until = time.monotonic() + limit
    while not ready():
        if time.monotonic() > until:
            return False
        time.sleep(pause)
    return True


def mounted_at(folder: Path) -> bool:
    """Whether something is mounted there, without asking the file system that is."""
    with Path("/proc/self/mountinfo").open() as file:
        return any(line.split()[4] == str(folder) for line in file)


def _mounted_below(folder: Path) -> bool:
    with Path("/proc/self/mountinfo").open() as file:
        return any(line.split()[4].startswith(f"{folder}/") for line in file)


def detach(folder: Path) -> None:
    """Unmount, by force when it must be."""
    for argv in (["fusermount3", "-u", str(folder)], ["umount", "-l", str(folder)]):
        if not mounted_at(folder):
            return
        with contextlib.suppress(CommandFailed, OSError):
            run(argv, limit=20)


@contextlib.contextmanager
def stage(parent: Path, *, keep: bool) -> Iterator[Path]:
    """A new folder for one run of the benchmark; removed in the end unless `keep`."""
    for number in _ENDING:
        signal.signal(number, _leave)
    folder = parent / f"fusefs-bench-{os.getpid()}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        if not keep and not _mounted_below(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _leave(number: int, _frame: FrameType | None) -> None:
    for ending in _ENDING:  # a second Ctrl-C must not end what cleans up after the first
        signal.signal(ending, lambda _number, _frame: None)
    raise SystemExit(128 + number)


def clear(*folders: Path) -> None:
    """Remove files and trees that may be there or not."""
    for folder in folders:
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
        else:
            folder.unlink(missing_ok=True)
