"""Models that cost more than they are: absurd chunk lists, manifests and headers, through real mounts.

The blobs that such a list is of need not be there: what matters is what their neighbours and the daemon's memory say.
"""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusefs.chunks import FINE_CHUNK_SIZE, FINE_CHUNKS, MAX_CHUNKS
from fusefs.config import MIB
from fusefs.digest import Digest
from tests.faults.test_mounted import read_error, takes_at_most
from tests.faulty_registry import MODEL_TYPE, FaultyRegistry
from tests.world import some_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.programs.world import Mounted, World

    Record = Callable[[str, object], None]

SMALL = some_bytes(5_000)
SOON = 5.0
"""Seconds: what took 16 before, and room for a busy machine."""


def anonymous(mount: Mounted, what: str = "RssAnon") -> int:
    """MiB that the daemon has for itself now; with `VmHWM`, the most that it ever had."""
    for line in Path(f"/proc/{mount.status()['pid']}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) >> 10
    raise AssertionError(what)


def lines(ends: Sequence[int], first: int = 0) -> bytes:
    """Chunksums text of chunks that end before `ends`."""
    zeros = "0" * 64
    text = []
    for end in ends:
        text.append(f"sha256:{zeros} {first}-{end - 1}\n")
        first = end
    return "".join(text).encode()


def model_of(registry: FaultyRegistry, sizes: dict[str, int]) -> str:
    """Serve a model with `small.bin` and with files that nobody has; the name of it."""
    small = registry.add_blob(SMALL)
    layers = [{"mediaType": MODEL_TYPE, "digest": str(small.digest), "size": small.size, "name": "small.bin"}]
    layers += [
        {"mediaType": MODEL_TYPE, "digest": str(Digest.of(name.encode())), "size": size, "name": name}
        for name, size in sizes.items()
    ]
    registry.add_manifest("library/m:latest", json.dumps({"schemaVersion": 2, "layers": layers}).encode())
    return f"{registry.url}/library/m:latest"


def test_p10_a_list_of_a_million_one_byte_chunks_counts_as_none_and_costs_nobody_anything(
    world: World, record_property: Record
) -> None:
    count, size = 1 << 20, 65 * MIB
    with FaultyRegistry() as registry:
        name = model_of(registry, {"hostile.bin": size})
        text = lines([*range(1, count), size])
        registry.set_chunksums(Digest.of(b"hostile.bin"), text)
        logs = "more than 5136 chunks for 68157440 bytes; it is not used, see --unproved|BLOB_UNKNOWN"
        with world.mount(name, logs=logs) as mount:
            before = anonymous(mount)
            with takes_at_most(SOON):
                assert read_error(mount.path / "hostile.bin", 0) == errno.EIO
            with takes_at_most(SOON):
                os.listdir(mount.path)
                os.stat(mount.path / "hostile.bin")
                assert (mount.path / "small.bin").read_bytes() == SMALL
            assert anonymous(mount, "VmHWM") - before < 64
    record_property("faults.chunks_refused", count)
    record_property("faults.bytes_compared", len(SMALL))
    record_property("faults.bytes_wrong", 0)


@pytest.mark.slow
def test_p10_the_longest_lists_that_are_taken_have_one_budget(world: World, record_property: Record) -> None:
    """Of each blob what stays is where its chunks begin: 16 MiB of 2^21 unequal ones, of equal ones nothing.

    The allocator keeps as much again, and once what reading the longest list takes.
    """
    size = MAX_CHUNKS * FINE_CHUNK_SIZE
    wide = FINE_CHUNK_SIZE
    unequal = lines([*(wide * i + 1 for i in range(1, MAX_CHUNKS)), size])
    blobs = 4
    with FaultyRegistry() as registry:
        name = model_of(registry, {f"{i}.bin": size for i in range(blobs)})
        for i in range(blobs):
            registry.set_chunksums(Digest.of(b"%d.bin" % i), unequal)
        with world.mount(name, options=("--timeout", "120"), logs="BLOB_UNKNOWN") as mount:
            before = anonymous(mount)
            for i in range(blobs):
                read_error(mount.path / f"{i}.bin", 0)
                with takes_at_most(SOON):
                    assert (mount.path / "small.bin").read_bytes() == SMALL
                    began = time.monotonic()
                    os.stat(mount.path / f"{i}.bin")
                    assert time.monotonic() - began < 1
            kept = anonymous(mount) - before
            assert kept < blobs * 48 + 64, f"{kept} MiB for {blobs} lists"
            assert anonymous(mount, "VmHWM") - before < 768
    record_property("faults.lists", blobs)
    record_property("faults.MiB_kept", kept)
    record_property("faults.bytes_wrong", 0)


def test_the_limit_is_what_the_documentation_says() -> None:
    assert FINE_CHUNKS == 4096
    assert FINE_CHUNK_SIZE == 64 << 10
