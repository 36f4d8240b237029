"""Suites that no one here wrote: what of them reads, and can be told what to read, is run on a mount.

Each is run on plain files first, or on damaged ones, so that a suite that checks nothing is found out.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.components import fusefs_serve
from tests.programs.world import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.programs.world import World

pytestmark = pytest.mark.reads

MIB = 1 << 20
SIZE = 66 * MIB
"""More than one chunk."""

PARALLEL = ("--numjobs=3", "--group_reporting")
ENGINES = (
    ("psync", "read"),
    ("psync", "randread", *PARALLEL),
    ("pvsync2", "randread"),
    ("mmap", "read"),
    ("mmap", "randread", *PARALLEL),
    ("libaio", "randread", "--iodepth=16", "--direct=1"),
    ("io_uring", "randread", "--iodepth=16"),
    ("posixaio", "read", "--iodepth=4"),
)

XFS_IO = (
    "pread -v 0 300",
    "pread -v 4095 2",
    f"pread -v {MIB - 100} 200",
    f"pread -v {SIZE - 100} 4096",
    f"pread -v {SIZE + 10} 10",
    f"mmap -r 0 {SIZE}",
    "mread -v 12345 200",
    f"mread -v {40 * MIB - 3} 6",
    "madvise -w 0 1m",
    "madvise -d 0 1m",
    "mread -v -r 0 400",
    "munmap",
    "fadvise -w 0 2m",
    "seek -d 0",
    "seek -h 0",
    f"seek -d {SIZE - 1}",
    f"seek -h {SIZE}",
)

# The data that CPython's tests look for is found on the mount; a test that does not ask for any proves nothing.
CPYTHON = """
import os, sys, unittest
from test import support
asked = set()
def findfile(filename, subdir=None, find=support.findfile):
    path = os.path.join(sys.argv[1], *([subdir] if subdir else []), filename)
    if not os.path.exists(path):
        return find(filename, subdir)
    asked.add(filename)
    return path
support.findfile = findfile
names = sys.argv[2:]
result = unittest.TextTestRunner(verbosity=0).run(unittest.defaultTestLoader.loadTestsFromNames(names))
print(result.testsRun, len(asked))
sys.exit(not result.wasSuccessful())
"""
DATA = ("testtar.tar", "zipdir.zip", "xmltestdata", "imghdrdata", "sndhdrdata")
READ_TESTS = (
    *(f"test_tarfile.{name}" for name in ("UstarReadTest", "MiscReadTest", "StreamReadTest", "DetectReadTest")),
    *(f"test_tarfile.{name}" for name in ("MemberReadTest", "GNUReadTest", "PaxReadTest")),
    "test_xml_etree",
    "test_sax",
    "test_imghdr",
    "test_sndhdr",
)

# What test_io does to every kind of file object, with the raw and the buffered classes of C and of Python.
READ_OPS = """
import io, sys, warnings
from test import test_io
warnings.simplefilter("ignore")
for case, module in ((test_io.CIOTest("test_raw_file_io"), io), (test_io.PyIOTest("test_raw_file_io"), test_io.pyio)):
    with module.open(sys.argv[1], "rb", buffering=0) as file:
        case.read_ops(file, False)
    for size in (1, 2, 3, 4096):
        with module.open(sys.argv[1], "rb", buffering=size + 1) as file:
            case.read_ops(file, True)
print("done")
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with the suites' files, and the source that serves it."""
    root = tmp_path_factory.mktemp("suites")
    folder = root / "models" / "suite"
    folder.mkdir(parents=True)
    fio(folder / "fio", "psync", "write", "--do_verify=0", readonly=False)
    (folder / "hello").write_bytes(b"hello world\n")
    found = importlib.util.find_spec("test.test_tarfile")
    assert found is not None, "scripts/setup installs Python's own tests"
    assert found.origin is not None
    for name in DATA:
        path = Path(found.origin).with_name(name)
        if path.is_dir():
            shutil.copytree(path, folder / name)
        else:
            shutil.copy(path, folder / name)
    with fusefs_serve(root / "models") as address:
        yield folder, f"http://{address}/local/suite:latest"


def fio(
    path: Path, engine: str, pattern: str, *options: str, readonly: bool = True
) -> subprocess.CompletedProcess[str]:
    """Write a file whose every block has a checksum, or read such a file and have fio compare."""
    command = ["fio", "--name=suite", f"--filename={path}", f"--size={SIZE}", "--bs=64k", f"--ioengine={engine}"]
    checks = [
        f"--rw={pattern}",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--invalidate=1",
        "--thread",
        "--verify_state_save=0",
    ]
    checks += ["--readonly"] if readonly else []
    return subprocess.run([*command, *checks, *options], timeout=60, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_p2_fio_verifies_every_block_with_each_of_its_engines(
    world: World, served: tuple[Path, str], tmp_path: Path
) -> None:
    folder, source = served
    damaged = tmp_path / "damaged"
    shutil.copy(folder / "fio", damaged)
    with damaged.open("r+b") as file:
        file.seek(33 * MIB + 777)
        file.write(b"not what was there")
    assert "verify failed" in fio(damaged, "psync", "read").stderr
    for engine, pattern, *options in ENGINES:  # each from an empty cache
        with world.mount(source) as mount:
            done = fio(mount.path / "fio", engine, pattern, *options)
            assert done.returncode == 0, f"{engine} {pattern}: {done.stdout}{done.stderr}"
            assert "err= 0" in done.stdout
            assert mount.counter("bytes_served") > 0
            assert mount.file("fio")["present"] == SIZE


@pytest.mark.slow
def test_p2_xfs_io_sees_on_the_mount_what_it_sees_on_a_disk(world: World, served: tuple[Path, str]) -> None:
    folder, source = served
    commands = [part for command in XFS_IO for part in ("-c", command)]
    with world.mount(source) as mount:
        right, found = (
            re.sub(r" *\d[\d.]* (bytes|[KMG]iB|sec|ops).*", "", run("xfs_io", "-r", *commands, path / "fio"))
            for path in (folder, mount.path)
        )
        assert found == right
        assert found.count("\n") > 60
        copy = world.root / "copy"
        run("xfs_io", "-f", "-c", f"sendfile -i {mount.path / 'fio'} 0 {SIZE}", copy)
        run("cmp", copy, folder / "fio")
        size = run("xfs_io", "-r", "-c", "stat", mount.path / "fio")
        assert f"stat.size = {SIZE}" in size


@pytest.mark.slow
def test_stress_ng_stats_every_file_of_a_mount_from_many_threads(world: World, served: tuple[Path, str]) -> None:
    _, source = served
    with world.mount(source) as mount:
        command = ("stress-ng", "--fstat", "4", "--fstat-dir", mount.path, "--fstat-ops", "2000", "--verify")
        done = run(*command, "--metrics-brief", "--temp-path", world.root)
        assert not re.search("fail", done)
        before = os.statvfs(mount.path)
        assert before.f_namemax > 0


@pytest.mark.slow
def test_p2_cpythons_own_tests_read_their_data_from_a_mount(world: World, served: tuple[Path, str]) -> None:
    _, source = served
    with world.mount(source) as mount:
        tests = [f"test.{name}" for name in READ_TESTS]
        env = {**world.env, "PYTHONWARNINGS": "ignore"}
        told = run(sys.executable, "-c", CPYTHON, mount.path, *tests, cwd=world.root, env=env, timeout=90)
        count, asked = map(int, told.split()[-2:])
        assert count > 300
        assert asked > 5
        assert mount.file("testtar.tar")["state"] == "sealed"
        assert run(sys.executable, "-c", READ_OPS, mount.path / "hello", cwd=world.root, env=env).strip() == "done"
