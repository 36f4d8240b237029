"""Crash: processes that die by SIGKILL at a named step of their work, or amid it, many a second.

A `Forge` is a process with everything imported that forks one child after the other; a child does one job and kills
itself where the job says, or is killed from outside.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import trio

import fusefs.cache.blob.chunkmap
from fusefs.daemon import mounting
from fusefs.engine.pulling import PullOptions, pull
from fusefs.values.names import Name
from fusefs.values.settings import Settings
from tests.faults.calls import watched
from tests.faults.calls_scenes import ACTS, Stage

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from types import TracebackType

    from tests.faults.calls import Call

SETTINGS = Settings(
    timeout=20.0,
    stall=5.0,
    memory=8 << 20,
    single_chunk_limit=0,
    span_size=48 << 10,
    connections=4,
)


@dataclass(frozen=True, slots=True)
class Step:
    """Where a process dies.

    Attributes:
        kind: of the system call; empty for any.
        within: names of functions of cache and fetch that led to it.
        when: before it, after it, or with half of it done.
        nth: of those calls, from 1.
        not_within: names of functions that did not.
    """

    kind: str
    within: tuple[str, ...] = ()
    when: Literal["before", "half", "after"] = "after"
    nth: int = 1
    not_within: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """What a child does: an act of `tests.faults.calls_scenes`, a pull or a mount.

    Attributes:
        what: `pull`, `mount`, or the name of an act.
        root: the cache directory.
        step: where it dies; None when it is killed from outside, or not at all.
        name: of the model to pull or mount.
        mountpoint: where to mount it.
        boot: of the machine, for an act.
    """

    what: str
    root: Path
    step: Step | None = None
    name: str = ""
    mountpoint: Path | None = None
    boot: int = 2


@dataclass
class _Dying:
    """Lets every call happen, up to the one that the process dies at."""

    step: Step
    _seen: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, call: Call) -> Any:
        if not self._now(call):
            return call.make()
        if self.step.when == "half":
            call.make_half()
        elif self.step.when == "after":
            call.make()
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError  # nobody comes here

    def _now(self, call: Call) -> bool:
        step = self.step
        if step.kind not in ("", call.kind):
            return False
        if step.within or step.not_within:
            callers = call.callers
            if not set(step.within) <= set(callers) or set(step.not_within) & set(callers):
                return False
        with self._lock:
            self._seen += 1
            return self._seen == step.nth


class Forge:
    """Forks children, one at a time."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_forge, args=(theirs,), daemon=False)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def begin(self, job: Job) -> int:
        """Fork a child for `job`; its pid."""
        self._pipe.send(job)
        pid: int = self._receive()
        return pid

    def end(self) -> int:
        """Wait for the child; its exit status, negative for a signal."""
        status: int = self._receive()
        return status

    def run(self, job: Job) -> bool:
        """Do a job to its end; True when it died at its step, False when it never came there."""
        self.begin(job)
        status = self.end()
        assert status in (0, -signal.SIGKILL), f"{job} ended with {status}"
        return status != 0

    def _receive(self) -> Any:
        assert self._pipe.poll(60), "a child hangs"
        return self._pipe.recv()


def _forge(pipe: Connection) -> None:
    with suppress(EOFError):
        while True:
            job = pipe.recv()
            pid = os.fork()
            if pid == 0:
                _child(job)
            pipe.send(pid)
            _, status = os.waitpid(pid, 0)
            pipe.send(os.waitstatus_to_exitcode(status))


def _child(job: Job) -> None:
    """The child's life; does not return."""
    status = 1
    try:
        logging.disable(logging.CRITICAL)
        if job.step is None:
            _do(job)
        else:
            with watched(_Dying(job.step)):
                _do(job)
        status = 0
    finally:
        os._exit(status)


def _do(job: Job) -> None:
    if job.what in ACTS:
        setattr(fusefs.cache.blob.chunkmap, "boot_id", lambda: bytes([job.boot]) * 16)  # noqa: B010  # as a test patches it
        trio.run(ACTS[job.what].scene, Stage(job.root))
        return
    names = (Name.parse(job.name),)
    if job.what == "pull":
        pull(PullOptions(names, job.root, (), SETTINGS), lambda _: None)
        return
    assert job.mountpoint is not None
    options = mounting.MountOptions(names, job.mountpoint, job.root, (), replace(SETTINGS, fill=False))
    mounting.start(options, foreground=True)
