"""P8 as a program on a real mount sees it, when the cache's disk takes nothing at all: it is full, or read-only."""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.disks import tmpfs
from tests.faults.load_content import MIB, Content
from tests.faults.load_server import LoadServer
from tests.faults.test_small_disk import peak_memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.programs.world import World

LARGE = Content(31, 2048 * MIB + 12_345, chunk_size=4 * MIB)
SMALL = Content(32, 3 * MIB + 7)
DISK = 8 * MIB
MEMORY = 64 * MIB
BASE = 96 * MIB
"""What a mount needs beyond --memory, over its size before the first read: the buffers of 32 reads of 1 MiB that the
kernel has in flight at a time and their replies, the stacks of its threads, and what malloc keeps between bursts."""


def fill_up(path: Path) -> None:
    """Leave no byte free."""
    with (path / "ballast").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        file.writelines(itertools.repeat(bytes(4096)))
    assert os.statvfs(path).f_bavail == 0


def compare(path: Path, content: Content) -> int:
    """Read all of it in order; the bytes that were compared."""
    seen = 0
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # pages that were kept would be read instead
        while data := file.read(MIB):
            assert data == content.part(seen, len(data)), f"wrong bytes at {seen}"
            seen += len(data)
    assert seen == content.size
    return seen


@pytest.mark.slow
def test_p8_with_a_full_disk_a_model_of_two_gigabytes_reads_right_within_the_memory_budget(
    world: World, record_property: Callable[[str, object], None]
) -> None:
    with tmpfs(world.root / "disk", DISK) as full, LoadServer([LARGE]) as server:
        options = ("--memory", str(MEMORY))
        logs = "nothing that may go|No space left"
        with world.mount(server.source(LARGE), cache=full / "cache", options=options, logs=logs) as mount:
            pid = mount.status()["pid"]
            fill_up(full)
            before = peak_memory(pid)
            start = time.monotonic()
            compared = compare(mount.path / "model.gguf", LARGE)
            record_property("seconds", time.monotonic() - start)
            grown = peak_memory(pid) - before
            record_property("peak_growth", grown)
            assert grown <= MEMORY + BASE
            assert mount.counter("read_errors") == 0
            assert os.statvfs(full).f_bavail == 0, "it was full all the time"
        assert server.sent < LARGE.size * 1.25, "read in order, next to nothing is fetched twice"
    record_property("faults.bytes_compared", compared)
    record_property("faults.bytes_refetched", server.sent - LARGE.size)
    record_property("faults.bytes_wrong", 0)


@pytest.mark.slow
def test_p8_a_cache_on_a_read_only_disk_serves_what_it_has_and_streams_the_rest(world: World) -> None:
    with tmpfs(world.root / "disk", DISK) as path, LoadServer([SMALL, Content(33, SMALL.size)]) as server:
        cached, other = server.contents.values()
        with world.mount(server.source(cached), cache=path / "cache") as mount:
            compare(mount.path / "model.gguf", cached)
            mount.wait_sealed()
        sent = server.sent
        subprocess.run(["mount", "-o", "remount,ro", path], check=True, timeout=20)
        with world.mount(server.source(cached), cache=path / "cache") as mount:
            compare(mount.path / "model.gguf", cached)
            assert server.sent == sent, "what was proved and is here is not fetched again"
        with world.mount(server.source(other), cache=path / "cache", logs="ead-only|cannot") as mount:
            compare(mount.path / "model.gguf", other)
