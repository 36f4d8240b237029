"""Every way in which programs read, over the real kernel."""

from __future__ import annotations

import errno
import mmap
import os
import random
import select
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from tests.fakes import FakeBlobFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.mounts import Mount, Mounter

pytestmark = pytest.mark.reads

DATA = random.Random(1).randbytes(3 * (1 << 20) + 12_345)
"""Several requests long, and not a multiple of a page."""

MODEL = "model.gguf"


@pytest.fixture
async def live(mount: Mounter) -> Mount:
    """A mount of one blob."""
    return await mount({MODEL: FakeBlobFile(DATA)})


async def test_p2_sequential_reads_give_the_bytes(live: Mount) -> None:
    assert await live.read(MODEL) == DATA


@pytest.mark.parametrize(
    ("off", "size"),
    [
        (0, 1),
        (4095, 2),
        (len(DATA) - 1, 1),
        (len(DATA) - 1, 100),
        (len(DATA) - 4096, 1 << 20),
        (len(DATA), 10),
        (len(DATA) + 5, 10),
        (1 << 50, 10),
        (123, 0),
    ],
)
async def test_p2_pread_stops_at_the_end_and_nowhere_else(live: Mount, off: int, size: int) -> None:
    def pread() -> bytes:
        fd = os.open(live.path / MODEL, os.O_RDONLY)
        try:
            return os.pread(fd, size, off)
        finally:
            os.close(fd)

    assert await live.run(pread) == DATA[off : off + size]


async def test_o_direct_reads_give_the_bytes(live: Mount) -> None:
    """llama.cpp opens with O_DIRECT on some machines: aligned buffers, offsets and lengths."""

    def read_direct() -> bytes:
        fd = os.open(live.path / MODEL, os.O_RDONLY | os.O_DIRECT)
        got = b""
        try:
            with mmap.mmap(-1, 1 << 20) as buffer:
                while count := os.preadv(fd, [buffer], len(got)):
                    got += buffer[:count]
        finally:
            os.close(fd)
        return got

    assert await live.run(read_direct) == DATA


async def _mapped(live: Mount, code: str) -> bytes:
    """What `code` writes to `out`, with the file at `path`, in a process of its own.

    Python holds its lock while it touches a page: in this process nobody could answer.
    """
    program = f"import mmap, os, random, sys\nout = sys.stdout.buffer\npath = sys.argv[1]\n{code}"
    command = [sys.executable, "-c", program, str(live.path / MODEL)]
    done = await live.run(lambda: subprocess.run(command, capture_output=True, timeout=20, check=False))
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.parametrize("flags", ["mmap.MAP_SHARED", "mmap.MAP_PRIVATE", "mmap.MAP_SHARED | mmap.MAP_POPULATE"])
async def test_mapped_pages_show_the_bytes(live: Mount, flags: str) -> None:
    got = await _mapped(
        live,
        f"""
with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, {flags}, mmap.PROT_READ) as mapped:
    mapped.madvise(mmap.MADV_WILLNEED)
    out.write(mapped)
""",
    )
    assert got == DATA


async def test_random_touches_of_mapped_pages_show_the_bytes(live: Mount) -> None:
    """MADV_RANDOM asks for single pages: llama.cpp does it on NUMA machines."""
    offsets = random.Random(2).sample(range(len(DATA)), 200)
    got = await _mapped(
        live,
        f"""
with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
    mapped.madvise(mmap.MADV_RANDOM)
    out.write(bytes(mapped[off] for off in {offsets}))
""",
    )
    assert got == bytes(DATA[off] for off in offsets)


async def test_writes_to_a_private_mapping_stay_private(live: Mount) -> None:
    """Copy on write: torch and llama.cpp map so and write to it."""
    got = await _mapped(
        live,
        """
with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
    mapped[4000:4200] = b"x" * 200
    out.write(mapped[3990:4210] + os.pread(file.fileno(), 220, 3990))
""",
    )
    assert got == DATA[3990:4000] + b"x" * 200 + DATA[4200:4210] + DATA[3990:4210]


async def test_a_shared_mapping_cannot_be_written(live: Mount) -> None:
    got = await _mapped(
        live,
        """
with open(path, "rb") as file:
    try:
        mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    except PermissionError:
        out.write(b"refused")
""",
    )
    assert got == b"refused"


def _sendfile(source: int, target: int) -> None:
    off = 0
    while count := os.sendfile(target, source, off, 1 << 20):
        off += count


def _splice(source: int, target: int) -> None:
    reader, writer = os.pipe()
    try:
        while count := os.splice(source, writer, 1 << 16):
            while count:
                count -= os.splice(reader, target, count)
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("copy", [_sendfile, _splice])
async def test_the_kernel_copies_out_of_it(live: Mount, tmp_path: Path, copy: Callable[[int, int], None]) -> None:
    def run() -> None:
        source = os.open(live.path / MODEL, os.O_RDONLY)
        target = os.open(tmp_path / "copy", os.O_WRONLY | os.O_CREAT)
        try:
            copy(source, target)
        finally:
            os.close(source)
            os.close(target)

    await live.run(run)
    assert (tmp_path / "copy").read_bytes() == DATA


async def test_copy_file_range_answers_as_between_any_two_file_systems(live: Mount, tmp_path: Path) -> None:
    """The kernel itself says EXDEV between two types of them; what matters is that cp, which tries it, copies."""

    def run() -> int | None:
        source = os.open(live.path / MODEL, os.O_RDONLY)
        target = os.open(tmp_path / "ranged", os.O_WRONLY | os.O_CREAT)
        try:
            copied = 0
            while count := os.copy_file_range(source, target, len(DATA), copied):
                copied += count
        except OSError as exc:
            return exc.errno
        finally:
            os.close(source)
            os.close(target)
        return None

    refused = await live.run(run)
    assert refused in (None, errno.EXDEV)
    assert refused or (tmp_path / "ranged").read_bytes() == DATA
    await live.run(lambda: subprocess.run(["cp", live.path / MODEL, tmp_path / "copy"], check=True, timeout=20))
    assert (tmp_path / "copy").read_bytes() == DATA


async def test_no_range_is_reported_as_a_hole(mount: Mounter) -> None:
    """An absent range is not a hole: a copy that left it out would be zeros."""
    live = await mount({MODEL: FakeBlobFile(DATA, present=0, state="absent")})

    def seek() -> tuple[int, int, int]:
        with open(live.path / MODEL, "rb") as file:
            fd = file.fileno()
            return os.lseek(fd, 0, os.SEEK_HOLE), os.lseek(fd, 0, os.SEEK_DATA), os.lseek(fd, 77_777, os.SEEK_DATA)

    assert await live.run(seek) == (len(DATA), 0, 77_777)


async def test_poll_and_select_say_ready(live: Mount) -> None:
    def poll() -> tuple[list[tuple[int, int]], bool]:
        with open(live.path / MODEL, "rb") as file:
            poller = select.poll()
            poller.register(file.fileno(), select.POLLIN)
            ready = poller.poll(0)
            return ready, select.select([file], [], [], 0)[0] == [file]

    ready, selected = await live.run(poll)
    assert [events for _, events in ready] == [select.POLLIN]
    assert selected


async def test_fsync_and_close_succeed(live: Mount) -> None:
    def sync() -> None:
        fd = os.open(live.path / MODEL, os.O_RDONLY)
        os.fsync(fd)
        os.fdatasync(fd)
        os.close(fd)
        folder = os.open(live.path, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(folder)
        os.close(folder)

    await live.run(sync)


async def test_a_second_open_is_answered_from_the_page_cache(mount: Mounter) -> None:
    """keep_cache: content never changes, so the kernel need not ask twice."""
    blob = FakeBlobFile(DATA)
    live = await mount({MODEL: blob})
    await live.read(MODEL)
    asked = len(blob.reads)
    assert await live.read(MODEL) == DATA
    assert len(blob.reads) == asked


async def test_open_and_close_reach_the_blob_in_pairs(mount: Mounter) -> None:
    blob = FakeBlobFile(DATA)
    live = await mount({MODEL: blob, "again": blob})
    one = await live.run(open, live.path / MODEL, "rb")
    two = await live.run(open, live.path / "again", "rb")
    assert blob.opened == 2
    await live.run(one.close)
    await live.run(two.close)
    with trio.fail_after(10):
        await blob.wait_closed()


async def test_p2_eight_readers_at_once_get_the_bytes(live: Mount) -> None:
    got: list[bytes] = []

    async def read() -> None:
        got.append(await live.read(MODEL))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(read)
    assert got == [DATA] * 8


async def test_real_programs_read_it(live: Mount, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(DATA)

    def output(*command: object) -> bytes:
        return subprocess.run(list(map(str, command)), check=True, capture_output=True, timeout=20).stdout

    await live.run(output, "cmp", live.path / MODEL, plain)
    direct = await live.run(output, "dd", f"if={live.path / MODEL}", "iflag=direct", "bs=1M", "status=none")
    assert direct == DATA
    assert await live.run(output, "cat", live.path / MODEL) == DATA


async def test_an_empty_file_is_empty(mount: Mounter) -> None:
    live = await mount({"empty": FakeBlobFile(b""), "inline": b"", "small": b"abc"})
    assert [await live.read(name) for name in ("empty", "inline", "small")] == [b"", b"", b"abc"]
