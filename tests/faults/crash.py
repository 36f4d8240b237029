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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, TypeAlias

import trio

import fusefs.cache.blob.mapfile
from fusefs.daemon import mounting
from fusefs.engine.options import MountOptions, PullOptions
from fusefs.engine.pulling import pull
from fusefs.system.steps import Hook
from fusefs.values.names import Name
from fusefs.values.settings import Settings
from tests.faults.calls import IN_PARTS, watched
from tests.faults.calls_scenes import ACTS, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from types import TracebackType

    from fusefs.system.steps import Step
    from tests.faults.calls import Call

When: TypeAlias = Literal["before", "half", "after"]

SETTINGS = Settings(
    timeout=20.0,
    stall=5.0,
    memory=8 << 20,
    single_chunk_limit=0,
    span_size=48 << 10,
    connections=4,
)


@dataclass(frozen=True, slots=True)
class Death:
    """Where a process dies.

    Attributes:
        step: the one of `fusefs.system.steps`; None for any system call of cache and fetch.
        when: before it, after it, or with half of what it writes, or does otherwise, done.
        nth: of those steps or calls, from 1.
    """

    step: Step | None
    when: When = "after"
    nth: int = 1


@dataclass(frozen=True, slots=True)
class Job:
    """What a child does: an act of `tests.faults.calls_scenes`, a pull or a mount.

    Attributes:
        what: `pull`, `mount`, or the name of an act.
        root: the cache directory.
        death: where it dies; None when it is killed from outside, or not at all.
        name: of the model to pull or mount.
        mountpoint: where to mount it.
        boot: of the machine, for an act.
    """

    what: str
    root: Path
    death: Death | None = None
    name: str = ""
    mountpoint: Path | None = None
    boot: int = 2


@dataclass
class _Dying:
    """Lets everything happen, up to what the process dies at."""

    death: Death
    _seen: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _halving: threading.local = field(default_factory=threading.local)

    @contextmanager
    def at_step(self, name: Step) -> Iterator[None]:
        """Armed as the hook of `fusefs.system.steps`."""
        now = name == self.death.step and self._now()
        if now and self.death.when == "before":
            _die()
        halving = now and self.death.when == "half"
        if halving:
            self._halving.now = True
        try:
            yield
        finally:
            if halving:
                self._halving.now = False
        if now and self.death.when == "after":
            _die()

    def at_call(self, call: Call) -> Any:
        """Put round every system call of cache and fetch."""
        if self.death.step is not None:
            if getattr(self._halving, "now", False) and call.kind in IN_PARTS:
                call.make_half()
                _die()
            return call.make()
        if not self._now():
            return call.make()
        if self.death.when == "half":
            call.make_half()
        elif self.death.when == "after":
            call.make()
        return _die()

    def _now(self) -> bool:
        with self._lock:
            self._seen += 1
            return self._seen == self.death.nth


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError  # nobody comes here


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
        """Do a job to its end; True when it died where it should, False when it never came there."""
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
        if job.death is None:
            _do(job)
        else:
            dying = _Dying(job.death)
            Hook.armed = dying.at_step
            with watched(dying.at_call):
                _do(job)
        status = 0
    finally:
        os._exit(status)


def _do(job: Job) -> None:
    if job.what in ACTS:
        setattr(fusefs.cache.blob.mapfile, "boot_id", lambda: bytes([job.boot]) * 16)  # noqa: B010  # as a test patches it
        trio.run(ACTS[job.what].scene, Stage(job.root))
        return
    names = (Name.parse(job.name),)
    if job.what == "pull":
        pull(PullOptions(names, job.root, (), SETTINGS), lambda _: None)
        return
    assert job.mountpoint is not None
    options = MountOptions(names, job.mountpoint, job.root, (), replace(SETTINGS, fill=False))
    mounting.start(options, foreground=True)
