"""Servers that misbehave, fall silent or die, as a program on a real mount sees it."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.paced import PacedRegistry
from tests.faults.processes import MIB, Reader, killable
from tests.faulty_registry import FaultyRegistry
from tests.marks import one_soon
from tests.modes import without
from tests.patience import HANGS, patiently, takes_at_most
from tests.world import some_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.programs.world import Mounted, World
    from tests.wire_faults import Kind

pytestmark = pytest.mark.reads

SMALL = some_bytes(300_000)

TIMEOUT = 1.0
"""Seconds of `--timeout`.  A read(2) takes twice that to fail: when the kernel's read-ahead round a page failed, it
asks once more for that page alone."""

PATIENT = 2 * HANGS
"""Seconds of `--timeout` where nobody may wait that long."""


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
    one_soon(
        [
            ("flipped-bit", {}),
            ("short-body", {}),
            ("reset-amid", {}),
            ("whole-for-range", {}),
            ("status", {"status": 503}),
            ("html", {"status": 200}),
        ]
    ),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_p2_a_program_does_not_notice_a_fault(world: World, kind: Kind, options: dict[str, Any]) -> None:
    with FaultyRegistry() as registry:
        model = registry.add_model("library/m:latest", {"model.gguf": SMALL})
        registry.fault(kind, "/blobs/", **options)
        logs = "does not match its digest" if kind == "flipped-bit" else None
        with world.mount(str(model.name), logs=logs) as mount:
            assert (mount.path / "model.gguf").read_bytes() == SMALL


@pytest.mark.slow
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
        alone = without("siblings")  # or the first of the small files would bring those whose fault is to come
        with world.mount(str(model.name), options=("--timeout", str(TIMEOUT)), logs=".", env=alone) as mount:
            for (kind, options), (name, data) in zip(kinds, files.items(), strict=True):
                path = mount.path / name
                registry.fault(kind, f"/blobs/{model.blobs[name].digest}", times=None, **options)
                with takes_at_most():
                    assert read_error(path, 0) == errno.EIO
                registry.clear_faults()
                registry.release()
                registry.released.clear()
                assert patiently(path.read_bytes) == data
            assert mount.counter("read_errors") >= len(kinds)
            assert mount.status()["last_error"]


def test_p6_metadata_never_waits_for_the_network(world: World, large: bytes) -> None:
    with (
        PacedRegistry(large) as registry,
        world.mount(registry.name, options=("--timeout", str(PATIENT))) as mount,
    ):
        model = mount.path / "model.gguf"
        registry.begin(0)
        look(mount.path)
        assert registry.paths == [], "it causes no traffic"
        reader = Reader(model, large)
        reader.start()
        registry.wait_asked()
        with takes_at_most():
            look(mount.path)
            os.close(os.open(model, os.O_RDONLY))
        assert mount.file("model.gguf")["state"] == "absent"
        assert reader.is_alive(), "it waits for the network all the time"
        registry.more()
        reader.join(HANGS)
        assert (reader.is_alive(), reader.failed, reader.wrong) == (False, 0, [])


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


def _cached_in_part(world: World, large: bytes) -> tuple[Path, int]:
    """A cache that has MiB 7 of a model, and the port of the server it came from, which is dead by now."""
    cache = world.root / "cache"
    with PacedRegistry(large) as registry, world.mount(registry.name, cache=cache) as mount:
        _read_present(mount, large)
        return cache, registry.port


def _read_present(mount: Mounted, large: bytes) -> None:
    with open(mount.path / "model.gguf", "rb", buffering=0) as file:
        assert os.pread(file.fileno(), MIB, 7 * MIB) == large[7 * MIB : 8 * MIB]


def test_p7_what_is_present_is_read_without_the_server(world: World, large: bytes) -> None:
    cache, port = _cached_in_part(world, large)
    name = f"http://127.0.0.1:{port}/library/m:latest"
    with ExitStack() as stack:
        dead = stack.enter_context(socket.create_server(("127.0.0.1", port)))
        with takes_at_most():
            mount = stack.enter_context(
                world.mount(name, cache=cache, options=("--timeout", str(PATIENT)), logs="no answer")
            )
        reader = Reader(mount.path / "model.gguf", large, 40)
        reader.start()
        with takes_at_most():
            _read_present(mount, large)
            look(mount.path)
        assert reader.is_alive(), "it waits for the server all the time"
        dead.close()
        back = stack.enter_context(PacedRegistry(large, port=port))
        reader.join(HANGS)
        assert (reader.is_alive(), reader.failed, reader.wrong) == (False, 0, [])
        assert 7 not in back.asked_chunks()


@pytest.mark.slow
def test_p7_without_the_server_what_is_absent_is_eio_in_time_until_it_is_back(world: World, large: bytes) -> None:
    cache, port = _cached_in_part(world, large)
    name = f"http://127.0.0.1:{port}/library/m:latest"
    with world.mount(name, cache=cache, options=("--timeout", str(TIMEOUT)), logs=".") as mount:
        _read_present(mount, large)
        model = mount.path / "model.gguf"
        with takes_at_most():
            assert read_error(model, 40 * MIB) == errno.EIO
        with PacedRegistry(large, port=port) as back:
            assert patiently(model.read_bytes) == large
            assert 7 not in back.asked_chunks()


@pytest.mark.slow
def test_p11_umount_ends_reads_that_wait_for_a_silent_server(world: World, large: bytes) -> None:
    with PacedRegistry(large) as registry, killable(world, registry, world.root / "cache") as mount:
        mount.mount()
        registry.begin(0)
        readers = [Reader(mount.path / "model.gguf", large, start) for start in (0, 20, 40)]
        for reader in readers:
            reader.start()
        registry.wait_asked(3)
        with takes_at_most():
            mount.umount()
            for reader in readers:
                reader.join(HANGS)
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
