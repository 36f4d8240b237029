"""Passthrough: what is proved is read by the kernel itself, also when the daemon is dead (P12)."""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.place import Place
from fusefs.values.digest import Digest
from tests.chunkers import corrupt
from tests.cli.conftest import crash
from tests.components import fusefs_serve
from tests.conftest import fusefs_mounts
from tests.modes import is_on
from tests.patience import eventually
from tests.programs.world import REPOSITORY, Mounted, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.programs.world import World

pytestmark = [
    pytest.mark.reads,
    pytest.mark.skipif(
        os.getuid() != 0 or tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) < (6, 9),
        reason="passthrough takes root and Linux 6.9",
    ),
]

ANSWERS = """
import sys
from llama_cpp import Llama
llm = Llama(sys.argv[1], n_ctx=128, n_threads=2, seed=1, use_mmap=True, verbose=False)
prompt = llm.tokenize(b"The file system ")
for question in sys.stdin:
    llm.reset()
    tokens = []
    for token in llm.generate(prompt, temp=0.0):
        tokens.append(token)
        if len(tokens) == 16:
            break
    print(tokens, flush=True)
"""


class Llama:
    """A llama.cpp that has a model mapped, and answers whenever it is asked."""

    def __init__(self, model: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", ANSWERS, model], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def answer(self) -> list[int]:
        """Ask it; empty when it has died."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("?\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        return list(json.loads(line)) if line else []

    def page_out(self, name: str) -> int:
        """Have the kernel drop the pages that it has mapped of a file, as it does when memory is short; how many bytes.

        Source: process_madvise(2), MADV_PAGEOUT.
        """
        pid = self.process.pid
        libc = ctypes.CDLL(None, use_errno=True)
        pidfd = os.pidfd_open(pid)
        paged = 0
        try:
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                start, stop = (int(part, 16) for part in line.split()[0].split("-"))
                if line.endswith(name):
                    vector = (ctypes.c_size_t * 2)(start, stop - start)
                    done = libc.syscall(440, pidfd, vector, ctypes.c_size_t(1), 21, 0)
                    assert done == stop - start, os.strerror(ctypes.get_errno())
                    paged += done
        finally:
            os.close(pidfd)
        return paged

    def resident(self, name: str) -> int:
        """KiB of a file that it has in memory."""
        found = 0
        inside = False
        for line in Path(f"/proc/{self.process.pid}/smaps").read_text().splitlines():
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                inside = line.endswith(name)
            elif inside and line.startswith("Rss:"):
                found += int(line.split()[1])
        return found


class Mapping:
    """Pages of a file; unlike `mmap.mmap` it keeps no descriptor of its own."""

    def __init__(self, fd: int, size: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        arguments = (ctypes.c_size_t(size), mmap.PROT_READ, mmap.MAP_SHARED, fd, ctypes.c_long(0))
        self._at = libc.mmap(None, *arguments)
        assert self._at not in (None, ctypes.c_void_p(-1).value), os.strerror(ctypes.get_errno())
        self._size = size
        self._unmap = libc.munmap

    def read(self) -> bytes:
        """All of it."""
        return ctypes.string_at(self._at, self._size)

    def close(self) -> None:
        """Unmap it."""
        self._unmap(ctypes.c_void_p(self._at), ctypes.c_size_t(self._size))


@contextlib.contextmanager
def llama(model: Path) -> Iterator[Llama]:
    started = Llama(model)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()
        for pipe in (started.process.stdin, started.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@pytest.fixture
def cache(world: World, server: str, models: Path) -> Path:
    """A cache that has the model of llama.cpp, sealed in this boot."""
    world.fusefs("pull", f"{server}/llama:latest", "--cache-dir", world.root / "cache")
    return world.root / "cache"


def is_native(mounted: Mounted) -> bool:
    """Whether a file is open in the kernel's own way."""
    return bool(mounted.status()["wire"]["native"])


@contextlib.contextmanager
def unwatched(world: World, name: str, *options: str, cache: Path) -> Iterator[Mounted]:
    """A mount whose daemon may not live to see the end of the test, and whose log nobody reads."""
    path = world.root / "mnt"
    path.mkdir()
    world.fusefs("mount", name, path, "--cache-dir", cache, *options)
    try:
        yield Mounted(path, cache, world)
    finally:
        while str(path) in fusefs_mounts():
            subprocess.run(["umount", "--lazy", path], check=True, timeout=20)


@pytest.mark.about("passthrough")
@pytest.mark.slow
def test_p12_llama_cpp_goes_on_answering_when_the_daemon_is_killed(
    world: World, server: str, models: Path, cache: Path, record_property: Callable[[str, object], None]
) -> None:
    """Also when its pages have left memory since, room is made in the cache, and the path has come back."""
    plain = models / "llama" / "model.gguf"
    name = f"{server}/llama:latest"
    with unwatched(world, name, cache=cache) as mounted, llama(mounted.path / "model.gguf") as reader:
        first = reader.answer()
        assert len(set(first)) > 4, "the weights must matter"
        assert mounted.counter("opens_native") >= 1
        assert mounted.counter("bytes_served") == 0
        daemon = mounted.status()["pid"]
        crash(daemon)
        assert reader.page_out("model.gguf") > 0.9 * plain.stat().st_size
        assert reader.resident("model.gguf") < 1024, "what it asks for from now on comes from the file"
        assert reader.answer() == first
        report = json.loads(world.fusefs("gc", "--cache-size", "1MiB", "--cache-dir", cache, "--json", code=1).stdout)
        assert report["freed_total"] < 1 << 20
        assert "in use" in world.fusefs("rm", name, "--cache-dir", cache, code=1).stderr
        reader.page_out("model.gguf")
        assert reader.answer() == first
        said = world.fusefs("mount", name, mounted.path, "--cache-dir", cache, "--replace").stderr
        assert "took the place of a mount whose daemon had died" in said
        run("cmp", mounted.path / "model.gguf", plain)
        assert mounted.counter("opens_native") == 1
        reader.page_out("model.gguf")
        assert reader.answer() == first, "the old handle lives on beside the new mount"
        world.fusefs("umount", mounted.path)
        assert reader.answer() == first
    for name, count in (("rounds", 5), ("injected", 1), ("bytes_compared", plain.stat().st_size), ("bytes_wrong", 0)):
        record_property(f"faults.{name}", count)


@pytest.mark.slow
def test_p12_is_not_promised_without_passthrough(world: World, server: str, cache: Path) -> None:
    """So that the test above is known to be one: this reader dies of the same."""
    with (
        unwatched(world, f"{server}/llama:latest", "--no-passthrough", cache=cache) as mounted,
        llama(mounted.path / "model.gguf") as reader,
    ):
        assert reader.answer()
        crash(mounted.status()["pid"])
        reader.page_out("model.gguf")
        assert reader.answer() == []
        assert reader.process.wait() == -signal.SIGBUS


@pytest.mark.about("passthrough")
def test_p12_pages_that_nobody_has_touched_are_right_after_the_daemon_has_died(
    world: World, server: str, models: Path, cache: Path, record_property: Callable[[str, object], None]
) -> None:
    """The file is closed, only its mapping is left: the mount's daemon counts nobody, the kernel does."""
    plain = (models / "llama" / "model.gguf").read_bytes()
    name = f"{server}/llama:latest"
    with unwatched(world, name, cache=cache) as mounted:
        with (mounted.path / "model.gguf").open("rb") as file:
            assert is_native(mounted)
            mapped = Mapping(file.fileno(), len(plain))
        eventually("the file is closed", lambda: not is_native(mounted))
        # The daemon is alive and wants room for another model; then it is not, and another one does.
        world.fusefs("gc", "--cache-size", "1MiB", "--cache-dir", cache, code=1)
        crash(mounted.status()["pid"])
        world.fusefs("umount", mounted.path)
        world.fusefs("gc", "--cache-size", "1MiB", "--cache-dir", cache, code=1)
        assert mapped.read() == plain
        record_property("faults.injected", 1)
        record_property("faults.bytes_compared", len(plain))
        mapped.close()
        world.fusefs("gc", "--cache-size", "1MiB", "--cache-dir", cache)


@pytest.mark.slow
@pytest.mark.about("passthrough")
def test_a_file_that_is_open_ordinarily_stays_so_until_all_have_closed_it(
    world: World, server: str, models: Path
) -> None:
    plain = models / "tensors" / "model.safetensors"
    with world.mount(f"{server}/tensors:latest") as mounted:
        path = mounted.path / "model.safetensors"
        with path.open("rb", buffering=0) as first:
            run("cmp", path, plain)
            mounted.wait_sealed()
            with path.open("rb", buffering=0) as second:
                assert second.read(10) == first.read(10)
                assert mounted.counter("opens_native") == 0
        eventually("the next open is native", lambda: bool(path.read_bytes()) and mounted.counter("opens_native") > 0)
        with path.open("rb", buffering=0) as first, path.open("rb", buffering=0) as second:
            assert mounted.status()["wire"]["native"] == 1
            assert os.pread(first.fileno(), 100, 5_000_000) == os.pread(second.fileno(), 100, 5_000_000)
        run("cmp", path, plain)


@pytest.mark.slow
@pytest.mark.about("passthrough")
def test_p5_what_an_earlier_boot_has_sealed_is_native_when_it_is_proved_again(
    world: World, server: str, models: Path, cache: Path
) -> None:
    plain = models / "llama" / "model.gguf"
    with Place(cache, Digest.of(plain.read_bytes())).map.open("r+b") as file:
        file.seek(96)  # where the map keeps the boot id
        file.write(bytes(16))
    with world.mount(f"{server}/llama:latest", cache=cache) as mounted:
        path = mounted.path / "model.gguf"
        with path.open("rb"):
            assert not is_native(mounted)

        def native() -> bool:
            with path.open("rb", buffering=0) as file:
                return file.read(4) == b"GGUF" and is_native(mounted)

        eventually("it is proved in the background", native)
        run("cmp", path, plain)
        assert mounted.counter("bytes_fetched") == 0


@pytest.mark.slow
@pytest.mark.parametrize("how", ["plain", "direct"])
def test_every_way_to_read_gives_the_same_bytes(world: World, server: str, models: Path, cache: Path, how: str) -> None:
    plain = (models / "llama" / "model.gguf").read_bytes()
    with world.mount(f"{server}/llama:latest", cache=cache) as mounted:
        fd = os.open(mounted.path / "model.gguf", os.O_RDONLY | (os.O_DIRECT if how == "direct" else 0))
        try:
            assert is_native(mounted) == is_on("passthrough")
            buffer = mmap.mmap(-1, 1 << 20)
            for off in (0, 1 << 20, len(plain) & ~4095):
                got = os.preadv(fd, [buffer], off)
                assert buffer[:got] == plain[off : off + (1 << 20)]
            for flags in (mmap.MAP_SHARED, mmap.MAP_PRIVATE):
                with mmap.mmap(fd, 0, flags=flags, prot=mmap.PROT_READ) as mapped:
                    assert mapped[12345:23456] == plain[12345:23456]
        finally:
            os.close(fd)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "env", "why"),
    [
        (("--no-passthrough",), {}, "--no-passthrough"),
        (("--verify", "always"), {}, "--verify always"),
        ((), {"FUSEFS_WITHOUT": "wire"}, "pyfuse3 alone answers the kernel"),
    ],
)
def test_where_it_is_off_status_says_why_and_every_read_is_counted(
    world: World,
    server: str,
    models: Path,
    cache: Path,
    options: tuple[str, ...],
    env: dict[str, str],
    why: str,
) -> None:
    plain = models / "llama" / "model.gguf"
    with world.mount(f"{server}/llama:latest", cache=cache, options=options, env=env) as mounted:
        run("cmp", mounted.path / "model.gguf", plain)
        wire = mounted.status()["wire"]
        assert not wire["passthrough"]
        assert why in wire["no_passthrough"]
        assert f"no passthrough: {why}" in world.fusefs("status", mounted.path).stdout
        assert mounted.counter("bytes_served") >= plain.stat().st_size


@pytest.mark.about("passthrough")
def test_where_it_is_on_status_says_what_it_does_not_count(world: World, server: str, cache: Path) -> None:
    with world.mount(f"{server}/llama:latest", cache=cache) as mounted:
        with (mounted.path / "model.gguf").open("rb") as file:
            file.read(100)
            shown = world.fusefs("status", mounted.path).stdout
            assert "read by the kernel itself, not counted as served · 1 file open so now" in shown
        assert mounted.counter("bytes_served") == 0


@pytest.mark.slow
@pytest.mark.about("passthrough")
def test_p2_rot_that_is_found_under_open_files_is_an_error_to_others_until_it_can_be_mended(
    world: World, server: str, models: Path, cache: Path, record_property: Callable[[str, object], None]
) -> None:
    """The file stays as it is for who has it open; nobody else is given bytes that are known to be wrong."""
    plain = (models / "llama" / "model.gguf").read_bytes()
    sealed = Place(cache, Digest.of(plain)).sealed
    with world.mount(f"{server}/llama:latest", cache=cache, logs="has changed on disk") as mounted:
        path = mounted.path / "model.gguf"
        with path.open("rb", buffering=0) as first:
            assert is_native(mounted)
            corrupt(sealed, 5_000_000)
            world.fusefs("verify", "--cache-dir", cache, code=1)
            assert sealed.exists(), "it is not repaired in place"
            with pytest.raises(OSError, match="Input/output error"):
                path.open("rb")
            assert "has changed on disk" in mounted.status()["last_error"]
            assert os.pread(first.fileno(), 10, 0) == plain[:10]
        assert path.read_bytes() == plain, "answered by the daemon now, which fetches what has rotten"
        eventually("it is mended", lambda: bool(path.read_bytes()) and sealed.exists() and sealed.read_bytes() == plain)
    record_property("faults.injected", 1)
    record_property("faults.bytes_compared", len(plain))


@pytest.mark.slow
@pytest.mark.about("passthrough")
def test_p11_umount_ends_a_mount_whose_files_are_open_natively_and_they_live_on(
    world: World, server: str, models: Path, cache: Path
) -> None:
    plain = (models / "llama" / "model.gguf").read_bytes()
    with contextlib.ExitStack() as stack:
        with world.mount(f"{server}/llama:latest", cache=cache) as mounted:
            files = [stack.enter_context((mounted.path / "model.gguf").open("rb", buffering=0)) for _ in range(2)]
            assert mounted.status()["wire"]["native"] == 1
        # It is unmounted now, and its daemon has ended.
        with pytest.raises(OSError, match="No such file"):
            (mounted.path / "model.gguf").stat()
        for file in files:
            assert os.pread(file.fileno(), 5_000, 7_000_000) == plain[7_000_000:7_005_000]


@pytest.mark.slow
def test_p12_ten_thousand_opens_amid_sealing_and_eviction_never_fail(
    world: World, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The cache has room for half of the files: each is fetched, sealed, lent, evicted and fetched again."""
    plain = tmp_path / "models" / "many"
    plain.mkdir(parents=True)
    for number in range(16):
        (plain / f"{number}.bin").write_bytes(os.urandom(400_000 + 1000 * number))
    with (
        fusefs_serve(plain.parent) as address,
        # Not `world.mount`: that the cache takes no more for a moment is logged on some days, and on others not.
        unwatched(
            world,
            f"http://{address}/local/many",
            "--cache-size",
            "3MiB",
            "--keep-free",
            "1MiB",
            cache=tmp_path / "cache",
        ) as mounted,
    ):
        command = [sys.executable, "-m", "tests.programs.native_readers", str(mounted.path), str(plain)]
        readers = [
            subprocess.Popen([*command, str(seed), "1250"], cwd=REPOSITORY, stdout=subprocess.PIPE) for seed in range(8)
        ]
        while any(reader.poll() is None for reader in readers):
            world.fusefs("gc", "--cache-size", "2MiB", "--cache-dir", mounted.cache, code=None)
        found = [json.loads(reader.communicate()[0]) for reader in readers]
        counters = mounted.status()["counters"]
        world.fusefs("umount", mounted.path)
    for name, count in (("rounds", "opens"), ("bytes_compared", "compared"), ("bytes_wrong", "wrong_bytes")):
        record_property(f"faults.{name}", sum(one[count] for one in found))
    assert [one["wrong"] for one in found] == [[]] * 8
    assert sum(one["opens"] for one in found) == 10_000
    if is_on("passthrough"):
        assert 1000 < counters["opens_native"] < 9_900, "both kinds were opened, or it was hardly a trial"
    else:
        assert counters["opens_native"] == 0
    assert counters["bytes_evicted"] > 16 * 400_000
    assert counters["read_errors"] == 0
