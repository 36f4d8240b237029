"""A full or read-only /dev/shm, /tmp and runtime directory: the mount works, or one line says which is in the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import REPOSITORY
from tests.marks import one_soon

if TYPE_CHECKING:
    from tests.cli.conftest import Shell

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root to mount small file systems")

STAGE = """
mount --make-rprivate /; mount --bind "$1" /mnt; cd /mnt
mkdir -p code; mount --bind "$2" code  # which may lie below what is spoilt
for name in cache state data config run mount home; do mkdir -p stage/$name; chmod 700 stage/$name; done
cd stage
export HOME=/mnt/stage/home XDG_RUNTIME_DIR=/mnt/stage/run
for name in CACHE STATE DATA CONFIG; do
    export XDG_${name}_HOME=/mnt/stage/$(echo $name | tr A-Z a-z)
done
spoil() {  # a folder, its mode, and how: over what is there
    case $3 in
    full) mount -t tmpfs -o mode=$2,size=4k,nr_inodes=1 none $1 ;;
    ro) mount -t tmpfs -o mode=$2,ro none $1 ;;
    esac
}
spoil_in_use() {  # likewise, but what is in it stays
    case $3 in
    full) mount -o remount,nr_inodes=$(stat -f -c '%c - %d' $1 | { read a _ b; echo $((a - b)); }) $1 ;;
    ro) mount -o remount,ro $1 ;;
    esac
}
"""


def run(root: Path, script: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name.lower() not in ("http_proxy", "all_proxy")}
    env |= {"PYTHONPATH": "/mnt/code", "LC_ALL": "C.UTF-8"}
    python = Path(sys.executable)
    if python.is_relative_to(REPOSITORY):
        python = "/mnt/code" / python.relative_to(REPOSITORY)
    prologue = STAGE + f'fusefs() {{ {python} -m fusefs "$@"; }}\n'
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", prologue + script, "sh", str(root), str(REPOSITORY)],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


LIFE = """
fusefs status mount > said || exit 31
grep -q '^● /mnt/stage/mount ' said || exit 32
cat mount/sub/weights.bin | sha256sum
fusefs umount mount || exit 33
grep -c /mnt/stage/mount /proc/mounts
"""


def assert_lived(done: subprocess.CompletedProcess[str], content: dict[str, bytes]) -> None:
    import hashlib

    digest = hashlib.sha256(content["sub/weights.bin"]).hexdigest()
    assert (done.stdout, done.stderr) == (f"{digest}  -\n0\n", ""), done.returncode


REFUSALS = [("full", "No space left on device"), ("ro", "Read-only file system")]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["full", "ro"])
def test_p6_a_mount_needs_neither_dev_shm_nor_tmp(
    fusefs: Shell, model: str, content: dict[str, bytes], how: str
) -> None:
    done = run(
        fusefs.root, f"spoil /dev/shm 1777 {how}; spoil /tmp 1777 {how}; fusefs mount {model} mount || exit 30; {LIFE}"
    )
    assert_lived(done, content)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["full", "ro"])
def test_p11_places_that_fill_up_or_become_read_only_under_a_mount_do_not_matter(
    fusefs: Shell, model: str, content: dict[str, bytes], how: str
) -> None:
    begin = "for place in /dev/shm /tmp run; do mount -t tmpfs -o mode=1777 none $place; done; chmod 700 run"
    spoil = f"for place in /dev/shm /tmp run; do spoil_in_use $place 1777 {how} || exit 29; done"
    done = run(fusefs.root, f"{begin}; fusefs mount {model} mount || exit 30; {spoil}; {LIFE}")
    assert_lived(done, content)


@pytest.mark.parametrize(("how", "why"), one_soon(REFUSALS))
def test_p10_a_runtime_directory_without_room_is_one_line_and_no_mount(
    fusefs: Shell, model: str, how: str, why: str
) -> None:
    done = run(
        fusefs.root, f"spoil run 700 {how}; fusefs mount {model} mount; echo $?; grep -c stage/mount /proc/mounts"
    )
    assert done.stdout == "1\n0\n"
    line = "cannot make /mnt/stage/run/fusefs for the control socket: {}; set XDG_RUNTIME_DIR"
    assert done.stderr == f"fusefs: error: {line.format(why)}\n"


@pytest.mark.slow
@pytest.mark.parametrize(("how", "why"), REFUSALS)
def test_p10_a_runtime_directory_without_room_for_one_more_socket_is_one_line_and_no_mount(
    fusefs: Shell, model: str, how: str, why: str
) -> None:
    begin = "mount -t tmpfs -o mode=700 none run; mkdir -m 700 run/fusefs"
    spoil = f"spoil_in_use run 700 {how}"
    done = run(fusefs.root, f"{begin}; {spoil}; fusefs mount {model} mount; echo $?; grep -c stage/mount /proc/mounts")
    assert done.stdout == "1\n0\n"
    assert done.stderr.startswith("fusefs: error: cannot make the control socket /mnt/stage/run/fusefs/")
    assert done.stderr.endswith(f".sock: {why}; make room there, or set XDG_RUNTIME_DIR\n")
    assert done.stderr.count("\n") == 1
