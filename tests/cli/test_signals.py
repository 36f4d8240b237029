"""What a running mount does when it is sent a signal, and what it tells systemd."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from fusefs.daemon.signals import WATCHED, Handlers, obey
from tests.components import Process
from tests.patience import HANGS, eventually
from tests.world import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Shell


def await_logged(path: Path, text: str) -> None:
    eventually(f"{text!r} is logged", lambda: path.exists() and text in path.read_text())


@pytest.fixture
def mnt(fusefs: Shell, model: str) -> Path:
    """A mount of the model, which logs to `log`."""
    path = fusefs.folder("mnt")
    fusefs("mount", model, path, "--log-file", fusefs.root / "log")
    return path


def pid_of(fusefs: Shell, mnt: Path) -> int:
    return int(json.loads(fusefs("status", mnt, "--json").stdout)["mounts"][0]["pid"])


@pytest.mark.slow
@pytest.mark.parametrize("gone", [lambda log: log.rename(f"{log}.1"), lambda log: log.unlink()], ids=["moved", "gone"])
def test_sighup_opens_the_log_anew(fusefs: Shell, mnt: Path, gone: Callable[[Path], None]) -> None:
    log, pid = fusefs.root / "log", pid_of(fusefs, mnt)
    gone(log)
    os.kill(pid, signal.SIGHUP)
    await_logged(log, "Reloaded because of SIGHUP")
    # What the interpreter itself says goes the same way.
    assert os.path.samefile(f"/proc/{pid}/fd/2", log)
    assert (mnt / "config.json").read_bytes()
    fusefs("umount", mnt)
    await_logged(log, "Unmounted")


def test_sigusr1_tells_what_is_going_on(fusefs: Shell, mnt: Path) -> None:
    log = fusefs.root / "log"
    os.kill(pid_of(fusefs, mnt), signal.SIGUSR1)
    await_logged(log, "read_errors 0")
    text = log.read_text()
    for part in (
        "tasks:",
        "fusefs.daemon.mounting.run: mounting.py:",
        "reads that wait: 0",
        "memory:",
        "VmRSS",
        "counters:",
    ):
        assert part in text
    assert len(text) < 64 << 10
    assert "\n  counters:\n" in text, "a line for each"
    fusefs("umount", mnt)


@pytest.mark.slow
def test_in_the_foreground_sighup_opens_the_log_anew_and_systemd_hears_from_us(fusefs: Shell, model: str) -> None:
    path, log = fusefs.folder("mnt"), fusefs.root / "log"
    address = fusefs.root / "notify"
    env = {**fusefs.env, "NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "1000000"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        systemd.settimeout(20)
        command: list[str | Path] = [sys.executable, "-m", "fusefs", "mount", "-f", model, path, "--log-file", log]
        with Process(command, env=env) as process:
            assert systemd.recv(100) == b"READY=1"
            assert [systemd.recv(100) for _ in range(2)] == [b"WATCHDOG=1"] * 2
            log.rename(fusefs.root / "old")
            os.kill(process.pid, signal.SIGHUP)
            await_logged(log, "Reloaded because of SIGHUP")
            subprocess.run(["umount", path], check=True, timeout=10)
            assert process.stop(signum=0) == 0


async def test_sighup_reads_credentials_again_and_trouble_with_that_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    refreshed: list[int] = []

    def refresh() -> None:
        refreshed.append(len(refreshed))
        if len(refreshed) == 1:
            raise OSError("no such file")

    with trio.open_signal_receiver(*WATCHED) as signals, trio.fail_after(HANGS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(obey, signals, nursery, Handlers(refresh))
            # The next signal only when all is said of this one: the end of the mount waits for nobody who reloads.
            for said in ("Not all could be reloaded", "Reloaded because of SIGHUP"):
                os.kill(os.getpid(), signal.SIGHUP)
                await until(lambda said=said: said in caplog.text)  # type: ignore[misc]
            os.kill(os.getpid(), signal.SIGTERM)
    assert refreshed == [0, 1]


async def test_a_reload_that_hangs_does_not_keep_sigterm_from_ending_the_mount() -> None:
    began, release, ended = threading.Event(), threading.Event(), threading.Event()

    def refresh() -> None:
        began.set()
        release.wait(2 * HANGS)
        ended.set()

    try:
        with trio.open_signal_receiver(*WATCHED) as signals, trio.fail_after(HANGS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(obey, signals, nursery, Handlers(refresh))
                os.kill(os.getpid(), signal.SIGHUP)
                await trio.to_thread.run_sync(began.wait)
                os.kill(os.getpid(), signal.SIGTERM)
        assert not ended.is_set()
    finally:
        release.set()
