"""What root's commands believe of a user's say: nothing that would have them act on somebody else's process or file."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusefs.daemon.background import wait_end
from tests.cli.conftest import REPOSITORY
from tests.cli.ordinary import UID

if TYPE_CHECKING:
    from tests.cli.conftest import Shell

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")

ALONE = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")

MOUNTED = """
import ctypes, json, os, pathlib, signal, socket, subprocess, sys
from fusefs.daemon.control import mount_id
uid, command = int(sys.argv[1]), [sys.executable, "-m", "fusefs"]
here = pathlib.Path("/run/there"); here.mkdir()
runtime = pathlib.Path(f"/run/user/{uid}/fusefs"); runtime.mkdir(parents=True)
for path in (runtime, runtime.parent):
    os.chown(path, uid, uid); path.chmod(0o700)
device = os.open("/dev/fuse", os.O_RDWR)  # closed by every program that is started
libc = ctypes.CDLL(None, use_errno=True)
data = f"fd={device},rootmode=40000,user_id={uid},group_id={uid}".encode()
assert libc.mount(b"model", os.fsencode(here), b"fuse.fusefs", 0, data) == 0, os.strerror(ctypes.get_errno())
"""
"""The mount of a user, whose runtime folder is his."""

STAGE = """
told, tell = os.pipe()
listener = os.fork()
if listener == 0:  # the attacker: one process listens, hands the socket on, and dies
    os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
    os.close(device)
    raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    raw.bind(str(runtime / f"{mount_id(here)}.sock")); raw.listen(16)
    if os.fork() == 0:
        os.write(tell, b"x")
        signal.pause()
    os._exit(0)
os.waitpid(listener, 0)
os.read(told, 1)
# Root's own process is given the pid of the one that died.
pathlib.Path("/proc/sys/kernel/ns_last_pid").write_text(str(listener - 1))
victim = subprocess.Popen(["sleep", "600"])
assert victim.pid == listener, (victim.pid, listener)
done = subprocess.run([*command, "umount", str(here)], capture_output=True, text=True, timeout=60)
print("ended", done.returncode, done.stderr.strip(), "victim", victim.poll())
print("mounted", str(here) in pathlib.Path("/proc/mounts").read_text())
"""


def test_p11_umount_of_root_signals_no_process_that_a_users_socket_names() -> None:
    """The listener was handed over by a process that died, whose pid a process of root has now."""
    inside = 'mount -t tmpfs none /run; exec "$@"'
    done = subprocess.run(
        [*ALONE, "sh", "-ec", inside, "sh", sys.executable, "-c", MOUNTED + STAGE, str(UID)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.stdout == "ended 0  victim None\nmounted False\n", done.stderr


CLAIMS = """
holds, evil = sys.argv[2] == "holds", sys.argv[3]
file = dict(path=evil, name=evil, digest=evil, size=3, present=1, state=evil, proof=evil, presence=[50] * 64)
host = dict(label=evil, state=evil, reason=evil, blobs_blocked=1)
said = json.dumps(dict(
    mountpoint="/srv/of-root", state="dead", problem="kill 1", pid=os.getpid(), sources=[evil], cache_dir=evil,
    layout=evil, log_file=evil, version=evil, uptime=1e308, kernel={evil: evil}, files=[file],
    counters={evil: 1}, overdue=1, last_error=evil, sources_state=[host],
)).encode()
told, tell = os.pipe()
attacker = os.fork()
if attacker == 0:
    os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
    if not holds:
        os.close(device)
    raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    raw.bind(str(runtime / f"{mount_id(here)}.sock")); raw.listen(16)
    os.write(tell, b"x")
    while True:
        with raw.accept()[0] as asker:
            asker.sendall(said)
os.read(told, 1)
for options in (["--json"], []):
    done = subprocess.run([*command, "status", *options, str(here)], capture_output=True, timeout=60)
    print(json.dumps([attacker, done.returncode, done.stdout.decode(), done.stderr.decode()]), flush=True)
os.kill(attacker, 9)
"""

EVIL = "\x1b[2J\x1b]52;c;AAAA\x07\r\n● /srv/of-root  pid 1\u202e\x9b\u2028\ue000"


@pytest.mark.slow
@pytest.mark.parametrize("device", ["holds", "has closed"])
def test_p11_status_of_root_shows_no_process_and_no_place_that_a_users_socket_names(device: str) -> None:
    """What another user's socket says is data: shown inert, beside the kernel's word for pid and mount point."""
    inside = 'mount -t tmpfs none /run; exec "$@"'
    done = subprocess.run(
        [*ALONE, "sh", "-ec", inside, "sh", sys.executable, "-c", MOUNTED + CLAIMS, str(UID), device, EVIL],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    as_json, as_text = map(json.loads, done.stdout.splitlines())
    attacker, code, document, complaint = as_json
    assert (code, complaint) == (0, ""), done.stderr
    (mount,) = json.loads(document)["mounts"]
    proved = attacker if device == "holds" else 0
    assert (mount["mountpoint"], mount["state"], mount["problem"], mount["pid"]) == ("/run/there", "up", "", proved)
    assert mount["files"][0]["path"] == EVIL
    assert (document.removesuffix("\n")).isprintable()
    _, code, shown, complaint = as_text
    assert (code, complaint) == (0, "")
    assert all(line.isprintable() for line in shown.removesuffix("\n").split("\n"))
    assert "kill 1" not in shown
    first, *others = shown.splitlines()
    assert first.startswith("● /run/there ")
    assert ("pid" in first.rpartition("/srv/of-root  pid 1")[2]) == (device == "holds")
    assert not any(line.startswith("●") for line in others)


@pytest.mark.slow
def test_p11_a_storm_of_signals_leaves_the_mount_readable_and_sigterm_ends_it(
    fusefs: Shell, model: str, content: dict[str, bytes]
) -> None:
    mnt = fusefs.folder("mnt")
    fusefs("mount", model, mnt)
    pid = json.loads(fusefs("status", mnt, "--json").stdout)["mounts"][0]["pid"]
    daemon = os.pidfd_open(pid)
    try:
        for _ in range(2000):
            signal.pidfd_send_signal(daemon, signal.SIGHUP)
            signal.pidfd_send_signal(daemon, signal.SIGUSR1)
        assert (mnt / "config.json").read_bytes() == content["config.json"]
        for _ in range(50):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(daemon, signal.SIGTERM)
        assert wait_end(daemon, 20)
    finally:
        os.close(daemon)
    assert str(mnt) not in Path("/proc/mounts").read_text()
