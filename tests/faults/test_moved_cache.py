"""P10: a mount goes on with the cache directory that it opened, whatever is put in its place, or is left of it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
import trio

from fusefs.cache.disk import DiskCache
from fusefs.cache.place import Place
from fusefs.errors import FusefsError
from fusefs.system.files import reader_of
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from fusefs.values.trace import Trace
from tests.chunkers import blob_of, fill
from tests.fake_source import FakeSource, chunk_list
from tests.faults.calls import Call, watched
from tests.faults.calls_scenes import ACTS, Stage, boot, copy, prepare, recover, without_waiting
from tests.faults.paced import PacedRegistry
from tests.faults.processes import Reader
from tests.world import quiet, running, some_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from tests.programs.world import World

DATA = some_bytes(10_000, seed=1)
OTHER = some_bytes(10_000, seed=2)
THEIRS = some_bytes(10_000, seed=3)
NAME = Name.parse("http://test.invalid/library/model:latest")

SHOWN = "cache/disk.py _shared_out"
"""Looks whether a path that is told to others leads where it should."""


class ByPath:
    """Finds calls of the cache that name something below a directory by its path."""

    def __init__(self, root: Path) -> None:
        self._below = f"{root}/"
        self.found: list[str] = []
        self.held = 0

    def __call__(self, call: Call) -> Any:
        named = [str(arg) for arg in call.args if isinstance(arg, str | os.PathLike)]
        if any(name.startswith(self._below) for name in named) and call.site != SHOWN:
            self.found.append(f"{call.site}: {call.kind} {named}")
        self.held += any(call.kwargs.get(key) is not None for key in ("dir_fd", "src_dir_fd"))
        return call.make()


def seen(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything below `root`: inode, time of change and content of each file and folder."""
    found = {}
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        found[str(path.relative_to(root))] = (
            info.st_ino,
            info.st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
    return found


def usurp(root: Path, away: Path) -> dict[str, tuple[int, int, bytes]]:
    """Rename the cache away and put one in its place that has other bytes everywhere, marked as proved."""
    root.rename(away)
    shutil.copytree(away, root)
    for data in (DATA, OTHER):
        place = Place(root, Digest.of(data))
        for path in (place.sealed, place.data):
            if path.exists():
                path.chmod(0o600)
                path.write_bytes(THEIRS)
        if place.map.exists():
            with open(place.map, "r+b") as file:
                file.seek(128)
                file.write(b"\1" * 10)
    return seen(root)


def through_chunks(cache: DiskCache, data: bytes) -> bytes:
    """All of a blob, through a chunker that is opened now; what is missing is filled in."""
    chunker = cache.chunker(blob_of(data), chunk_list(data, 1000))
    try:
        for index, chunk in enumerate(chunker.chunks):
            if not chunker.prove(index):
                fill(chunker, data, index)
            assert bytes(chunker.pread(chunk.start, chunk.size)) == data[chunk.start : chunk.stop]
        return bytes(chunker.pread(0, len(data)))
    finally:
        chunker.close()


@pytest.mark.logs(".")
@pytest.mark.parametrize("name", ACTS)
def test_p10_nothing_below_the_cache_is_reached_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None], name: str
) -> None:
    """Not one call of all that the acts make, opening the cache included."""
    without_waiting(monkeypatch)
    boot(monkeypatch, 1)
    prepare(tmp_path / "arrived")
    boot(monkeypatch, 2)
    root, act = tmp_path / "cache", ACTS[name]
    copy(tmp_path / "arrived", root, act)
    by_path = ByPath(root)
    stage = Stage(root)
    with watched(by_path):
        trio.run(act.scene, stage)
        recovered = recover(root)
    assert by_path.found == []
    assert by_path.held > 50, "so that the test sees something"
    record_property("faults.rounds", 1)
    record_property("faults.bytes_compared", stage.compared + recovered.compared)


async def test_p10_a_cache_put_in_the_place_of_ours_is_never_read_or_written(tmp_path: Path) -> None:
    root, away = tmp_path / "cache", tmp_path / "away"
    source = FakeSource()
    async with running(root, DATA, source=source) as world:
        cache = world.cache
        cache.put(Digest.of(OTHER), reader_of(OTHER), len(OTHER))
        await world.read(0, 4000)
        await quiet(world)
        theirs = usurp(root, away)
        await world.read(0, len(DATA))
        await world.sealed()
        await quiet(world)
        assert cache.read(Digest.of(OTHER), len(OTHER)) == OTHER
        assert through_chunks(cache, OTHER) == OTHER
        assert through_chunks(cache, DATA) == DATA
        cache.traces.write(world.blob, Trace(((0, 1000),)))
        cache.link(NAME, cache.import_blob(reader_of(b"{}"), 2))
        cache.pins.add(NAME, b"{}")
        assert cache.resolve("test.invalid/library/model:latest") == Digest.of(b"{}")
        assert set(cache.digests()) == {Digest.of(data) for data in (DATA, OTHER, b"{}")}
    assert seen(root) == theirs, "theirs is as they left it"
    assert Place(away, world.blob.digest).sealed.read_bytes() == DATA, "ours has gone on where it is now"
    assert Place(away, world.blob.digest).start.exists()


def test_p10_a_blob_is_shown_as_a_link_only_where_its_path_leads_to_it(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    cache = DiskCache.open(root)
    digest = Digest.of(DATA)
    cache.put(digest, reader_of(DATA), len(DATA))
    through_chunks(cache, DATA)
    assert cache.hold(digest)
    usurp(root, tmp_path / "away")
    assert not cache.hold(digest)
    cache.release()


@pytest.mark.logs("No such file or directory")
@pytest.mark.logs("the cache directory was removed")
async def test_p10_a_cache_removed_under_a_mount_leaves_it_its_open_files_and_its_memory(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    source = FakeSource()
    async with running(root, DATA, source=source) as world:
        await world.read(0, 4000)
        await quiet(world)
        shutil.rmtree(root)
        await world.read(0, len(DATA))
        await quiet(world)
        assert not root.exists(), "nothing is made by path"
        assert through_chunks(world.cache, OTHER) == OTHER, "a blob that is opened now lives in memory"
        with pytest.raises(FusefsError):
            world.cache.put(Digest.of(OTHER), reader_of(OTHER), len(OTHER))
    async with running(root, DATA) as world:
        await world.read(0, len(DATA))
        await world.sealed()
    assert Place(root, Digest.of(DATA)).sealed.read_bytes() == DATA


@pytest.mark.logs("No such file or directory")
async def test_p10_a_cache_emptied_under_a_mount_leaves_it_its_open_files_and_is_filled_again(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    async with running(root, DATA) as world:
        await world.read(0, 4000)
        await quiet(world)
        for folder in list(root.iterdir()):
            shutil.rmtree(folder)
        await world.read(0, len(DATA))
        await quiet(world)
        assert through_chunks(world.cache, OTHER) == OTHER
    async with running(root, DATA) as world:
        await world.read(0, len(DATA))
        await world.sealed()


def dropped(path: Path) -> None:
    """Have the kernel ask for a file's bytes again."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.mark.slow
def test_p10_a_kernel_mount_goes_on_with_its_own_cache(world: World, large: bytes) -> None:
    cache, away = world.root / "cache", world.root / "away"
    with PacedRegistry(large) as registry, world.mount(registry.name, cache=cache) as mount:
        file = mount.path / "model.gguf"
        reader = Reader(file, large)
        reader.run()
        mount.wait_sealed()
        cache.rename(away)
        shutil.copytree(away, cache)
        theirs = Place(cache, registry.blob.digest).sealed
        theirs.chmod(0o600)
        theirs.write_bytes(bytes(len(large)))
        before = seen(cache)
        dropped(file)
        again = Reader(file, large)
        again.run()
        assert (again.failed, again.wrong) == (0, [])
        shutil.rmtree(away)
        dropped(file)
        last = Reader(file, large)
        last.run()
        assert last.wrong == []
        assert seen(cache) == before
    assert seen(cache) == before, "not at the end, either"
    shutil.rmtree(cache)
    with PacedRegistry(large) as registry, world.mount(registry.name, cache=cache) as mount:
        reader = Reader(mount.path / "model.gguf", large)
        reader.run()
        assert (reader.failed, reader.wrong) == (0, [])
