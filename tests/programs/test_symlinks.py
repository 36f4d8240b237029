"""`--sealed symlink`: what is proved whole is a link into the cache, at native speed; all else stays a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.place import Place
from fusefs.values.digest import Digest
from tests.programs.world import World, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.reads

SYMLINKS = ("--sealed", "symlink")


@pytest.fixture
def name(server: str) -> str:
    return f"{server}/tree:latest"


def files_below(root: Path) -> list[Path]:
    """Everything that is no folder, links included."""
    return sorted(path for path in root.rglob("*") if path.is_symlink() or not path.is_dir())


def test_what_was_read_whole_is_a_link_that_outlives_the_daemon(world: World, name: str, models: Path) -> None:
    with world.mount(name, options=SYMLINKS) as mounted:
        cache = mounted.cache
        assert not any(path.is_symlink() for path in files_below(mounted.path)), "nothing is proved yet"
        run("diff", "-r", mounted.path, models / "tree")
        mounted.wait_sealed()
    with world.mount(name, cache=cache, options=SYMLINKS) as mounted:
        shown = files_below(mounted.path)
        full = [path for path in shown if os.stat(path).st_size]
        assert full
        assert all(path.is_symlink() and path.resolve().parent == cache / "blobs" for path in full)
        run("diff", "-r", mounted.path, models / "tree")
        assert mounted.counter("bytes_served") == 0, "no byte came through the mount"
        opened = os.open(full[0], os.O_RDONLY)
    try:
        assert os.pread(opened, 10, 0), "the daemon has ended, the file has not"
    finally:
        os.close(opened)
    with world.mount(name, cache=cache) as mounted:
        assert not any(path.is_symlink() for path in files_below(mounted.path)), "files are the default"


@pytest.mark.slow
def test_p5_what_was_proved_in_an_earlier_boot_is_a_file_until_it_is_hashed_again(
    world: World, name: str, models: Path
) -> None:
    largest = max(files_below(models / "tree"), key=lambda path: path.stat().st_size)
    blob = Digest.of(largest.read_bytes())
    inside = largest.relative_to(models / "tree")
    with world.mount(name) as mounted:
        cache = mounted.cache
        run("diff", "-r", mounted.path, models / "tree")
        mounted.wait_sealed()
    with Place(cache, blob).map.open("r+b") as file:
        file.seek(96)  # where the map keeps the boot id
        file.write(bytes(16))
    with world.mount(name, cache=cache, options=SYMLINKS) as mounted:
        assert not any(path.is_symlink() for path in files_below(mounted.path)), "all of a model, or nothing"
        run("cmp", mounted.path / inside, largest)
    with world.mount(name, cache=cache, options=SYMLINKS) as mounted:
        assert (mounted.path / inside).is_symlink(), "it was hashed as it was read"
