"""P8 as a program on a real mount sees it: a model several times larger than the disk that the cache is on."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.disks import tmpfs
from tests.faults.paced import PacedRegistry
from tests.faults.processes import MIB, Reader, marked

if TYPE_CHECKING:
    from tests.programs.world import World

DISK = 16 * MIB
MEMORY = 16 * MIB


def peak_memory(pid: int) -> int:
    """The most bytes that a process had in memory so far."""
    match = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1]) * 1024


def test_p8_a_model_larger_than_the_disk_is_read_right_in_bounded_memory(world: World, large: bytes) -> None:
    with tmpfs(world.root / "disk", DISK) as disk, PacedRegistry(large) as registry:
        options = ("--memory", str(MEMORY))
        with world.mount(registry.name, cache=disk / "cache", options=options) as mount:
            pid = mount.status()["pid"]
            before = peak_memory(pid)
            for _ in range(2):
                reader = Reader(mount.path / "model.gguf", large)
                reader.run()
                assert (reader.failed, reader.wrong) == (0, [])
                with open(mount.path / "model.gguf", "rb") as file:  # so that the second round comes from us again
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert peak_memory(pid) - before < 2 * MEMORY, "the budget, and what reads and threads need themselves"
            kept = marked(disk / "cache", registry)
            assert len(kept) * MIB > DISK // 2, "the disk is used as far as it goes"
            assert len(kept) < len(registry.chunks)
        log = (world.root / "log1").read_text()
        assert "the least recently used chunks make room" in log
        assert "WARNING" not in log, "a disk that is smaller than the model is nothing that a person need look at"
