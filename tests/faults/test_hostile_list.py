"""Models that cost more than they are: absurd chunk lists, manifests and headers, through real mounts.

The blobs that such a list is of need not be there: what matters is what their neighbours and the daemon's memory say.
"""

from __future__ import annotations

import errno
import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusefs.values.chunklimits import FINE_CHUNK_SIZE, FINE_CHUNKS, MAX_CHUNKS
from fusefs.values.digest import Digest
from fusefs.values.settings import MIB
from tests.faults.test_mounted import read_error
from tests.faults.test_starving_readers import PAGE, waiting
from tests.faulty_registry import MODEL_TYPE, FaultyRegistry
from tests.marks import one_soon
from tests.patience import eventually, patiently, takes_at_most
from tests.world import some_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.programs.world import Mounted, World

    Record = Callable[[str, object], None]

SMALL = some_bytes(5_000)


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


@pytest.mark.slow
def test_p10_a_list_of_a_million_one_byte_chunks_counts_as_none_and_costs_nobody_anything(
    world: World, record_property: Record
) -> None:
    count, size = 1 << 20, 65 * MIB
    with FaultyRegistry() as registry:
        name = model_of(registry, {"hostile.bin": size})
        text = lines([*range(1, count), size])
        registry.set_chunksums(Digest.of(b"hostile.bin"), text)
        logs = "more than 5136 chunks for 68157440 bytes; it is not used, see --unproved|BLOB_UNKNOWN|is read whole"
        with world.mount(name, logs=logs) as mount:
            before = anonymous(mount)
            with takes_at_most():
                assert read_error(mount.path / "hostile.bin", 0) == errno.EIO
            with takes_at_most():
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
        with world.mount(name, options=("--timeout", "120"), logs="BLOB_UNKNOWN|is read whole") as mount:
            before = anonymous(mount)
            for i in range(blobs):
                read_error(mount.path / f"{i}.bin", 0)
                with takes_at_most():
                    assert (mount.path / "small.bin").read_bytes() == SMALL
                    os.stat(mount.path / f"{i}.bin")
            kept = anonymous(mount) - before
            assert kept < blobs * 48 + 64, f"{kept} MiB for {blobs} lists"
            assert anonymous(mount, "VmHWM") - before < 768
    record_property("faults.lists", blobs)
    record_property("faults.MiB_kept", kept)
    record_property("faults.bytes_wrong", 0)


def test_the_limit_is_what_the_documentation_says() -> None:
    assert FINE_CHUNKS == 4096
    assert FINE_CHUNK_SIZE == 64 << 10


def layer(data: bytes, size: int, name: str) -> dict[str, object]:
    """A layer of a manifest."""
    return {"mediaType": MODEL_TYPE, "digest": str(Digest.of(data)), "size": size, "name": name}


REFUSED = {
    "a size that no file has": ([layer(b"a", 2**63 - 1, "a")], "a layer of 9223372036854775807 bytes"),
    "a size below nothing": ([layer(b"a", -1, "a")], "a layer of -1 bytes"),
    "a digest with two sizes": ([layer(SMALL, 5_000, "a"), layer(SMALL, 6_000, "b")], "is listed with two sizes"),
    "two of a name": ([layer(b"a", 1, "a"), layer(b"b", 1, "a")], "two layers have it"),
    "a name that leaves": ([layer(b"a", 1, "a/../../b")], "a component is '..'"),
    "a name with an escape": ([layer(b"a", 1, "\x1b[31mred\nblue")], "it has control characters"),
    "a name without end": ([layer(b"a", 1, "a" * 300)], "longer than 255 bytes"),
    "folders without end": ([layer(b"a", 1, "/".join("a" * 2000))], "deeper than 64 folders"),
}


@pytest.mark.parametrize("what", one_soon(list(REFUSED)))
def test_p10_a_hostile_manifest_is_refused_in_one_clear_line(world: World, what: str, record_property: Record) -> None:
    layers, why = REFUSED[what]
    mountpoint = world.root / "mnt"
    mountpoint.mkdir()
    with FaultyRegistry() as registry:
        registry.add_manifest("library/m:latest", json.dumps({"schemaVersion": 2, "layers": layers}).encode())
        done = world.fusefs("mount", f"{registry.url}/library/m:latest", mountpoint, code=1)
    (line,) = done.stderr.splitlines()
    assert line.startswith("fusefs: error: ")
    assert why in line
    assert line.isprintable()
    record_property("faults.manifests", 1)


@pytest.mark.slow
def test_p10_a_model_of_ten_thousand_odd_files_is_shown_as_it_is(world: World, record_property: Record) -> None:
    odd = ["-rf", " lead", "trail ", "back\\slash", "e\u0301", "\u00e9", "deep/" * 60 + "file", "CON", "%2e%2e"]
    layers = [layer(SMALL, len(SMALL), name) for name in odd]
    layers += [layer(b"", 0, "empty"), layer(b"terabytes", 1 << 44, "huge")]
    layers += [layer(b"%d" % i, 100, f"{i % 7}/{i}.bin") for i in range(10_000)]
    with FaultyRegistry() as registry:
        registry.add_blob(SMALL)
        registry.add_manifest("library/m:latest", json.dumps({"schemaVersion": 2, "layers": layers}).encode())
        with world.mount(f"{registry.url}/library/m:latest", logs="BLOB_UNKNOWN|is read whole") as mount:
            with takes_at_most():
                found = {str(path.relative_to(mount.path)) for path in mount.path.rglob("*") if path.is_file()}
            assert found == {str(each["name"]) for each in layers} | {"manifest.json"}
            for name in odd:
                assert (mount.path / name).read_bytes() == SMALL
            assert (mount.path / "empty").read_bytes() == b""
            assert (mount.path / "huge").stat().st_size == 1 << 44
            assert read_error(mount.path / "3/3.bin", 0) == errno.EIO
    record_property("faults.manifests", 1)
    record_property("faults.bytes_compared", len(odd) * len(SMALL))
    record_property("faults.bytes_wrong", 0)


@pytest.mark.slow
def test_p2_under_a_limit_of_address_space_reads_are_right_or_an_errno_and_the_daemon_lives(
    world: World, record_property: Record
) -> None:
    """Each request takes 1 MiB of it until it is answered: so as many are answered as there is room for."""
    readers, limit = 600, 900 * MIB
    files = {f"{i}.bin": some_bytes(3 * MIB, seed=20 + i) for i in range(3)}
    with FaultyRegistry() as registry:
        model = registry.add_model("library/m:latest", {**files, "lost.bin": some_bytes(PAGE * readers)})
        registry.fault("silence-before", f"/blobs/{model.blobs['lost.bin'].digest}", times=None)
        limited = ("prlimit", f"--as={limit}:")  # as `ulimit -v`
        with ExitStack() as stack:
            limits = ("--timeout", "4")
            mount = stack.enter_context(world.mount(str(model.name), options=limits, logs=".", prefix=limited))
            pid = mount.status()["pid"]
            stack.enter_context(waiting(mount, mount.path / "lost.bin", readers))
            for name, data in files.items():
                assert patiently((mount.path / name).read_bytes) == data
            assert mount.status()["pid"] == pid
    record_property("faults.readers", readers)
    record_property("faults.bytes_compared", len(files) * 3 * MIB)
    record_property("faults.bytes_wrong", 0)


@pytest.mark.slow
def test_p2_a_small_memory_cgroup_does_not_end_the_mount(world: World, record_property: Record) -> None:
    """`--memory` is what the daemon takes beyond itself; the page cache of its files is the kernel's to drop."""
    root = Path("/sys/fs/cgroup/memory")
    group = root / f"fusefs-{os.getpid()}"
    limit = "memory.limit_in_bytes" if (root / "memory.limit_in_bytes").exists() else "memory.max"
    root = root if root.exists() else root.parent
    group = root / group.name
    try:
        group.mkdir()
        (group / limit).write_text(f"{128 * MIB}")
    except OSError:
        if group.exists():
            group.rmdir()
        pytest.skip("no memory cgroup of our own here")
    data = some_bytes(8 * MIB, seed=30)
    try:
        with FaultyRegistry() as registry:
            model = registry.add_model("library/m:latest", {f"{i}.bin": data + b"%d" % i for i in range(4)})
            with world.mount(str(model.name), options=("--memory", "16MiB")) as mount:
                (group / "cgroup.procs").write_text(str(mount.status()["pid"]))
                for i in range(4):
                    assert (mount.path / f"{i}.bin").read_bytes() == data + b"%d" % i
                    mount.wait_sealed(f"{i}.bin")
    finally:
        eventually("the group is empty", lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()
    record_property("faults.bytes_compared", 4 * len(data))
    record_property("faults.bytes_wrong", 0)
