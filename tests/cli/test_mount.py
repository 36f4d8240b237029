"""The life of a mount, from the real command to the last process that it leaves."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fusefs.daemon.background import wait_end
from fusefs.fuse.wire.wire import lanes
from fusefs.values import metrics
from fusefs.values.digest import Digest
from tests.cli.conftest import FAKE_DEVICE, ORDINARY, crash
from tests.components import Process
from tests.modes import is_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cli.conftest import Shell


def status(fusefs: Shell, mnt: Path, *, code: int = 0) -> dict[str, Any]:
    (mount,) = json.loads(fusefs("status", mnt, "--json", code=code).stdout)["mounts"]
    assert isinstance(mount, dict)
    return mount


def mounted(path: Path) -> bool:
    return f" {path} " in Path("/proc/self/mountinfo").read_text()


@pytest.fixture
def mnt(fusefs: Shell, model: str) -> Path:
    """A mount of the model."""
    path = fusefs.folder("mnt")
    fusefs("mount", model, path)
    return path


@pytest.fixture
def ends(fusefs: Shell, mnt: Path) -> Iterator[Callable[[float], bool]]:
    """Waits until the daemon of `mnt` has ended."""
    fd = os.pidfd_open(status(fusefs, mnt)["pid"])
    yield lambda timeout: wait_end(fd, timeout)
    os.close(fd)


@pytest.mark.slow
def test_the_files_are_those_that_are_served(fusefs: Shell, mnt: Path, content: dict[str, bytes]) -> None:
    assert {path: (mnt / path).read_bytes() for path in content} == content
    fusefs("umount", mnt)


@pytest.mark.slow
def test_the_kernel_lists_the_mount_as_ours(fusefs: Shell, mnt: Path, model: str) -> None:
    (line,) = [line for line in Path("/proc/mounts").read_text().splitlines() if f" {mnt} " in line]
    source, _, kind, options, *_ = line.split()
    assert (source, kind) == (f"{model}:latest", "fuse.fusefs")
    assert {"ro", "nosuid", "nodev"} <= set(options.split(","))
    fusefs("umount", mnt)


def test_status_tells_what_is_there(fusefs: Shell, mnt: Path, model: str, content: dict[str, bytes]) -> None:
    before = status(fusefs, mnt)
    assert before["state"] == "up"
    assert before["sources"] == [f"{model}:latest"]
    assert before["cache_dir"] == str(fusefs.root / "cache" / "fusefs")
    threads = lanes() if is_on("wire") else 0
    why_not = "" if threads else "it was switched off"
    wire = {"threads": threads, "interrupts": bool(threads), "why_not": why_not}
    assert {name: before["wire"][name] for name in wire} == wire
    assert before["wire"]["passthrough"] == (not before["wire"]["no_passthrough"])
    assert Path(before["log_file"]).is_relative_to(fusefs.root / "state")
    assert {file["path"]: file["size"] for file in before["files"]} == {p: len(d) for p, d in content.items()}
    assert before["counters"]["bytes_fetched"] == 0
    absent = next(file for file in before["files"] if file["path"] == "config.json")
    assert (absent["state"], absent["presence"]) == ("absent", [0] * 64)
    assert before["counters"].keys() == {counter.name for counter in metrics.COUNTERS}
    assert before.keys() >= {gauge.name for gauge in metrics.GAUGES}
    assert before["uptime"] > 0, "what is kept elsewhere is read there"
    with (mnt / "sub/weights.bin").open("rb", buffering=0) as file:
        assert file.read() == content["sub/weights.bin"]
    after = {file["path"]: file for file in status(fusefs, mnt)["files"]}
    assert after["sub/weights.bin"]["present"] == len(content["sub/weights.bin"])
    assert after["sub/weights.bin"]["presence"] == [100] * 64
    plain = fusefs("status", mnt).stdout  # of this one: others kill daemons meanwhile, and the exit code counts them
    assert str(mnt) in plain
    assert "█" * 40 in plain
    assert "\x1b" not in plain
    fusefs("umount", mnt)


def test_umount_leaves_nothing_behind(fusefs: Shell, mnt: Path, ends: Callable[[float], bool]) -> None:
    fusefs("umount", mnt)
    assert not mounted(mnt)
    assert ends(0)
    assert list((fusefs.root / "runtime" / "fusefs").iterdir()) == []
    assert "is not a fusefs mount" in fusefs("status", mnt, code=1).stderr


def test_p11_umount_ends_a_mount_that_is_in_use(fusefs: Shell, mnt: Path, ends: Callable[[float], bool]) -> None:
    with (mnt / "config.json").open("rb", buffering=0) as file:
        fusefs("umount", mnt)
        assert not mounted(mnt)
        assert ends(0)
        with pytest.raises(OSError, match=r"not connected|abort"):
            file.read()


@pytest.mark.slow
def test_p11_umount_ends_a_mount_whose_daemon_hangs(fusefs: Shell, mnt: Path, ends: Callable[[float], bool]) -> None:
    pid = status(fusefs, mnt)["pid"]
    os.kill(pid, signal.SIGSTOP)
    with Busy(mnt):
        assert status(fusefs, mnt, code=1)["state"] == "silent"
        fusefs("umount", mnt)
    assert not mounted(mnt)
    assert ends(0)


@pytest.fixture
def reader(mnt: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that has a file of `mnt` open: to close it asks the daemon, which may not answer."""
    hold = "import sys, time; file = open(sys.argv[1], 'rb'); print('open', flush=True); time.sleep(600)"
    made = subprocess.Popen(
        [sys.executable, "-c", hold, str(mnt / "config.json")], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    with made:
        assert made.stdout is not None
        assert made.stdout.readline() == "open\n"
        yield made
        if mounted(mnt):
            subprocess.run(["umount", "--lazy", mnt], check=False, timeout=10)
        made.kill()


@pytest.mark.slow
@pytest.mark.parametrize("in_use", [True, False])
def test_p11_a_stopped_daemon_is_silent_to_status_and_ended_by_umount_in_seconds(
    request: pytest.FixtureRequest, fusefs: Shell, mnt: Path, ends: Callable[[float], bool], *, in_use: bool
) -> None:
    """It goes on for its end (SIGCONT), and takes the mount away in good order."""
    if in_use:
        request.getfixturevalue("reader")
    pid = status(fusefs, mnt)["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        found = status(fusefs, mnt, code=1)
        assert (found["state"], found["pid"]) == ("silent", pid)
        assert found["problem"] == f"its daemon hangs or is stopped; `fusefs umount {mnt}` ends it"
        assert fusefs("umount", mnt, timeout=30).stderr == ""
        assert ends(0)
        (log,) = (fusefs.root / "state/fusefs").glob("*.log")
        said = "Ending because of SIGTERM" if in_use else f"Unmounted {mnt}"
        assert said in log.read_text(), "one that does not go on says nothing"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not mounted(mnt)
    assert list((fusefs.root / "runtime" / "fusefs").iterdir()) == []


class Busy:
    """Keeps the mount in use without asking its daemon anything."""

    def __init__(self, mnt: Path) -> None:
        self._fd = os.open(mnt, os.O_PATH)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


@pytest.mark.slow
def test_p11_a_daemon_that_died_is_cleaned_up_though_the_mount_is_in_use(fusefs: Shell, mnt: Path) -> None:
    with Busy(mnt):
        crash(status(fusefs, mnt)["pid"])
        assert status(fusefs, mnt, code=1)["state"] == "dead"
        assert "daemon died" in fusefs("status", code=1).stdout
        fusefs("umount", mnt)
        assert not mounted(mnt)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_p11_a_signal_ends_the_daemon_and_the_mount(
    fusefs: Shell, mnt: Path, ends: Callable[[float], bool], number: int
) -> None:
    os.kill(status(fusefs, mnt)["pid"], number)
    assert ends(5)
    assert not mounted(mnt)


@pytest.mark.slow
def test_p7_without_its_registry_the_cached_model_mounts_again(
    fusefs: Shell, mnt: Path, model: str, content: dict[str, bytes]
) -> None:
    assert {path: (mnt / path).read_bytes() for path in content} == content
    fusefs("umount", mnt)
    before = (fusefs.root / "cache" / "fusefs" / "manifests").glob("*/*/*/*")
    (manifest,) = before
    # The same model under a registry that is not there: only the cache knows it.
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    elsewhere = fusefs.root / "cache" / "fusefs" / "manifests" / address / "local" / "tiny"
    elsewhere.mkdir(parents=True)
    (elsewhere / "latest").write_bytes(manifest.read_bytes())
    fusefs("mount", f"http://{address}/local/tiny", mnt, "--timeout", "1s")
    assert {path: (mnt / path).read_bytes() for path in content} == content
    fusefs("umount", mnt)


@pytest.mark.slow
def test_several_models_are_folders(fusefs: Shell, model: str, content: dict[str, bytes]) -> None:
    path = fusefs.folder("mnt")
    fusefs("mount", model, f"{model}:latest@{_digest(fusefs, model)}", path, code=1)  # the same place twice
    fusefs("mount", model, path, "--layout", "ollama")
    assert sorted(os.listdir(path)) == ["blobs", "manifests"]
    fusefs("umount", path)


def _digest(fusefs: Shell, model: str) -> str:
    report = json.loads(fusefs("pull", model, "--json").stdout)
    assert report["sources"] == [f"{model}:latest"]
    manifest = next((fusefs.root / "cache" / "fusefs" / "manifests").glob("*/*/*/*"))
    return str(Digest.of(manifest.read_bytes()))


@pytest.mark.slow
def test_in_the_foreground_systemd_is_told(fusefs: Shell, model: str) -> None:
    path = fusefs.folder("mnt")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        name = f"\0fusefs-{os.getpid()}-{path.parent.name}"
        systemd.bind(name)
        systemd.settimeout(20)
        env = {**fusefs.env, "NOTIFY_SOCKET": f"@{name[1:]}"}
        with Process([sys.executable, "-m", "fusefs", "mount", "-f", model, path], env=env) as process:
            assert systemd.recv(100) == b"READY=1"
            assert mounted(path)
            assert process.stop(signum=signal.SIGINT) == 0
            assert systemd.recv(100) == b"STOPPING=1"
        assert not mounted(path)


@pytest.mark.slow
def test_in_the_foreground_umount_ends_the_command(fusefs: Shell, model: str) -> None:
    path = fusefs.folder("mnt")
    with Process([sys.executable, "-m", "fusefs", "mount", "-f", model, path], env=fusefs.env) as process:
        process.wait_for_line("Mounted")
        subprocess.run(["umount", path], check=True, timeout=10)
        process.wait_for_line("Unmounted")
        assert process.stop(signum=0) == 0


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_an_ordinary_user_mounts_reads_looks_and_unmounts(
    fusefs: Shell, model: str, content: dict[str, bytes], request: pytest.FixtureRequest
) -> None:
    for path in (fusefs.root, *fusefs.root.iterdir()):
        os.chown(path, 65534, 65534)
    # pytest's folders are closed to others, and so is a mount point in them.
    open_folder = Path(tempfile.mkdtemp())
    request.addfinalizer(lambda: shutil.rmtree(open_folder))
    mnt = open_folder / "mnt"
    mnt.mkdir()
    for path in (open_folder, mnt):
        os.chown(path, 65534, 65534)
    command = f"{sys.executable} -m fusefs"
    steps = [f"mount {model} {mnt}", f"status {mnt}", f"umount {mnt}"]
    script = " && ".join([f"{command} {steps[0]}", f"cat {mnt}/config.json", *(f"{command} {s}" for s in steps[1:])])
    prefix = ("unshare", "-m", "sh", "-c", FAKE_DEVICE.format(mode="666"), "sh", *ORDINARY)
    done = subprocess.run(
        [*prefix, "sh", "-c", script], env=fusefs.env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(content["config.json"].decode())
    assert f"● {mnt}" in done.stdout
    assert "only root may set it" in done.stdout
