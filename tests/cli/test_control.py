"""The control socket, with a real server on trio and the real client in a thread."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from fusefs.daemon import control
from fusefs.errors import MountError
from fusefs.fuse.mountpoint import Mounted
from fusefs.values.report import FileReport, MountReport, encode
from tests.patience import HANGS

if TYPE_CHECKING:
    from collections.abc import Callable

REPORT = MountReport(
    mountpoint="/mnt/x",
    pid=os.getpid(),
    files=(FileReport(path="model.gguf", size=10, present=5, state="partial", presence=(100,) * 32 + (0,) * 32),),
    counters={"requests": 3},
)


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Far longer than the 107 bytes of a Unix socket address.
    directory = tmp_path / ("long" * 40)
    directory.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    return directory


def mount_of(path: Path = Path("/mnt/x")) -> Mounted:
    return Mounted(path, "fuse.fusefs", "model", 0, os.getuid())


async def report() -> bytes:
    await trio.lowlevel.checkpoint()
    return encode(REPORT)


async def test_a_client_gets_the_whole_report(nursery: trio.Nursery) -> None:
    async with control.serving(nursery, Path("/mnt/x"), report):
        assert await trio.to_thread.run_sync(control.query, mount_of()) == REPORT


async def test_the_socket_says_which_process_serves_even_when_it_does_not_answer(nursery: trio.Nursery) -> None:
    async with control.serving(nursery, Path("/mnt/x"), trio.sleep_forever):
        assert control.daemon_of(mount_of()) == control.Peer(os.getpid(), os.getuid())
        with pytest.raises(MountError, match="does not answer"):
            await trio.to_thread.run_sync(control.query, mount_of(), 0.05)


async def test_nobody_else_may_read_it(nursery: trio.Nursery, runtime: Path) -> None:
    async with control.serving(nursery, Path("/mnt/x"), report) as path:
        assert path.parent == runtime / "fusefs"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_the_socket_goes_with_the_mount(nursery: trio.Nursery) -> None:
    async with control.serving(nursery, Path("/mnt/x"), report) as path:
        assert path.exists()
    assert not path.exists()
    assert control.daemon_of(mount_of()) is None


async def test_a_stale_socket_is_replaced(nursery: trio.Nursery) -> None:
    path = control.own_runtime_dir() / f"{control.mount_id(Path('/mnt/x'))}.sock"
    with socket.socket(socket.AF_UNIX) as dead, control._short(path) as name:
        dead.bind(name)
    assert path.exists()
    assert control.daemon_of(mount_of()) is None
    async with control.serving(nursery, Path("/mnt/x"), report):
        assert control.daemon_of(mount_of()) is not None


async def test_an_old_daemon_does_not_remove_the_socket_of_a_new_one(nursery: trio.Nursery) -> None:
    async with control.serving(nursery, Path("/mnt/x"), report):
        async with control.serving(nursery, Path("/mnt/x"), report):
            pass
        # The second one took its own away; the first, whose place was taken, leaves things as they are.
        replacement = control.own_runtime_dir() / f"{control.mount_id(Path('/mnt/x'))}.sock"
        replacement.touch()
    assert replacement.exists()


async def test_someone_who_does_not_read_stops_nobody_else(nursery: trio.Nursery) -> None:
    async with control.serving(nursery, Path("/mnt/x"), report) as path:
        with socket.socket(socket.AF_UNIX) as lazy, control._short(path) as name:
            lazy.connect(name)
            assert await trio.to_thread.run_sync(control.query, mount_of()) == REPORT


async def test_a_status_that_cannot_be_made_does_not_end_the_mount(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> bytes:
        await trio.lowlevel.checkpoint()
        raise ValueError("a bug")

    async with control.serving(nursery, Path("/mnt/x"), fail):
        with pytest.raises(MountError, match="no report"):
            await trio.to_thread.run_sync(control.query, mount_of())
    assert "a bug" in caplog.text


async def test_a_report_of_another_version_is_read_as_far_as_it_goes(nursery: trio.Nursery) -> None:
    async def other() -> bytes:
        await trio.lowlevel.checkpoint()
        return b'{"mountpoint":"/mnt/x","from_the_future":[1],"files":[{"path":"a"}]}'

    async with control.serving(nursery, Path("/mnt/x"), other):
        found = await trio.to_thread.run_sync(control.query, mount_of())
    assert found == MountReport(mountpoint="/mnt/x", files=(FileReport(path="a"),))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make what belongs to another user")
def test_p10_a_runtime_directory_of_somebody_else_is_refused(runtime: Path) -> None:
    os.mkdir(runtime / "fusefs", 0o777)
    os.chown(runtime / "fusefs", 65534, 65534)
    with pytest.raises(MountError, match="belongs to another user"):
        control.own_runtime_dir()


def test_p10_a_link_in_place_of_the_runtime_directory_is_refused(runtime: Path, tmp_path: Path) -> None:
    (runtime / "fusefs").symlink_to(tmp_path)
    with pytest.raises(MountError, match="belongs to another user"):
        control.own_runtime_dir()


def listening(runtime: Path, answer: Callable[[socket.socket], None]) -> threading.Thread:
    """Whoever asks about /mnt/x is answered so."""
    raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(control.own_runtime_dir(), os.O_PATH)  # the folder's own name is too long for an address
    raw.bind(f"/proc/self/fd/{folder}/{control.mount_id(Path('/mnt/x'))}.sock")
    os.close(folder)
    raw.listen(1)

    def serve() -> None:
        with raw, contextlib.suppress(OSError):
            asker, _ = raw.accept()
            with asker:
                answer(asker)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


def test_p10_an_answer_of_one_byte_at_a_time_holds_nobody_beyond_his_time(runtime: Path) -> None:
    def drip(asker: socket.socket) -> None:
        for _ in range(12_000):
            asker.send(b"x")
            asker_gone.wait(0.005)
        drained.set()

    asker_gone, drained = threading.Event(), threading.Event()
    thread = listening(runtime, drip)
    with pytest.raises(MountError, match="does not answer"):
        control.query(mount_of(), timeout=0.5)
    assert not drained.is_set()
    asker_gone.set()
    thread.join(HANGS)


def test_a_daemon_that_says_that_it_is_at_work_is_waited_for(runtime: Path) -> None:
    def work(asker: socket.socket) -> None:
        for _ in range(20):
            asker.send(b" ")
            time.sleep(0.1)
        asker.sendall(encode(MountReport(mountpoint="/mnt/x", problem="none")))

    thread = listening(runtime, work)
    assert control.query(mount_of(), timeout=1).problem == "none"
    thread.join(HANGS)


def test_p10_blanks_alone_hold_nobody_for_ever(runtime: Path) -> None:
    def drip(asker: socket.socket) -> None:
        while not asker_gone.wait(0.05):
            asker.send(b" ")

    asker_gone = threading.Event()
    thread = listening(runtime, drip)
    with pytest.raises(MountError, match="does not answer"):
        control.query(mount_of(), timeout=0.5, longest=1.0)
    asker_gone.set()
    thread.join(HANGS)


def test_p10_an_answer_without_end_is_read_as_far_as_the_longest_report_and_no_further(runtime: Path) -> None:
    """A report of 65,536 files is 30 MB: one of 40 MB, which would be a report as well, is none."""
    sent = []
    long = encode(MountReport(mountpoint="/mnt/x", problem="x" * (40 << 20)))

    def pour(asker: socket.socket) -> None:
        view = memoryview(long)
        while view:
            sent.append(asker.send(view[: 1 << 20]))
            view = view[sent[-1] :]

    thread = listening(runtime, pour)
    with pytest.raises(MountError, match="said more than 32 MiB"):
        control.query(mount_of(), timeout=30)
    thread.join(10)
    assert not thread.is_alive()
    assert sum(sent) < 36 << 20  # what is beyond the limit lay in the socket's buffers


def test_p10_a_socket_in_a_folder_that_others_may_write_to_is_not_asked(runtime: Path) -> None:
    thread = listening(runtime, lambda asker: None)
    (runtime / "fusefs").chmod(0o777)
    assert control.daemon_of(mount_of()) is None
    (runtime / "fusefs").chmod(0o700)
    assert control.daemon_of(mount_of()) is not None
    thread.join(10)
