"""Servers that misbehave, fall silent or die, as a program on a real mount sees it."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal

import pytest

from tests.faults.paced import PacedRegistry
from tests.faults.processes import MIB, Reader, killable
from tests.faulty_registry import FaultyRegistry
from tests.world import some_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.programs.world import World
    from tests.wire_faults import Kind

SMALL = some_bytes(300_000)

TIMEOUT = 1.0
FAILED_BY = 2 * TIMEOUT + 3.0
"""Seconds until a read(2) fails: when the kernel's read-ahead round a page failed, it asks once more for that page
alone; and slack for a busy machine."""


@contextmanager
def takes_at_most(seconds: float) -> Iterator[None]:
    """Fail when the block takes longer; it is a promise about time, so a clock is the test."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < seconds, f"took {took:.1f} s"


def read_error(path: Path, off: int, size: int = 10) -> int:
    """The errno of a read that must fail."""
    fd = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(OSError) as caught:
            pytest.fail(f"read {len(os.pread(fd, size, off))} bytes")
        assert caught.value.errno is not None
        return caught.value.errno
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("flipped-bit", {}),
        ("short-body", {}),
        ("reset-amid", {}),
        ("whole-for-range", {}),
        ("status", {"status": 503}),
        ("html", {"status": 200}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_p2_a_program_does_not_notice_a_fault(world: World, kind: Kind, options: dict[str, Any]) -> None:
    with FaultyRegistry() as registry:
        model = registry.add_model("library/m:latest", {"model.gguf": SMALL})
        registry.fault(kind, "/blobs/", **options)
        logs = "does not match its digest" if kind == "flipped-bit" else None
        with world.mount(str(model.name), logs=logs) as mount:
            assert (mount.path / "model.gguf").read_bytes() == SMALL


def test_p2_faults_that_do_not_end_are_eio_in_time_and_are_forgotten(world: World) -> None:
    kinds: list[tuple[Kind, dict[str, Any]]] = [
        ("wrong-bytes", {}),
        ("silence-before", {}),
        ("status", {"status": 429, "retry_after": "3600"}),
        ("html", {"status": 502}),
    ]
    with FaultyRegistry() as registry:
        files = {f"{number}.bin": some_bytes(200_000 + number) for number in range(len(kinds))}
        model = registry.add_model("library/m:latest", files)
        with world.mount(str(model.name), options=("--timeout", str(TIMEOUT)), logs=".") as mount:
            for (kind, options), (name, data) in zip(kinds, files.items(), strict=True):
                path = mount.path / name
                registry.fault(kind, f"/blobs/{model.blobs[name].digest}", times=None, **options)
                with takes_at_most(FAILED_BY):
                    assert read_error(path, 0) == errno.EIO
                registry.clear_faults()
                registry.release()
                registry.released.clear()
                assert path.read_bytes() == data
            assert mount.counter("read_errors") >= len(kinds)
            assert mount.status()["last_error"]


def test_p6_metadata_never_waits_for_the_network(world: World, large: bytes) -> None:
    with PacedRegistry(large) as registry, ExitStack() as stack:
        mount = stack.enter_context(
            world.mount(registry.name, options=("--timeout", str(TIMEOUT)), logs="took over|no complete answer")
        )
        model = mount.path / "model.gguf"
        registry.begin(0)
        with takes_at_most(1):
            look(mount.path)
        assert registry.paths == [], "nor does it cause traffic"
        reader = Reader(model, large)
        with takes_at_most(FAILED_BY):
            reader.start()
            registry.wait_asked()
            with takes_at_most(1):
                look(mount.path)
                os.close(os.open(model, os.O_RDONLY))
            assert mount.file("model.gguf")["state"] == "absent"
            reader.join(30)
        assert reader.failed == errno.EIO
        registry.begin()
        assert model.read_bytes() == large


def look(mountpoint: Path) -> None:
    """What `ls -lR`, `du`, `df` and `getfattr` ask."""
    for folder, _, names in os.walk(mountpoint):
        os.statvfs(folder)
        for name in names:
            path = os.path.join(folder, name)
            os.stat(path)
            os.access(path, os.R_OK)
            for attribute in os.listxattr(path):
                os.getxattr(path, attribute)
            with pytest.raises(FileNotFoundError):
                os.stat(f"{path}.absent")


@pytest.mark.parametrize("death", ["refused", "silent"])
def test_p7_what_is_present_is_read_without_the_server(
    world: World, large: bytes, death: Literal["refused", "silent"]
) -> None:
    """Mounting takes seconds, what is present is read at once, the rest is EIO in time, until the server is back."""
    cache = world.root / "cache"
    with PacedRegistry(large) as registry:
        with world.mount(registry.name, cache=cache) as mount:
            fd = os.open(mount.path / "model.gguf", os.O_RDONLY)
            assert os.pread(fd, MIB, 7 * MIB) == large[7 * MIB : 8 * MIB]
            os.close(fd)
        port = registry.port
    with ExitStack() as stack:
        dead = stack.enter_context(socket.create_server(("127.0.0.1", port))) if death == "silent" else None
        with takes_at_most(10):
            mount = stack.enter_context(
                world.mount(registry.name, cache=cache, options=("--timeout", str(TIMEOUT)), logs=".")
            )
        model = mount.path / "model.gguf"
        fd = os.open(model, os.O_RDONLY)
        stack.callback(os.close, fd)
        with takes_at_most(1):
            assert os.pread(fd, MIB, 7 * MIB) == large[7 * MIB : 8 * MIB]
            look(mount.path)
        with takes_at_most(FAILED_BY):
            assert read_error(model, 40 * MIB) == errno.EIO
        if dead is not None:
            dead.close()
        back = stack.enter_context(PacedRegistry(large, port=port))
        reader = Reader(model, large)
        reader.run()
        assert (reader.failed, reader.wrong) == (0, [])
        assert 7 not in back.asked_chunks()


def test_p11_umount_ends_reads_that_wait_for_a_silent_server(world: World, large: bytes) -> None:
    with PacedRegistry(large) as registry, killable(world, registry, world.root / "cache") as mount:
        mount.mount()
        registry.begin(0)
        readers = [Reader(mount.path / "model.gguf", large, start) for start in (0, 20, 40)]
        for reader in readers:
            reader.start()
        registry.wait_asked(3)
        with takes_at_most(8):
            mount.umount()
            for reader in readers:
                reader.join(30)
        assert all(reader.failed for reader in readers)
        mount.path.rmdir()


def test_p3_a_file_looks_the_same_whatever_is_present(world: World, large: bytes) -> None:
    """Absent, partial, sealed, mounted again, and from another cache after that one was filled."""
    cache = world.root / "cache"

    def looks(mountpoint: Path) -> list[tuple[object, ...]]:
        seen: list[tuple[object, ...]] = []
        for name in sorted(os.listdir(mountpoint)):
            info = os.stat(mountpoint / name)
            seen.append((name, info.st_ino, info.st_mode, info.st_nlink, info.st_uid, info.st_gid, info.st_size,
                         info.st_mtime_ns, info.st_blksize))  # fmt: skip
        return seen

    with PacedRegistry(large) as registry:
        with world.mount(registry.name, cache=cache) as mount:
            first = looks(mount.path)
            with open(mount.path / "model.gguf", "rb") as file:
                assert os.pread(file.fileno(), 10, 9 * MIB) == large[9 * MIB : 9 * MIB + 10]
                assert looks(mount.path) == first
                assert os.fstat(file.fileno()).st_size == len(large)
                shutil.copyfile(mount.path / "model.gguf", world.root / "copy")
            mount.wait_sealed("model.gguf")
            assert looks(mount.path) == first
        with world.mount(registry.name, cache=cache) as mount:
            assert looks(mount.path) == first
