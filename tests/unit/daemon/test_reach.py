"""Whether anybody but its daemon can get at a mount, asked in real mount namespaces of a real tmpfs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fusefs.daemon.reach import abandoned

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root to make mount namespaces")

ASK = """
import os, sys
from fusefs.daemon.reach import abandoned
print(abandoned(os.minor(os.stat(sys.argv[1]).st_dev)))
"""


def asked(folder: Path, *, before: str = "", unshare: tuple[str, ...] = ("--mount",)) -> str:
    """What is said of a tmpfs on `folder` by who is in a mount namespace of its own, after the shell has done `before`.

    The one who asks takes the place of the shell, so that nobody else is left but whom `before` has left.
    """
    script = f"""
        mount -t tmpfs none {folder}
        {before}
        exec {sys.executable} -c '{ASK}' {folder}
    """
    done = subprocess.run(
        ["unshare", *unshare, "sh", "-ec", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_a_mount_in_a_namespace_that_no_other_process_has_is_abandoned(tmp_path: Path) -> None:
    assert asked(tmp_path) == "True"


@pytest.mark.slow
@pytest.mark.parametrize("other", ["sleep 60", "unshare --mount sleep 60"])
def test_it_is_not_while_another_process_has_it_in_this_namespace_or_in_a_copy_of_it(
    tmp_path: Path, other: str
) -> None:
    pid = tmp_path.with_suffix(".pid")
    try:
        before = f"{other} >{os.devnull} 2>&1 & echo $! >{pid}; sleep 0.5"
        assert asked(tmp_path, before=before) == "False"
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)


@pytest.mark.slow
def test_it_is_not_when_it_was_moved_within_a_namespace_that_others_have(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path / "a"], check=True)
    try:
        minor = os.minor((tmp_path / "a").stat().st_dev)
        assert not abandoned(minor)
        subprocess.run(["mount", "--make-private", tmp_path / "a"], check=True)
        assert not abandoned(minor)
        subprocess.run(["mount", "--bind", tmp_path / "a", tmp_path / "b"], check=True)
        subprocess.run(["umount", tmp_path / "a"], check=True)
        assert not abandoned(minor)
    finally:
        subprocess.run(["umount", "--lazy", tmp_path / "b"], check=False)


@pytest.mark.slow
def test_it_is_not_when_the_mount_was_passed_on_to_others(tmp_path: Path) -> None:
    assert asked(tmp_path, before=f"mount --make-shared {tmp_path}") == "False"


@pytest.mark.slow
def test_it_is_not_when_the_namespace_has_a_name(tmp_path: Path) -> None:
    (tmp_path / "names").mkdir()
    (tmp_path / "mnt").mkdir()
    subprocess.run(["mount", "--bind", tmp_path / "names", tmp_path / "names"], check=True)
    subprocess.run(["mount", "--make-private", tmp_path / "names"], check=True)
    (tmp_path / "names/ns").touch()
    try:
        assert asked(tmp_path / "mnt", unshare=(f"--mount={tmp_path}/names/ns",)) == "False"
    finally:
        subprocess.run(["umount", tmp_path / "names/ns"], check=False)
        subprocess.run(["umount", tmp_path / "names"], check=False)


def test_what_is_mounted_nowhere_is_the_kernel_s_to_end(tmp_path: Path) -> None:
    """Unmounted lazily: it lives as long as its last open file, of which no list of mounts tells."""
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], check=True)
    minor = os.minor(tmp_path.stat().st_dev)
    subprocess.run(["umount", "--lazy", tmp_path], check=True)
    assert not abandoned(minor)


def test_without_a_view_of_our_own_mounts_nothing_is_known(tmp_path: Path) -> None:
    assert not abandoned(7, proc=tmp_path)
