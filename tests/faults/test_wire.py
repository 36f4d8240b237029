"""The wire while its threads fail, one call after the other: a mount ends with errors, and nobody waits for ever."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio

from fusefs import errors
from fusefs.fuse.mountpoint import mounted_at
from fusefs.fuse.wire import lane
from fusefs.fuse.wire.device import Device
from fusefs.fuse.wire.relay import Relay
from fusefs.fuse.wire.waiters import Waiters
from fusefs.vfs.filesystem import FileSystem
from tests.mount.test_wire import CHUNK, live
from tests.mounts import PATIENCE
from tests.world import some_bytes

if TYPE_CHECKING:
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
    tmp_path: Path, owner: type, name: str
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
            return
    pytest.fail("the fault never failed to strike")
