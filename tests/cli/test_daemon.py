"""The daemon's handshake: each test forks a real child, from a process without threads, as the command does."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fusefs.daemon import background

PROLOGUE = """
import os, signal, sys, time
from fusefs.daemon import background
from fusefs.errors import FusefsError, MountError
from pathlib import Path
"""


def script(text: str, *args: str | Path, timeout: float = 20) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROLOGUE + text, *args],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


FAILING = """
def work(ready):
    {work}
try:
    background.start(work, log_file={log})
except MountError as exc:
    print(exc)
else:
    print("ready")
"""


def test_the_parent_returns_when_the_child_is_ready_and_the_child_lives_on(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    done = script(
        """
def work(ready):
    ready()
    with open(sys.argv[1], "w") as fifo:
        fifo.write(f"{os.getsid(0) == os.getpid()} {os.getcwd()} {os.readlink('/proc/self/fd/1')}")
pid = background.start(work, log_file=None)
print(pid > 0)
""",
        tmp_path / "fifo",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
    # Only a child that outlived its parent's end writes this; its output no longer goes to the parent's pipe.
    assert (tmp_path / "fifo").read_text() == "True / /dev/null"


def test_the_parent_does_not_return_before_the_child_is_ready(tmp_path: Path) -> None:
    work = f"Path({str(tmp_path / 'made')!r}).touch(); ready()"
    done = script(FAILING.format(work=work, log=None) + f"print(Path({str(tmp_path / 'made')!r}).exists())")
    assert done.stdout == "ready\nTrue\n"


@pytest.mark.parametrize(
    ("work", "says"),
    [
        ("raise FusefsError('no such model')", "no such model"),
        ("raise ValueError('a bug')", "internal error: ValueError: a bug; see {log}"),
        ("os._exit(7)", "the daemon died before the mount was ready (exit status 7); see {log}"),
        ("os.kill(os.getpid(), 9)", "the daemon died before the mount was ready (killed by SIGKILL); see {log}"),
        ("return", "the daemon died before the mount was ready (exit status 0); see {log}"),
    ],
)
def test_whatever_ends_a_child_early_is_told_in_one_line(tmp_path: Path, work: str, says: str) -> None:
    log = tmp_path / "log"
    done = script(FAILING.format(work=work, log=f"Path({str(log)!r})"))
    assert (done.stdout, done.stderr) == (says.format(log=log) + "\n", "")
    assert ("Traceback" in log.read_text()) == ("a bug" in says)


def test_why_it_takes_long_is_told_before_the_child_is_ready_and_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    done = script(
        """
from fusefs.daemon import handshake
handshake.SOON = 0.0
def work(ready):
    ready.meanwhile("all of it is fetched")
    with open(sys.argv[1]) as fifo:
        fifo.read()  # only who was told opens it
    ready(["all of it is fetched", "and more"])
def warn(text):
    print(text, flush=True)
    if not warn.told:
        open(sys.argv[1], "w").close()
    warn.told = True
warn.told = False
background.start(work, log_file=None, warn=warn)
""",
        tmp_path / "fifo",
    )
    assert done.stdout == "all of it is fetched\nand more\n"


def test_of_a_failure_that_follows_at_once_its_own_line_is_all() -> None:
    work = "handshake.SOON = 1e6; ready.meanwhile('x' * 10000); raise FusefsError('no such model')"
    done = script(f"from fusefs.daemon import handshake{FAILING.format(work=work, log=None)}")
    assert done.stdout == "no such model\n"


def test_an_error_after_ready_is_the_log_s_business(tmp_path: Path) -> None:
    log = tmp_path / "log"
    os.mkfifo(tmp_path / "fifo")
    done = script(
        """
def work(ready):
    ready()
    try:
        raise ValueError("later")
    finally:
        sys.excepthook(*sys.exc_info())
        open(sys.argv[1], "w").close()
background.start(work, log_file=Path(sys.argv[2]))
""",
        tmp_path / "fifo",
        log,
    )
    (tmp_path / "fifo").read_text()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "ValueError: later" in log.read_text()


def test_ctrl_c_while_waiting_ends_the_child_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            PROLOGUE
            + """
def work(ready):
    with open(sys.argv[1], "w") as fifo:
        fifo.write(str(os.getpid()))
    time.sleep(600)
try:
    background.start(work, log_file=None)
except KeyboardInterrupt:
    print("interrupted")
""",
            tmp_path / "fifo",
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    child = int((tmp_path / "fifo").read_text())
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20)[0] == "interrupted\n"
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, abstract: bool) -> None:
    name = f"fusefs-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{name}" if abstract else str(tmp_path / "notify"))
        systemd.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if abstract else str(tmp_path / "notify"))
        background.notify("READY=1")
        assert systemd.recv(100) == b"READY=1"


def test_without_systemd_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    background.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    background.notify("READY=1")
