"""`fusefs mount --replace`: one command brings a path back whose daemon has died, or renews a mount that is alive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fusefs.daemon.background import wait_end
from tests.cli.conftest import ORDINARY, crash

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Shell

pytestmark = pytest.mark.reads


def status(fusefs: Shell, mnt: Path) -> dict[str, Any]:
    (mount,) = json.loads(fusefs("status", mnt, "--json").stdout)["mounts"]
    assert isinstance(mount, dict)
    return mount


def mounts_at(path: Path) -> int:
    return Path("/proc/self/mountinfo").read_text().count(f" {path} ")


@pytest.fixture
def mnt(fusefs: Shell, model: str) -> Path:
    """A mount of the model."""
    path = fusefs.folder("mnt")
    fusefs("mount", model, path)
    return path


def test_p12_a_dead_mount_is_replaced_in_one_command_while_it_is_in_use(
    fusefs: Shell, mnt: Path, model: str, content: dict[str, bytes], record_property: Callable[[str, object], None]
) -> None:
    with (mnt / "sub/weights.bin").open("rb", buffering=0) as old:
        crash(status(fusefs, mnt)["pid"])
        assert "take its place with --replace" in fusefs.fails("mount", model, mnt)
        said = fusefs("mount", model, mnt, "--replace").stderr
        assert "took the place of a mount whose daemon had died" in said
        assert said.count("\n") == 1
        assert {path: (mnt / path).read_bytes() for path in content} == content
        with pytest.raises(OSError, match="not connected"):
            os.pread(old.fileno(), 1, 0)
    assert mounts_at(mnt) == 1
    fusefs("umount", mnt)
    assert mounts_at(mnt) == 0
    record_property("faults.injected", 1)
    record_property("faults.bytes_compared", sum(map(len, content.values())))


@pytest.mark.slow
def test_a_live_mount_is_replaced_and_its_daemon_has_ended_then(
    fusefs: Shell, mnt: Path, model: str, content: dict[str, bytes]
) -> None:
    daemon = os.pidfd_open(before := status(fusefs, mnt)["pid"])
    try:
        assert "--replace" in fusefs.fails("mount", model, mnt)
        said = fusefs("mount", model, mnt, "--replace", "--no-passthrough").stderr
        assert "took the place of a mount which was ended" in said
        assert wait_end(daemon, 0)
    finally:
        os.close(daemon)
    assert status(fusefs, mnt)["pid"] != before
    assert {path: (mnt / path).read_bytes() for path in content} == content
    assert mounts_at(mnt) == 1
    fusefs("umount", mnt)


def test_p11_a_daemon_of_root_finds_the_daemon_that_it_replaces(fusefs: Shell, mnt: Path) -> None:
    """It gave CAP_SYS_PTRACE up, so /proc does not show it another daemon's descriptors."""
    look = "import sys, pathlib as p; from fusefs.fuse.mountpoint import mounted_at; from fusefs.daemon import proof;"
    look += "print(proof.prove(mounted_at(p.Path(sys.argv[1]))).pid)"
    few = ("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace")
    said = subprocess.run(
        [*few, sys.executable, "-c", look, mnt], env=fusefs.env, capture_output=True, text=True, check=True, timeout=40
    ).stdout
    assert int(said) == status(fusefs, mnt)["pid"]
    fusefs("umount", mnt)


@pytest.mark.slow
def test_what_cannot_be_mounted_replaces_nothing(fusefs: Shell, mnt: Path, content: dict[str, bytes]) -> None:
    fusefs.fails("mount", "http://127.0.0.1:9/local/nothing", mnt, "--replace", "--timeout", "1s")
    assert {path: (mnt / path).read_bytes() for path in content} == content
    fusefs("umount", mnt)


@pytest.mark.slow
def test_where_nothing_is_mounted_there_is_nothing_to_replace(fusefs: Shell, model: str) -> None:
    path = fusefs.folder("mnt")
    assert fusefs("mount", model, path, "--replace").stderr == ""
    assert mounts_at(path) == 1
    fusefs("umount", path)
    (path / "file").touch()
    assert "not empty" in fusefs.fails("mount", model, path, "--replace")


@pytest.mark.slow
def test_several_dead_mounts_one_on_top_of_the_other_are_all_replaced(
    fusefs: Shell, mnt: Path, model: str, content: dict[str, bytes], record_property: Callable[[str, object], None]
) -> None:
    crash(status(fusefs, mnt)["pid"])
    with open("/dev/fuse", "r+b", buffering=0) as device:
        options = f"fd={device.fileno()},rootmode=40000,user_id=0,group_id=0"
        done = subprocess.run(
            ["mount", "-i", "-t", "fuse.fusefs", "-o", options, "none", mnt], pass_fds=[device.fileno()], check=False
        )
    assert done.returncode == 0
    assert mounts_at(mnt) == 2
    fusefs("mount", model, mnt, "--replace")
    assert mounts_at(mnt) == 1
    assert {path: (mnt / path).read_bytes() for path in content} == content
    fusefs("umount", mnt)
    record_property("faults.injected", 2)
    record_property("faults.bytes_compared", sum(map(len, content.values())))


@pytest.mark.slow
def test_p11_what_is_not_ours_is_not_replaced(fusefs: Shell, model: str) -> None:
    path = fusefs.folder("mnt")
    subprocess.run(["mount", "-t", "tmpfs", "none", path], check=True)
    assert "tmpfs is already mounted there" in fusefs.fails("mount", model, path, "--replace")
    assert mounts_at(path) == 1


@pytest.mark.slow
def test_p10_a_mount_of_another_user_is_not_replaced(fusefs: Shell, mnt: Path, model: str) -> None:
    assert mounts_at(mnt) == 1
    line = fusefs.fails("mount", model, mnt, "--replace", prefix=ORDINARY)
    assert line
    assert mounts_at(mnt) == 1
    fusefs("umount", mnt)


@pytest.mark.slow
def test_a_reader_of_the_old_mount_gets_an_errno_and_not_other_bytes(fusefs: Shell, mnt: Path, model: str) -> None:
    with (mnt / "config.json").open("rb", buffering=0) as old:
        fusefs("mount", model, mnt, "--replace")
        with pytest.raises(OSError, match=r"not connected|connection abort"):
            os.pread(old.fileno(), 1, 0)
    fusefs("umount", mnt)
