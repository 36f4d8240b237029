"""How a cell of the fault matrix is played: a real mount and a reader, or a pull, and what must hold at each step."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from fusefs.cache.blob.mapfile import ABSENT, peek
from fusefs.cache.place import Place
from fusefs.daemon import mounting
from fusefs.engine.engine import sole_error
from fusefs.engine.options import MountOptions, PullOptions
from fusefs.engine.pulling import pull
from fusefs.errors import FusefsError, NotFound, SourceError, Unauthorized
from fusefs.fuse.errnos import errno_of
from fusefs.values.digest import Digest
from fusefs.values.settings import Settings
from tests.conftest import fusefs_mounts
from tests.faults.matrix import EACCES, EIO, RIGHT
from tests.faults.matrix_server import FILE
from tests.patience import HANGS, takes_at_most
from tests.world import until

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from fusefs.values.report import PullReport
    from tests.faults.matrix import Cell
    from tests.faults.matrix_server import Scene

PATIENT, SHORT = 2 * HANGS, 0.3
STALL = {PATIENT: 0.2, SHORT: 0.1}

T_RIGHT = PATIENT
"""Seconds in which a transient fault is got over: whoever waits for `--timeout` fails."""

_BEGINNINGS = 10
"""Tries until the fault has happened: on a busy machine a short timeout is over before the server has a request."""

T_ERROR = HANGS
"""Seconds in which there is an errno.  Less than the `--timeout` of faults that are no use waiting out; those that are
waited out have a `--timeout` of a fraction of a second."""

T_CELL = 4 * HANGS
"""Seconds after which a cell counts as hanging."""

_ERRNOS = {EIO: errno.EIO, EACCES: errno.EACCES}
_MAPPER = Path(__file__).with_name("matrix_mapper.py")
_GOOD = 5
"""A chunk that no fault of one chunk strikes."""


@dataclass
class Tally:
    """What a cell counts for the report.

    Attributes:
        injected: faults, as the servers count.
        bytes_compared: bytes that were compared with the right ones: a reader's, and those marked in the cache.
        bytes_wrong: those among them that were other ones.
        bytes_refetched: bytes that went over the wire once more.
    """

    injected: int = 0
    bytes_compared: int = 0
    bytes_wrong: int = 0
    bytes_refetched: int = 0

    def compare(self, got: bytes, right: bytes, what: str) -> None:
        """Fail when they differ."""
        self.bytes_compared += len(right)
        wrong = 0
        if got != right:
            wrong = abs(len(got) - len(right)) + sum(a != b for a, b in zip(got, right, strict=False))
        self.bytes_wrong += wrong
        assert not wrong, f"{wrong} wrong bytes {what}"

    def record(self, scene: Scene, record: Callable[[str, object], None]) -> None:
        """Hand all of it on."""
        self.injected = scene.injected
        self.bytes_refetched = scene.sent_again
        for each in fields(self):
            record(f"faults.{each.name}", getattr(self, each.name))


class Player:
    """Plays one cell in the directory `root`."""

    def __init__(self, cell: Cell, scene: Scene, root: Path, tally: Tally) -> None:
        self._cell = cell
        self._scene = scene
        self._root = root
        self._tally = tally
        self._cache = root / "cache"
        self._place = Place(self._cache, scene.blob.digest)
        timeout = SHORT if cell.row.tried and cell.outcome is not RIGHT else PATIENT
        self._settings = Settings(
            timeout=timeout,
            stall=STALL[timeout],
            memory=max(1 << 20, 32 * scene.chunk),
            single_chunk_limit=0,
            unlisted_chunk_size=scene.chunk,
            span_size=scene.chunk,  # one request a chunk, so that a fault strikes the chunks that it is to strike
            connections=4,
            lists="registry",  # also where the name pins a digest: the faults are those of single chunks
        )
        self._patient = replace(self._settings, timeout=PATIENT, stall=STALL[PATIENT])

    def play(self) -> None:
        """Do it."""
        if self._cell.how == "pull":
            (self._pull_right if self._cell.outcome is RIGHT else self._pull_error)()
        else:
            with _plain():
                trio.run(self._mount_right if self._cell.outcome is RIGHT else self._mount_error)

    # Through a mount

    async def _mount_right(self) -> None:
        self._scene.strike()
        with takes_at_most(T_RIGHT):
            async with self._mounted(self._settings) as path:
                self._tally.compare(await self._whole(path), self._scene.data, "of the whole file")
                await self._sealed()
        assert self._scene.struck_everywhere, "the fault did not happen"

    async def _mount_error(self) -> None:
        if self._cell.where == "manifest":
            await self._no_mount()
            async with self._mounted(self._patient) as path:
                await self._recovered(path)
            await self._from_memory()
            return
        async with self._mounted(self._patient):
            pass  # the cache knows the name from now on, so that a short `--timeout` is no matter to the next mount
        if self._cell.where == "list":  # a mount looks for it at once, and must not have found it before
            shutil.rmtree(self._place.folder, ignore_errors=True)
            self._scene.strike()
        async with self._mounted(self._settings) as path:
            if self._cell.where != "list":
                await self._good(path)
                self._scene.strike()
            with takes_at_most(T_ERROR):
                async with trio.open_nursery() as nursery:
                    for index in self._scene.faulty:
                        nursery.start_soon(self._fails, path, index)
            marked = self._audit()
            if self._cell.where != "list":
                assert _GOOD in marked, "what was right was not kept"
            asked = self._scene.asked()
            self._scene.end()
            await self._recovered(path)
            self._nothing_right_again(marked, asked)

    async def _no_mount(self) -> None:
        self._scene.strike()
        for _ in range(_BEGINNINGS):
            with takes_at_most(T_ERROR), self._refused():
                async with self._mounted(self._settings):
                    pass
            if self._scene.injected:
                break
        assert str(self._root / "mnt") not in fusefs_mounts()
        assert self._scene.injected
        assert not self._audit()
        self._scene.end()

    async def _from_memory(self) -> None:
        """The cache knows the model by now, so that a registry in trouble does not stop a mount of it (P7)."""
        if self._cell.row.options.get("status") == 404:  # that is no trouble but an answer
            return
        self._scene.again()
        async with self._mounted(self._settings) as path:
            self._tally.compare(await self._whole(path), self._scene.data, "from the cache")

    @asynccontextmanager
    async def _mounted(self, settings: Settings) -> AsyncIterator[Path]:
        """A mount by the real composition root; ends as by SIGTERM."""
        path = self._root / "mnt"
        await trio.Path(path).mkdir(exist_ok=True)
        options = MountOptions((self._scene.name,), path, self._cache, (), settings)
        with trio.fail_after(T_CELL):
            async with trio.open_nursery() as nursery:
                ready = trio.Event()
                nursery.start_soon(mounting.run, options, ready.set)
                await ready.wait()
                yield path / FILE
                nursery.cancel_scope.cancel()

    async def _whole(self, path: Path) -> bytes:
        """All of a file, as `cat` reads it, or as a program that maps it."""
        if self._cell.how == "read":
            return await _in_thread(path.read_bytes)
        return await self._mapped(path, 0, len(self._scene.data), "normal")

    async def _part(self, path: Path, index: int) -> bytes:
        """One chunk and no byte around it.

        Raises:
            OSError: with the errno; a mapping is ended by SIGBUS, which names none.
        """
        chunk = self._scene.chunks[index]
        if self._cell.how == "read":
            return await _in_thread(lambda: _pread(path, chunk.start, chunk.size))
        return await self._mapped(path, chunk.start, chunk.stop, "random")

    async def _mapped(self, path: Path, start: int, stop: int, advice: str) -> bytes:
        command = [sys.executable, "-I", "-S", str(_MAPPER), str(path), str(start), str(stop), advice]
        done = await trio.run_process(command, capture_stdout=True, check=False)
        if done.returncode:
            assert done.returncode == -signal.SIGBUS, f"ended with {done.returncode}"
            raise OSError(_ERRNOS.get(self._cell.outcome, errno.EIO), "SIGBUS")
        return done.stdout

    async def _good(self, path: Path) -> None:
        """A chunk that no fault strikes is read before they begin."""
        with trio.fail_after(T_RIGHT):
            self._tally.compare(
                await _patiently(lambda: self._part(path, _GOOD)), self._right(_GOOD), "beside the fault"
            )

    async def _fails(self, path: Path, index: int) -> None:
        try:
            got = await self._part(path, index)
        except OSError as exc:
            failed = exc
        else:
            self._tally.compare(got, self._right(index), f"of chunk {index}")
            pytest.fail(f"chunk {index} was read")
        assert failed.errno == _ERRNOS[self._cell.outcome], failed

    async def _recovered(self, path: Path) -> None:
        """The fault is gone: the same file is read."""
        with trio.fail_after(T_RIGHT):
            self._tally.compare(await _patiently(lambda: self._whole(path)), self._scene.data, "after the fault")
            if not self._cell.row.relists(self._cell.where):
                await self._sealed()

    async def _sealed(self) -> None:
        with trio.fail_after(T_RIGHT):
            await until(self._place.sealed.exists)
        self._tally.compare(self._place.sealed.read_bytes(), self._scene.data, "in the sealed blob")

    # By a pull

    def _pull_right(self) -> None:
        self._scene.strike()
        with takes_at_most(T_RIGHT):
            report = self._pull()
        assert [item.state for item in report.blobs] == ["sealed"], report.blobs
        assert self._scene.struck_everywhere, "the fault did not happen"
        self._tally.compare(self._place.sealed.read_bytes(), self._scene.data, "in the sealed blob")

    def _pull_error(self) -> None:
        self._scene.strike()
        for _ in range(_BEGINNINGS):
            with takes_at_most(T_ERROR):
                self._pull_fails()
            if self._scene.injected:
                break
        assert self._scene.injected
        marked = self._audit()
        asked = self._scene.asked()
        self._scene.end()
        self._pull_recovers()
        self._nothing_right_again(marked, asked)
        if self._cell.where == "manifest" and self._cell.row.options.get("status") != 404:
            self._scene.again()
            assert self._pull().blobs[0].state == "sealed", "the cache knows the model by now (P7)"

    def _pull_fails(self) -> None:
        if self._cell.where == "manifest":
            with self._refused():
                self._pull()
            return
        try:
            (item,) = self._pull().blobs
        except FusefsError:  # of the manifest, when the machine is so busy that even this took too long
            assert not self._scene.injected
        else:
            assert (item.state, bool(item.problem)) == ("failed", True), item

    def _pull_recovers(self) -> None:
        until = time.monotonic() + T_RIGHT
        while True:
            try:
                if self._pull().blobs[0].state == "sealed":
                    break
            except FusefsError:  # as in `_recovered`
                pass
            assert time.monotonic() < until, "the next pull fails, too"
        self._tally.compare(self._place.sealed.read_bytes(), self._scene.data, "after the fault")

    def _pull(self) -> PullReport:
        watchdog = threading.Timer(T_CELL, os.kill, (os.getpid(), signal.SIGTERM))
        watchdog.start()
        try:
            report = pull(PullOptions((self._scene.name,), self._cache, (), self._settings), lambda _items: None)
        except KeyboardInterrupt:
            pytest.fail(f"the pull did not end in {T_CELL:g} s")
        finally:
            watchdog.cancel()
            watchdog.join()
        for said in report.problems:  # a pull tells its names' troubles as text
            for text, kind in (
                ("not found", NotFound),
                ("status 401", Unauthorized),
                ("status 403", Unauthorized),
                ("(407 ", Unauthorized),
                ("status code: 407", Unauthorized),
                ("necessary privileges", Unauthorized),
                ("valid authentication", Unauthorized),
            ):
                if text in said.problem:
                    raise kind(said.problem)
            raise SourceError(said.problem)
        return report

    # What must hold

    def _right(self, index: int) -> bytes:
        chunk = self._scene.chunks[index]
        return self._scene.data[chunk.start : chunk.stop]

    @contextmanager
    def _refused(self) -> Iterator[None]:
        """The command ends with the error that the cell wants."""
        try:
            with _plain():
                yield
        except FusefsError as exc:
            failed = exc
        else:
            pytest.fail("it was mounted or pulled")
        assert errno_of(failed) == _ERRNOS[self._cell.outcome], failed

    def _audit(self) -> set[int]:
        """The chunks that are marked in the cache: every one right, and none of those that came wrong or not at all."""
        marked = {i for i, state in enumerate(peek(self._place.map, self._scene.blob)) if state != ABSENT}
        assert not self._place.sealed.exists()
        if marked:
            data = self._place.data.read_bytes()
            for i in marked:
                chunk = self._scene.chunks[i]
                self._tally.compare(data[chunk.start : chunk.stop], self._right(i), f"marked as chunk {i}")
        assert not marked & self._scene.faulty, "what cannot have come is marked"
        return marked

    def _nothing_right_again(self, marked: set[int], before: Counter[tuple[int, int]]) -> None:
        if self._cell.row.relists(self._cell.where):
            return
        starts = {self._scene.chunks[i].start for i in marked}
        since = self._scene.asked() - before
        assert not [span for span in since if span[0] in starts], "what was right was fetched again"


def check_credentials(scene: Scene) -> None:
    """They went to the registry that they are for, and nowhere else."""
    assert any("authorization" in request.headers for request in scene.registry.requests)
    assert scene.elsewhere.requests
    assert not [request for request in scene.elsewhere.requests if "authorization" in request.headers]


def check_moved(scene: Scene, player: Player) -> None:
    """Whoever asks for the tag from now on has the new version, and what was mounted stays in the cache."""
    report = player._pull()
    assert [item.state for item in report.blobs] == ["sealed"]
    assert report.blobs[0].digest != str(scene.blob.digest)
    player._tally.compare(
        Place(player._cache, Digest.parse(report.blobs[0].digest)).sealed.read_bytes(),
        scene.newer,
        "of the new version",
    )
    assert player._place.sealed.exists()


async def _patiently(read: Callable[[], Awaitable[bytes]]) -> bytes:
    """What a read gives: `--timeout` may be short for a busy machine, and a host may be left alone for a moment."""
    while True:
        try:
            return await read()
        except OSError:
            await trio.sleep(0.01)


def _pread(path: Path, off: int, size: int) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # no read-ahead: a page beside it is another test's
        return os.pread(fd, size, off)
    finally:
        os.close(fd)


async def _in_thread(call: Callable[[], bytes]) -> bytes:
    return await trio.to_thread.run_sync(call, abandon_on_cancel=True)


@contextmanager
def _plain() -> Iterator[None]:
    """What went wrong, without the groups that nurseries wrap round it."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise sole_error(group) from group
