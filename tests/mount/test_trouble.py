"""Errors, bugs, waiting readers, and the end of a mount, over the real kernel."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio

from fusefs import errors
from fusefs.fuse import kernel, operations
from fusefs.fuse.mountpoint import check_mountpoint, mounted_at
from fusefs.fuse.operations import FuseOperations
from fusefs.fuse.session import MAX_TASKS, most_tasks, mount_options, serve
from tests.fakes import FakeBlobFile, file_system_of
from tests.mounts import PATIENCE, start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.mounts import Mount, Mounter

pytestmark = pytest.mark.reads

DATA = os.urandom(1 << 20)


def _read_direct(path: Path, off: int = 0, size: int = 4096) -> bytes:
    """One READ request, past the page cache and the kernel's read-ahead."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, size) as buffer:
            count = os.preadv(fd, [buffer], off)
            return buffer[:count]
    finally:
        os.close(fd)


def _errno_of(path: Path, off: int = 0) -> int | None:
    try:
        _read_direct(path, off)
    except OSError as exc:
        return exc.errno
    return None


def _minor(live: Mount) -> int:
    assert live.session.minor is not None
    return live.session.minor


@pytest.fixture
def _no_bug_seen() -> Iterator[None]:
    """Each bug is logged once in a process: forget which were."""
    operations._seen.clear()
    yield
    operations._seen.clear()


@pytest.mark.logs("A read failed: model: ")
@pytest.mark.parametrize(
    ("error", "number"),
    [
        (errors.TransportError("reset", source="host"), errno.EIO),
        (errors.NotFound("no such blob", source="host"), errno.EIO),
        (errors.Unauthorized("who are you", source="host"), errno.EACCES),
        (errors.DigestMismatch("chunk 3", expected="a", actual="b"), errno.EIO),
        (errors.ReadTimeout("no progress for 300 s"), errno.EIO),
        (errors.BlobQuarantined("the list lied"), errno.EIO),
        (errors.CacheFull("no space"), errno.EIO),
        (errors.Cancelled("unmounted"), errno.ECONNABORTED),
    ],
)
async def test_p2_a_failed_read_is_an_errno_and_the_next_one_can_succeed(
    mount: Mounter, error: Exception, number: int
) -> None:
    blob = FakeBlobFile(DATA)
    live = await mount({"model": blob})
    blob.failures.append(error)
    assert await live.run(_errno_of, live.path / "model") == number
    assert live.file_system.last_error == f"model: {error}"
    assert await live.run(_read_direct, live.path / "model") == DATA[:4096]


@pytest.mark.usefixtures("_no_bug_seen")
async def test_a_bug_in_a_handler_is_eio_told_once_and_the_mount_lives_on(
    mount: Mounter, caplog: pytest.LogCaptureFixture
) -> None:
    """pyfuse3 would end the session at anything but FUSEError, and leave the reader blocked."""
    blob = FakeBlobFile(DATA)
    live = await mount({"model": blob})
    blob.failing = ZeroDivisionError("a bug")
    assert [await live.run(_errno_of, live.path / "model") for _ in range(3)] == [errno.EIO] * 3
    bugs = [record for record in caplog.records if "A bug in fusefs: read" in record.message]
    assert len(bugs) == 1
    assert bugs[0].exc_info is not None
    blob.failing = None
    assert await live.read("model") == DATA


@pytest.mark.logs("A read failed")
async def test_p2_a_short_answer_from_below_is_an_error_not_zeros(mount: Mounter) -> None:
    blob = FakeBlobFile(DATA)
    live = await mount({"model": blob})
    blob.data = DATA[:1000]
    assert await live.run(_errno_of, live.path / "model") == errno.EIO


@pytest.mark.logs("A read failed")
async def test_a_program_with_a_mapped_page_dies_of_a_failed_read_alone(mount: Mounter) -> None:
    """SIGBUS, which is why reads are retried for minutes; the mount and other programs are untouched."""
    blob = FakeBlobFile(DATA)
    live = await mount({"model": blob})
    blob.failing = errors.TransportError("reset", source="host")
    code = "import mmap, sys; f = open(sys.argv[1], 'rb'); m = mmap.mmap(f.fileno(), 0, prot=1); print(m[0])"
    command = ["python3", "-c", code, str(live.path / "model")]
    ended = await live.run(lambda: subprocess.run(command, capture_output=True, check=False, timeout=20).returncode)
    assert ended == -7
    blob.failing = None
    assert await live.read("model") == DATA


async def test_p6_hundreds_of_blocked_reads_do_not_block_a_lookup(mount: Mounter) -> None:
    """pyfuse3 answers 99 requests at once unless told otherwise."""
    blob = FakeBlobFile(DATA)
    blob.gate = trio.Event()
    live = await mount({"model": blob, "sub/x": b"hello"})
    readers = 700
    # O_DIRECT reads count as background requests, of which the kernel sends no more than this.
    kernel.tune(_minor(live), max_background=1000, congestion_threshold=900)
    limiter = trio.CapacityLimiter(readers)
    got: list[bytes] = []

    async def read(off: int) -> None:
        got.append(await live.run(_read_direct, live.path / "model", off, limiter=limiter))

    async with trio.open_nursery() as nursery:
        for number in range(readers):
            nursery.start_soon(read, 4096 * (number % 256))
        try:
            with trio.fail_after(PATIENCE):
                await blob.wait_waiting(readers)
                assert await live.read("sub/x") == b"hello"
                assert (await live.run(os.stat, live.path / "model")).st_size == len(DATA)
                assert await live.run(os.listdir, live.path) == ["model", "sub"]
                with pytest.raises(FileNotFoundError):
                    await live.run(os.stat, live.path / "nothing")
            assert blob.waiting == readers
        finally:
            blob.gate.set()  # or those readers would be waited for, and a failure would be a hang
    assert len(got) == readers
    assert all(data in DATA for data in set(got))


async def _read_all(blob: FakeBlobFile, live: Mount, answers: list[int | None], count: int) -> None:
    async def read(off: int) -> None:
        answers.append(await live.run(_errno_of, live.path / "model", off))

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(read, 4096 * number)


async def test_p11_a_mount_ends_with_reads_in_flight_and_they_get_an_errno(tmp_path: Path) -> None:
    blob = FakeBlobFile(DATA)
    blob.gate = trio.Event()
    answers: list[int | None] = []
    with trio.fail_after(10):
        async with trio.open_nursery() as readers:
            async with trio.open_nursery() as nursery:
                live = await start(nursery, file_system_of({"model": blob}), tmp_path / "mnt")
                kernel.tune(_minor(live))
                readers.start_soon(_read_all, blob, live, answers, 20)
                await blob.wait_waiting(20)
                nursery.cancel_scope.cancel()
            assert mounted_at(live.path) is None
    assert len(answers) == 20
    assert set(answers) <= {errno.ECONNABORTED, errno.ENOTCONN}
    assert os.listdir(tmp_path / "mnt") == []


async def test_p11_a_mount_ends_with_files_open(tmp_path: Path) -> None:
    blob = FakeBlobFile(DATA)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            live = await start(nursery, file_system_of({"model": blob}), tmp_path / "mnt")
            file = await live.run(open, live.path / "model", "rb")
            nursery.cancel_scope.cancel()
    assert mounted_at(live.path) is None
    with pytest.raises(OSError) as caught:
        await live.run(file.read, 10)
    assert caught.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    with suppress(OSError):
        await live.run(file.close)


async def test_a_mount_that_somebody_else_unmounts_ends_by_itself(tmp_path: Path) -> None:
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            live = await start(nursery, file_system_of({"x": b"x"}), tmp_path / "mnt")
            await live.run(lambda: subprocess.run(["fusermount3", "-u", live.path], check=True, timeout=10))
    assert mounted_at(live.path) is None


async def test_a_mount_that_is_aborted_ends_by_itself(tmp_path: Path) -> None:
    """What `fusefs umount` does when all else fails."""
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            live = await start(nursery, file_system_of({"x": b"x"}), tmp_path / "mnt")
            assert kernel.abort(_minor(live))
    await trio.run_process(["umount", "-l", live.path], check=False, capture_stderr=True)
    assert mounted_at(live.path) is None


async def test_a_mount_that_is_gone_before_it_is_ready_is_an_error(tmp_path: Path) -> None:
    """Not a mount that returns at once as if it had been used and unmounted."""

    class Unmounting(FuseOperations):
        def init(self) -> None:
            """The kernel says hello, and nobody hears of it."""
            subprocess.run(["umount", "-l", tmp_path], check=True, timeout=10)

    with trio.fail_after(10), pytest.raises(errors.MountError, match="unmounted before it was ready"):
        await serve(Unmounting(file_system_of({})), tmp_path, mount_options("test"))


@pytest.mark.slow
async def test_fifty_mounts_in_a_row_leave_nothing_behind(tmp_path: Path) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    for number in range(50):
        async with trio.open_nursery() as nursery:
            live = await start(nursery, file_system_of({"x": b"%d" % number}), tmp_path / "mnt")
            assert await live.read("x") == b"%d" % number
            nursery.cancel_scope.cancel()
    assert mounted_at(tmp_path / "mnt") is None
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 2


async def test_a_second_mount_in_one_process_is_refused(mount: Mounter, tmp_path: Path) -> None:
    await mount({"x": b"x"})
    (tmp_path / "other").mkdir()
    with pytest.raises(errors.MountError, match="has a mount already"):
        await serve(FuseOperations(file_system_of({})), tmp_path / "other", mount_options("test"))


async def test_what_libfuse_says_is_in_the_error_and_the_next_mount_works(tmp_path: Path, capfd: object) -> None:
    with pytest.raises(errors.MountError) as caught:
        await serve(FuseOperations(file_system_of({})), tmp_path / "nowhere", mount_options("test"))
    assert "nowhere" in str(caught.value)
    assert "No such file or directory" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(errors.MountError, match="unknown option"):
        await serve(FuseOperations(file_system_of({})), tmp_path, {"nonsense"})
    async with trio.open_nursery() as nursery:
        live = await start(nursery, file_system_of({"x": b"x"}), tmp_path / "mnt")
        assert await live.read("x") == b"x"
        nursery.cancel_scope.cancel()


async def test_a_mounted_folder_is_refused_with_the_command_that_frees_it(mount: Mounter) -> None:
    live = await mount({"x": b"x"})
    with pytest.raises(errors.MountError, match=r"fuse\.fusefs is already mounted there; run: fusefs umount"):
        await live.run(check_mountpoint, live.path)


async def test_p11_a_mount_that_a_crash_left_is_named_as_such(tmp_path: Path) -> None:
    """As after kill -9 of the daemon: ENOTCONN, not an empty folder, and the message says what cleans up."""
    where = tmp_path / "mnt"
    where.mkdir()
    device = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    data = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    try:
        assert libc.mount(b"fusefs", bytes(where), b"fuse.fusefs", 0, data) == 0
    finally:
        # Nobody will ever answer: what the kernel makes of a daemon that died.
        os.close(device)
    try:
        with pytest.raises(errors.MountError, match="left there by a crash; run: fusefs umount"):
            await trio.to_thread.run_sync(check_mountpoint, where)
    finally:
        with trio.CancelScope(shield=True):
            await trio.run_process(["umount", "-l", where])
    assert check_mountpoint(where) == where


async def test_the_kernel_is_tuned_as_root(mount: Mounter) -> None:
    live = await mount({"x": b"x"})
    tuning = kernel.tune(_minor(live))
    assert tuning.complaint == ""
    assert tuning.as_dict() == {
        "read_ahead_kb": {"wanted": 256, "actual": 256, "why_not": ""},
        "max_background": {"wanted": kernel.MAX_BACKGROUND, "actual": kernel.MAX_BACKGROUND, "why_not": ""},
        "congestion_threshold": {"wanted": 48, "actual": 48, "why_not": ""},
    }


def test_p10_no_more_requests_are_answered_at_once_than_there_is_address_space_for() -> None:
    """Where libfuse gets no buffer for a request it ends the mount, with every reader of it."""
    assert most_tasks() == MAX_TASKS
    assert most_tasks(1 << 30) == 256
    assert most_tasks(1 << 20) == 16, "there is no mount with none"
