"""P6, P9: running out of descriptors is nobody's error for long, and leaves neither a descriptor nor a lock behind.

What is bounded is what is open and in flight: blobs that nobody uses give theirs back.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import re
import subprocess
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

import fusefs
from fusefs.cache.blob.mapfile import Lock, open_locked
from fusefs.cache.blob.sealing import quarantine
from fusefs.cache.disk import DiskCache
from fusefs.daemon import control, dump
from fusefs.daemon.background import notify
from fusefs.errors import CacheError, FusefsError, TransportError
from fusefs.fetch.idle import is_idle
from fusefs.net.circuit import Circuits
from fusefs.net.transport import Transport
from fusefs.sources.bound import BoundSource
from fusefs.system import locks
from fusefs.values.report import MountReport, encode
from fusefs.values.settings import Settings
from fusefs.vfs.blobfile import BlobFile
from tests.chunkers import blob_of, opened, place_of
from tests.components import FUSEFS
from tests.fake_source import chunk_list
from tests.faults.calls import Failing, Fault, watched
from tests.faults.calls_scenes import files_open, locks_left
from tests.faults.descriptors_out import at_most, hoarding, open_now
from tests.faulty_registry import FaultyRegistry
from tests.patience import eventually
from tests.world import NAME, running, some_bytes, until

if TYPE_CHECKING:
    from fusefs.values.chunks import Blob
    from tests.faulty_registry import Model
    from tests.programs.world import World as Commands
    from tests.world import World

DATA = some_bytes(5_000, seed=40)


def another(world: World, data: bytes) -> BlobFile:
    """One more file of the same mount; a blob of one chunk."""
    fetch = world.fetcher.track(world.source.add(data, chunk_list(data, len(data))))
    fetch.add_origin(BoundSource(world.source, NAME))
    return BlobFile(world.fetcher, fetch)


# What is idle gives its descriptors back


async def test_p6_many_more_files_than_descriptors_are_read_one_after_the_other(tmp_path: Path) -> None:
    contents = [some_bytes(100, seed=number) for number in range(60)]
    with at_most(60):  # each takes two at least
        async with running(tmp_path, DATA) as world:
            files = [another(world, data) for data in contents]
            for _ in range(2):
                for file, data in zip(files, contents, strict=True):
                    file.open()
                    assert bytes(await file.read(0, 100)) == data
                    file.release()
            await until(lambda: world.fetcher.open_blobs <= 10)
    assert files_open(tmp_path) == []


async def test_p6_more_files_than_descriptors_are_held_open_by_programs(tmp_path: Path) -> None:
    """A handle in the mount needs no descriptor of ours but while it is read."""
    contents = [some_bytes(100, seed=number) for number in range(60)]
    with at_most(60):
        async with running(tmp_path, DATA) as world:
            files = [another(world, data) for data in contents]
            for file in files:
                file.open()
            for _ in range(2):
                for file, data in zip(files, contents, strict=True):
                    assert bytes(await file.read(0, 100)) == data


async def test_p6_more_files_than_descriptors_are_read_at_once(tmp_path: Path) -> None:
    contents = [some_bytes(100, seed=number) for number in range(60)]
    right = []
    with at_most(60):
        async with running(tmp_path, DATA, timeout=20.0) as world:

            async def read(file: BlobFile, data: bytes) -> None:
                right.append(bytes(await file.read(0, 100)) == data)

            async with trio.open_nursery() as nursery:
                for data in contents:
                    nursery.start_soon(read, another(world, data), data)
    assert right == [True] * len(contents)


async def test_the_least_recently_used_goes_first_and_what_was_learned_of_it_stays(tmp_path: Path) -> None:
    with at_most(70):
        async with running(tmp_path, DATA) as world:
            await world.read(0, 5_000)
            await world.sealed()
            fetch, prefetch = world.fetch, world.fetch.prefetch
            used: list[int] = [fetch.chunker.usage.latest] if fetch.chunker else []
            assert used
            fetch.chunker.usage.latest = 1  # type: ignore[union-attr]  # long ago
            files = [another(world, some_bytes(100, seed=number)) for number in range(40)]
            for file in files:
                await file.read(0, 100)
            assert fetch.chunker is None, "it was used least recently"
            assert world.file.state == "sealed"
            asked = len(world.source.asked)
            await world.read(0, 5_000)
            assert len(world.source.asked) == asked, "what is here is not fetched again"
            assert fetch.prefetch is prefetch


@pytest.mark.logs("served from memory")
async def test_p8_a_blob_of_which_chunks_live_in_memory_alone_is_not_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, DATA) as world:
        with monkeypatch.context() as patch:
            patch.setattr("fusefs.cache.blob.chunker.pwrite_all", _no_room)
            await world.read(0, 1_000)
        assert world.fetch.chunker is not None
        await until(lambda: not world.fetch.flights and not world.fetch.use)
        assert not is_idle(world.fetch)
        world.fetch.chunker.memory.spill.forget(world.fetch.chunker)
        assert is_idle(world.fetch)


def _no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_what_is_in_use_is_not_closed_when_descriptors_run_out(tmp_path: Path) -> None:
    """A read that waits for the network has its blob open, whatever others do."""
    async with running(tmp_path, DATA) as world, trio.open_nursery() as nursery:
        world.source.gate = threading.Event()
        nursery.start_soon(world.read, 0, 1_000)
        await until(lambda: bool(world.source.asked))
        chunker = world.fetch.chunker
        assert not is_idle(world.fetch)
        await world.fetcher._idle._give_back(0)
        assert world.fetch.chunker is chunker
        world.source.gate.set()


@pytest.mark.logs("quarantine")
@pytest.mark.parametrize("again", [False, True], ids=["nobody reads it", "the next read"])
async def test_p2_a_list_that_another_process_finds_lying_is_told_of_after_the_blob_was_closed(
    tmp_path: Path, again: bool
) -> None:
    """Handles that were open before are of another version, and the kernel's pages have to go."""
    told: list[Blob] = []
    async with running(tmp_path, DATA) as world:
        world.fetcher.lied = told.append
        await world.read(0, 1_000)
        await until(lambda: is_idle(world.fetch))
        await world.fetcher._idle._give_back(0)
        assert world.fetch.chunker is None
        _condemn(DiskCache.open(tmp_path), world.blob)
        if again:
            await world.read(0, 1_000)
            assert world.fetch.left is None
        else:
            await until(lambda: bool(told))
        assert told == [world.blob]
        assert world.file.lies == 1


def _condemn(cache: DiskCache, blob: Blob) -> None:
    """As another process does that has hashed the whole."""
    listed = cache.pinned(blob)
    assert listed is not None
    chunker = cache.chunker(blob, *listed)
    quarantine(chunker)
    chunker.close()


# Running out is no error of the file


async def test_p6_a_read_waits_for_a_descriptor(tmp_path: Path) -> None:
    with hoarding() as hoard:
        async with running(tmp_path, DATA) as world, trio.open_nursery() as nursery:
            await world.read(0, 1_000)  # whatever is opened once a process is open
            file = another(world, DATA[:700])
            hoard.take_all()
            world.fetch.use.hold()  # the one that is open cannot help

            async def read() -> None:
                assert bytes(await file.read(0, 700)) == DATA[:700]

            nursery.start_soon(read)
            await trio.sleep(0.2)
            hoard.give()
            world.fetch.use.let_go()


@pytest.mark.logs("A read failed|too many|Too many")
async def test_p6_a_read_for_which_there_never_is_one_fails_in_time_and_the_next_one_is_right(tmp_path: Path) -> None:
    with hoarding() as hoard:
        async with running(tmp_path, DATA, timeout=0.5) as world:
            hoard.take_all()
            with pytest.raises(FusefsError):
                await world.read(0, 1_000)
            hoard.give()
            await world.read(0, 1_000)


async def test_p1_a_list_that_cannot_be_looked_at_is_not_taken_for_none(tmp_path: Path) -> None:
    """Else another one would be asked for, or the blob be opened as one without a list."""
    async with running(tmp_path, DATA) as world:
        await world.read(0, 1_000)
    cache = DiskCache.open(tmp_path)
    with hoarding() as hoard:
        hoard.take_all()
        with pytest.raises(CacheError, match="Too many open files"):
            cache.pinned(blob_of(DATA))
        hoard.give()
        assert cache.pinned_list(blob_of(DATA)) == chunk_list(DATA, 1000)


def test_a_host_that_was_not_even_asked_is_not_blamed() -> None:
    settings = Settings(timeout=5.0, stall=1.0)
    circuits = Circuits(settings)
    with FaultyRegistry() as registry, closing(Transport(settings, circuits=circuits)) as transport:
        with hoarding() as hoard:
            hoard.take_all()
            for _ in range(10):
                with pytest.raises(TransportError, match="ulimit -n"):
                    transport.get(f"{registry.url}/v2/", {})
        assert circuits.troubled() == {}
        transport.get(f"{registry.url}/v2/", {}).close()


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE])
def test_p9_no_descriptor_and_no_lock_is_left_whichever_call_of_an_opening_fails(tmp_path: Path, error: int) -> None:
    gc.collect()  # as in `at_most`
    failed = 0
    with opened(tmp_path, DATA, 1000):
        pass
    cache = DiskCache.open(tmp_path)
    for fresh in (True, False):
        nth, injected = 0, True
        while injected:
            nth += 1
            if fresh:
                place_of(tmp_path, DATA).data.unlink(missing_ok=True)
                place_of(tmp_path, DATA).map.unlink(missing_ok=True)
            before = open_now()
            failing = Failing(Fault("open", nth, error, forever=False))
            with watched(failing), suppress(CacheError):
                cache.chunker(blob_of(DATA), chunk_list(DATA, 1000)).close()
            injected = bool(failing.injected)
            failed += injected
            assert not open_now() - before
            assert locks_left(tmp_path, everything=True) == ()
    assert failed > 4


async def test_p6_whichever_call_fails_for_want_of_a_descriptor_the_read_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a first read, of a read in another mount, and of sealing: each opens something."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)  # nobody cuts the power, so nobody waits for the disk
    nth, injected = 0, True
    while injected:
        nth += 1
        root = tmp_path / str(nth)
        failing = Failing(Fault("open", nth, errno.EMFILE, forever=False))
        cache = DiskCache.open(root)  # its own failures are the command's to tell
        with watched(failing):
            for chunk in (0, 1_000):
                async with running(root, DATA, cache=cache) as world:
                    await world.read(chunk, 1_000)
                    if chunk:
                        await world.read(0, len(DATA))
                        await world.sealed()
        injected = bool(failing.injected)
        await until(lambda root=root: files_open(root) == [])  # type: ignore[misc]  # a thread may just be ending
        assert locks_left(root, everything=True) == ()
    assert nth > 10


# Locks


def test_p9_no_lock_is_waited_for_in_the_kernel() -> None:
    """There a process that waits for itself, or for one that was stopped, waits for ever."""
    package = Path(fusefs.__file__).parent
    found = [str(path) for path in package.rglob("*.py") if re.search(r"SETLKW|lockf\(", path.read_text())]
    assert found == []


def test_p9_a_second_descriptor_of_a_process_never_waits_for_ever_for_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.2)
    place = place_of(tmp_path, DATA)
    with opened(tmp_path, DATA):
        leaked = open_locked(place.map)
        with pytest.raises(locks.LockHeld):
            open_locked(place.map)
        with pytest.raises(CacheError, match="held its lock for over"), opened(tmp_path, DATA):
            pass
        os.close(leaked)
        with opened(tmp_path, DATA):
            pass


def test_a_lock_that_this_process_gives_back_wakes_its_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_POLL", (60.0, 60.0))
    monkeypatch.setattr(locks, "PATIENCE", 50.0)
    path = tmp_path / "map"
    path.touch()
    one, two = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    locks.wait_lock(one, Lock.CHANGE)
    thread = threading.Thread(target=locks.wait_lock, args=(two, Lock.CHANGE))
    thread.start()
    while thread.is_alive():  # it may be just about to wait
        locks.unlock(one, Lock.CHANGE)
        thread.join(0.01)
    assert locks.is_locked(one, Lock.CHANGE)
    os.close(one)
    os.close(two)


async def test_p6_a_lock_that_another_process_has_for_long_is_waited_for_while_a_read_has_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.05)
    with opened(tmp_path, DATA, 1000):
        pass
    held = open_locked(place_of(tmp_path, DATA).map)
    async with running(tmp_path, DATA) as world, trio.open_nursery() as nursery:
        nursery.start_soon(world.read, 0, 1_000)
        await trio.sleep(0.3)
        os.close(held)


# Who asks how it is


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


async def _report() -> bytes:
    await trio.lowlevel.checkpoint()
    return encode(MountReport(mountpoint="/mnt/x", pid=os.getpid()))


_ASK = """
import socket, sys
sys.stdin.read()
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
sys.exit(not sock.makefile("rb").read())
"""


def _asking(path: Path) -> subprocess.Popen[bytes]:
    """Somebody who asks for the status as soon as he is let."""
    return subprocess.Popen([sys.executable, "-S", "-c", _ASK, path], stdin=subprocess.PIPE)


async def test_p6_status_is_told_when_no_descriptor_is_left_and_the_log_is_not_flooded(
    runtime: Path, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    gc.collect()  # a spare one above the limit of later would be none
    async with control.serving(nursery, runtime / "x", _report) as path:
        asking = [_asking(path) for _ in range(3)]
        with hoarding() as hoard:
            hoard.take_all()
            for one in asking:
                assert one.stdin is not None
                one.stdin.close()
                hoard.take_all()  # what was just given back, too
            with trio.fail_after(20):
                for one in asking:
                    await until(lambda one=one: one.poll() is not None)  # type: ignore[misc]
        assert [one.returncode for one in asking] == [0, 0, 0]
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 1, [record.getMessage() for record in told]
    assert told[0].exc_info is None


async def test_what_is_going_on_is_told_when_no_descriptor_is_left(tmp_path: Path) -> None:
    async with running(tmp_path, DATA):
        with hoarding() as hoard:
            hoard.take_all()
            text = "\n".join(dump._memory())
    assert "Too many open files" in text


def test_p6_a_word_to_systemd_for_which_there_is_no_socket_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "@nobody-listens-here")
    with hoarding() as hoard:
        hoard.take_all()
        notify("WATCHDOG=1", wait=False)


# Real processes


def _model(registry: FaultyRegistry, count: int) -> tuple[Model, dict[str, bytes]]:
    contents = {f"f{number:03}": some_bytes(100, seed=number) for number in range(count)}
    return registry.add_model("library/many:latest", contents, config=None), contents


def _limited(limit: int, world: Commands, *args: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["prlimit", f"--nofile={limit}:{limit}", *FUSEFS, *args]
    return subprocess.run(command, env=world.env, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.slow
def test_p6_a_pull_of_more_files_than_descriptors(world: Commands) -> None:
    with FaultyRegistry() as registry:
        model, contents = _model(registry, 400)
        done = _limited(256, world, "pull", str(model.name), "--cache-dir", world.root / "cache")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    cache = DiskCache.open(world.root / "cache")
    assert all(cache.path(blob.digest).read_bytes() == contents[key] for key, blob in model.blobs.items())


@pytest.mark.slow
@pytest.mark.parametrize("limit", [64, 1024])
def test_p6_p9_a_mount_with_few_descriptors_reads_everything_and_holds_nobody_up(world: Commands, limit: int) -> None:
    count = 100 if limit == 64 else 400
    mountpoint, cache = world.root / "mnt", world.root / "cache"
    mountpoint.mkdir()
    with FaultyRegistry() as registry:
        model, contents = _model(registry, count)
        args = (str(model.name), mountpoint, "--cache-dir", cache, "--timeout", "20s", "--log-file", world.root / "log")
        done = _limited(limit, world, "mount", *args)
        assert done.returncode == 0, done.stderr
        try:
            failed = 0
            for _ in range(2):
                for name, data in contents.items():
                    try:
                        assert (mountpoint / name).read_bytes() == data
                    except OSError:
                        failed += 1
            assert failed == 0
            assert _limited(limit, world, "status", mountpoint, "--json").returncode == 0
            second = _limited(256, world, "pull", str(model.name), "--cache-dir", cache)
            assert second.returncode == 0, second.stderr
        finally:
            world.fusefs("umount", mountpoint)
    eventually("unmounted", lambda: not os.path.ismount(mountpoint))
    assert "Traceback" not in (world.root / "log").read_text()
