"""Everyday programs on a mount: each says the same of the mount as of the plain folder."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.marks import one_soon
from tests.patience import eventually
from tests.programs.world import run, shell

if TYPE_CHECKING:
    from pathlib import Path

    from tests.programs.world import World

pytestmark = pytest.mark.reads

EACH = "find . -type f | sort | xargs -d '\\n' -n1 sh -c"

ALIKE = {
    "find": r"find . -type f -printf '%P %s\n' | sort; find . -type d -printf '%P/\n' | sort",
    "ls": "ls -R1A",
    "sha256sum": "find . -type f -print0 | sort -z | xargs -0 sha256sum",
    "grep": "grep -rc needle . | sort; grep -rl 'näïve' .",
    "tar": "tar --sort=name --owner=0 --group=0 --mtime=@0 --mode=a=rX -cf - . | sha256sum",
    "dd, 64 KiB at a time": f"{EACH} 'dd if=\"$0\" bs=64k status=none | md5sum'",
    "dd, direct": f"{EACH} 'dd if=\"$0\" iflag=direct bs=1M status=none | md5sum'",
    "dd, from the middle": "dd if=weights/part-00001.bin bs=1000 skip=2345 count=333 status=none | md5sum",
    "tail": "tail -c 1000 weights/part-00001.bin | md5sum",
    "du, apparent": "find . -type f -print0 | sort -z | xargs -0 du --apparent-size -b",
    "python, sendfile": f"""{sys.executable} -c '
import os, hashlib
with open("weights/part-00001.bin", "rb") as file:
    out = os.memfd_create("out")
    while os.sendfile(out, file.fileno(), None, 1 << 20):
        pass
    print(hashlib.sha256(os.pread(out, 1 << 30, 0)).hexdigest())'""",
    "python, shared and private mmap": f"""{sys.executable} -c '
import hashlib, mmap
for kind in (mmap.MAP_SHARED, mmap.MAP_PRIVATE):
    with open("weights/part-00001.bin", "rb") as file, mmap.mmap(file.fileno(), 0, kind, mmap.PROT_READ) as view:
        print(view[2_000_000:2_000_100].hex(), hashlib.sha256(view).hexdigest())'""",
}


@pytest.mark.parametrize("what", one_soon(sorted(ALIKE, key=lambda what: what != "sha256sum")))
def test_a_program_says_the_same_of_the_mount(what: str, world: World, server: str, models: Path) -> None:
    with world.mount(f"{server}/tree:latest") as mounted:
        assert shell(ALIKE[what], mounted.path) == shell(ALIKE[what], models / "tree")


@pytest.mark.slow
def test_copies_are_equal(world: World, server: str, models: Path, tmp_path: Path) -> None:
    plain = models / "tree"
    with world.mount(f"{server}/tree:latest") as mounted:
        run("cp", "-r", mounted.path, tmp_path / "cp")
        run("rsync", "-rc", f"{mounted.path}/", tmp_path / "rsync")
        run("cmp", mounted.path / "weights/part-00001.bin", plain / "weights/part-00001.bin")
        run("diff", "-r", mounted.path, plain)
    run("diff", "-r", tmp_path / "cp", plain)
    run("diff", "-r", tmp_path / "rsync", plain)


@pytest.mark.slow
def test_rsync_by_checksum_finds_nothing_to_do(world: World, server: str, models: Path) -> None:
    with world.mount(f"{server}/tree:latest") as mounted:
        say = ("rsync", "-rnc", "--out-format=%n")
        assert run(*say, f"{mounted.path}/", f"{models / 'tree'}/") == ""
        (models / "tree" / "one").rename(models / "one")
        try:
            assert run(*say, f"{mounted.path}/", f"{models / 'tree'}/").split() == ["one"], "rsync does compare"
        finally:
            (models / "one").rename(models / "tree" / "one")


@pytest.mark.slow
def test_du_counts_what_is_present(world: World, server: str) -> None:
    with world.mount(f"{server}/tensors:latest") as mounted:
        file = mounted.path / "model.safetensors"
        assert int(run("du", "-k", file).split()[0]) == 0
        shell("cat model.safetensors >/dev/null", mounted.path)
        mounted.wait_sealed()
        blocks = -(-file.stat().st_size // 512)
        # The kernel may keep the attributes of a file that is not whole yet for a second.
        eventually("du sees it", lambda: int(run("du", "--block-size=512", file).split()[0]) == blocks)


@pytest.mark.slow
def test_nothing_can_be_written(world: World, server: str) -> None:
    with world.mount(f"{server}/tree:latest") as mounted:
        for command in (
            "echo x >one",
            "echo x >new",
            "rm one",
            "mkdir d",
            "mv one two",
            "ln one two",
            "truncate -s0 one",
        ):
            done = subprocess.run(
                ["bash", "-c", command], cwd=mounted.path, timeout=20, capture_output=True, text=True, check=False
            )
            assert done.returncode != 0, command
            assert "Read-only file system" in done.stderr or "Permission denied" in done.stderr, done.stderr


@pytest.mark.slow
def test_eight_readers_at_once_fetch_each_byte_once(world: World, server: str, models: Path) -> None:
    plain = models / "minilm" / "model.safetensors"
    expected = run("sha256sum", "model.safetensors", cwd=plain.parent)
    with world.mount(f"{server}/minilm:latest") as mounted:

        def read(_: int) -> str:
            return run("sha256sum", "model.safetensors", cwd=mounted.path)

        with ThreadPoolExecutor(8) as readers:
            assert set(readers.map(read, range(8))) == {expected}
        assert mounted.file("model.safetensors")["present"] == plain.stat().st_size
        assert plain.stat().st_size <= mounted.counter("bytes_fetched") < plain.stat().st_size * 1.02
