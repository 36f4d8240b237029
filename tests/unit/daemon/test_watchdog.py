"""The watchdog: reads that nobody answers, a loop that stands still, and systemd."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest

from fusefs.daemon.watchdog import SLACK, Heartbeat, Watchdog, interval
from fusefs.vfs.reads import Reads
from tests.patience import eventually

if TYPE_CHECKING:
    from pathlib import Path

    import trio.testing

TIMEOUT = 5.0
DEADLINE = 2 * TIMEOUT + SLACK


async def test_p6_a_read_past_its_deadline_is_told_of_once_and_its_end_too(  # noqa: ASYNC124 # its clock is that of a task
    mock_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    reads = Reads()
    watchdog = Watchdog(reads, TIMEOUT, lambda: ["host.example: bytes 0-9"])
    with reads.going_on("model.gguf", 4096, 10):
        mock_clock.jump(DEADLINE - 1)
        watchdog.look()
        assert (watchdog.overdue, watchdog.complaint, caplog.records) == (0, "", [])
        with reads.going_on("other", 0, 1):
            mock_clock.jump(2)
            watchdog.look()
            watchdog.look()
            assert watchdog.overdue == 1
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "model.gguf: 10 bytes at 4096" in record.getMessage()
    assert "host.example: bytes 0-9" in record.getMessage()
    watchdog.look()
    watchdog.look()
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.INFO]
    assert (watchdog.overdue, watchdog.complaint) == (0, "")


async def test_many_reads_that_become_overdue_one_by_one_are_one_line(  # noqa: ASYNC124 # its clock is that of a task
    mock_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    reads = Reads()
    watchdog = Watchdog(reads, TIMEOUT, list)
    with reads.going_on("a", 0, 1):
        mock_clock.jump(1)
        with reads.going_on("b", 0, 1):
            mock_clock.jump(DEADLINE - 0.5)
            watchdog.look()
            mock_clock.jump(1)
            watchdog.look()
            assert watchdog.overdue == 2
            assert watchdog.complaint.startswith("2 reads")
    assert len(caplog.records) == 1


def await_logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    eventually(text, lambda: any(text in record.getMessage() for record in caplog.records))


def test_a_loop_that_stands_still_is_logged_with_every_stack_and_so_is_its_return(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    with (tmp_path / "stacks").open("wb") as file:
        monkeypatch.setattr("fusefs.daemon.logs.descriptor", file.fileno)
        heart = Heartbeat(still=0.05)
        heart.start()
        try:
            await_logged(caplog, "The event loop has not run")
            heart.beat()
            await_logged(caplog, "The event loop runs again")
        finally:
            heart.stop()
            heart._thread.join(10)
    stacks = (tmp_path / "stacks").read_text()
    assert stacks.count("Thread 0x") + stacks.count("Current thread") >= 2
    assert "eventually" in stacks


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("4000000", None, 2.0),
        ("4000000", "self", 2.0),
        ("4000000", "1", None),
        ("0", None, None),
        ("soon", None, None),
        (None, None, None),
    ],
)
def test_systemd_says_how_often_it_wants_to_hear(
    monkeypatch: pytest.MonkeyPatch, usec: str | None, pid: str | None, seconds: float | None
) -> None:
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", str(os.getpid()) if pid == "self" else pid)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert interval() == seconds
