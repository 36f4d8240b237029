"""The wire while its threads fail, one call after the other: a mount ends with errors, and nobody waits for ever."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pyfuse3
import pytest
import trio

from fusefs import errors
from fusefs.fuse.mountpoint import mounted_at
from fusefs.fuse.operations import FuseOperations
from fusefs.fuse.session import mount_options, serve
from fusefs.fuse.wire import lane
from fusefs.fuse.wire.device import Device
from fusefs.fuse.wire.messages import REQUEST
from fusefs.fuse.wire.relay import Relay
from fusefs.fuse.wire.waiters import Waiters
from fusefs.vfs.filesystem import FileSystem
from tests.fakes import file_system_of
from tests.mount.test_wire import CHUNK, live
from tests.mounts import PATIENCE, start
from tests.world import some_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SMALL = some_bytes(8 * CHUNK)

LOOK = """
import mmap, os, sys
path, right = sys.argv[1], sys.stdin.buffer.read()
try:
    os.listdir(os.path.dirname(path))
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    size = os.fstat(fd).st_size
    with mmap.mmap(-1, size) as buffer:
        for _ in range(2):
            got = os.preadv(fd, [buffer], 0)
            assert got == size, got
            assert buffer[:] == right
except OSError:
    sys.exit(3)
"""
"""A program that lists the folder and reads the file twice; 3 for an error of the mount, 1 for wrong bytes."""


class Fault:
    """Fails one call of a method, the `turn`th."""

    def __init__(self, patch: pytest.MonkeyPatch, owner: type, name: str, turn: int) -> None:
        self.struck = False
        true, calls, lock = getattr(owner, name), 0, threading.Lock()

        def failing(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            with lock:
                calls += 1
                mine = calls == turn
            if mine:
                self.struck = True
                raise OSError(5, "a thread of the wire fails")
            return true(*args, **kwargs)

        patch.setattr(owner, name, failing)


def _look(path: Path) -> int:
    return subprocess.run(
        [sys.executable, "-c", LOOK, path], input=SMALL, check=False, timeout=PATIENCE, capture_output=True
    ).returncode


STEPS = [
    (Device, "receive"),
    (Device, "reply"),
    (Device, "forward"),
    (Relay, "forward"),
    (Relay, "_pass_on"),
    (lane.Answerer, "answer"),
    (FileSystem, "answer"),
    (Waiters, "_answer_or_not"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("owner", "name"), STEPS, ids=[f"{owner.__name__}.{name}" for owner, name in STEPS])
async def test_p11_whichever_call_of_a_thread_fails_the_mount_ends_and_nobody_hangs(
    tmp_path: Path, owner: type, name: str, record_property: Callable[[str, object], None]
) -> None:
    """The first call of each kind, then the second, until the program is through before its turn."""
    for turn in range(1, 60):
        root = tmp_path / str(turn)
        root.mkdir()
        code, said = None, ""
        with pytest.MonkeyPatch.context() as patch, trio.fail_after(2 * PATIENCE):
            fault = Fault(patch, owner, name, turn)
            try:
                async with live(root, SMALL) as (_, mount):
                    code = await trio.to_thread.run_sync(_look, mount.path / "model", abandon_on_cancel=True)
            except* errors.MountError as group:
                said = str(group.exceptions)
        assert mounted_at(root / "mnt") is None
        assert code in (None, 0, 3), "wrong bytes"
        assert not said or "the connection to the kernel broke" in said
        if not fault.struck:
            assert code == 0
            counted = {"rounds": turn, "injected": turn - 1, "bytes_compared": 2 * len(SMALL), "bytes_wrong": 0}
            for what, count in counted.items():
                record_property(f"faults.{what}", count)
            return
    pytest.fail("the fault never failed to strike")


@pytest.mark.logs("unsupported protocol version")
async def test_p11_a_mount_whose_init_is_refused_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would say hello, and the mount would wait for it for ever."""
    true = Relay.forward

    def of_another_age(self: Relay, device: Device, message: memoryview) -> None:
        if self.greeting is None:
            message[REQUEST.size : REQUEST.size + 4] = (6).to_bytes(4, sys.byteorder)
        true(self, device, message)

    monkeypatch.setattr(Relay, "forward", of_another_age)
    with trio.fail_after(PATIENCE), pytest.raises(errors.MountError, match="INIT was refused"):
        await serve(FuseOperations(file_system_of({})), tmp_path, mount_options("test"))
    assert mounted_at(tmp_path) is None


async def test_p11_pyfuse3_may_end_with_requests_in_its_socket(tmp_path: Path) -> None:
    """They reach nobody, and the end of the mount answers them."""
    found: list[int | None] = []

    def look(path: Path) -> None:
        try:
            os.stat(path)
        except OSError as exc:
            found.append(exc.errno)

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            mount = await start(nursery, file_system_of({"x": b"x"}), tmp_path / "mnt", wired=True)
            threads = [threading.Thread(target=look, args=(mount.path / f"missing-{i}",)) for i in range(8)]
            for thread in threads:
                thread.start()
            time.sleep(0.2)  # noqa: ASYNC251  # the event loop stands still, and requests stay where they are
            assert not found
            pyfuse3.terminate()
        for thread in threads:
            await trio.to_thread.run_sync(thread.join)
    assert mounted_at(mount.path) is None
    assert len(found) == 8
    assert set(found) <= {errno.ENOTCONN, errno.ECONNABORTED, errno.ENOENT}
