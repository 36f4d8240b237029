"""A daemon whose mount nobody can reach any more ends by itself; one that somebody can reach does not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fusefs.daemon import reach
from fusefs.daemon.background import wait_end

if TYPE_CHECKING:
    from tests.cli.conftest import Shell

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.getuid() != 0, reason="needs root to make mount namespaces")]

PATIENCE = 60 + reach.EVERY * (reach.LOOKS + 1)


def in_namespace(fusefs: Shell, model: str, then: str) -> int:
    """Mount in a mount namespace of its own, do `then` there, leave it; gives the daemon's pid."""
    mnt = fusefs.folder("mnt")
    script = f"""
        {sys.executable} -m fusefs mount {model} {mnt} --timeout 5s
        {sys.executable} -m fusefs status --json {mnt}
        {then}
    """
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", script],
        env=fusefs.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not list(mnt.iterdir())
    pid: int = json.loads(done.stdout)["mounts"][0]["pid"]
    return pid


def ends(pidfd: int, seconds: float) -> bool:
    try:
        return wait_end(pidfd, seconds)
    finally:
        os.close(pidfd)


def test_p11_a_mount_in_a_namespace_that_everybody_has_left_ends(fusefs: Shell, model: str) -> None:
    pid = in_namespace(fusefs, model, "")
    assert ends(os.pidfd_open(pid), PATIENCE)
    (log,) = (fusefs.root / "state/fusefs").glob("*.log")
    assert "No other process can see the mount any more" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_p11_a_file_that_is_open_in_another_namespace_keeps_it_until_it_is_closed(
    fusefs: Shell, model: str, content: dict[str, bytes]
) -> None:
    """Whoever has it went home with the file; he reads all of it after the daemon has had time to look twice."""
    seconds = reach.EVERY * (reach.LOOKS + 2)
    copy, done = fusefs.root / "copy", fusefs.root / "done"
    home = f"nsenter --mount=/proc/{os.getpid()}/ns/mnt sh -c 'sleep {seconds}; cat <&3 >{copy}; touch {done}'"
    mnt = fusefs.root / "mnt"
    pid = in_namespace(fusefs, model, f"exec 3<{mnt}/sub/weights.bin; {home} >{os.devnull} 2>&1 &")
    pidfd = os.pidfd_open(pid)
    assert ends(pidfd, seconds + PATIENCE)
    assert done.exists()
    assert copy.read_bytes() == content["sub/weights.bin"]


def test_an_ordinary_mount_stays_however_often_its_daemon_looks(fusefs: Shell, model: str) -> None:
    mnt = fusefs.folder("mnt")
    fusefs("mount", model, mnt)
    pidfd = os.pidfd_open(json.loads(fusefs("status", mnt, "--json").stdout)["mounts"][0]["pid"])
    assert not wait_end(pidfd, reach.EVERY * (reach.LOOKS + 1))
    fusefs("umount", mnt)
    assert ends(pidfd, PATIENCE)


def test_p11_a_mount_that_was_unmounted_lazily_ends_with_its_last_open_file(
    fusefs: Shell, model: str, content: dict[str, bytes]
) -> None:
    mnt = fusefs.folder("mnt")
    fusefs("mount", model, mnt)
    pidfd = os.pidfd_open(json.loads(fusefs("status", mnt, "--json").stdout)["mounts"][0]["pid"])
    with open(mnt / "sub/weights.bin", "rb") as file:
        subprocess.run(["umount", "--lazy", mnt], check=True)
        assert not wait_end(pidfd, reach.EVERY * (reach.LOOKS + 1))
        assert file.read() == content["sub/weights.bin"]
    assert ends(pidfd, PATIENCE)


def test_in_the_foreground_whoever_started_it_decides(fusefs: Shell, model: str) -> None:
    mnt = fusefs.folder("mnt")
    process = subprocess.Popen(
        ["unshare", "--mount", sys.executable, "-m", "fusefs", "mount", "-f", model, mnt],
        env=fusefs.env,
        stderr=subprocess.DEVNULL,
    )
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(reach.EVERY * (reach.LOOKS + 1))
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
