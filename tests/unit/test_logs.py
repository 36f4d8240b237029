"""The log file of a daemon, and how often it says the same."""

from __future__ import annotations

import logging
import os
import stat
from typing import TYPE_CHECKING

import pytest

from fusefs import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def root_logger() -> Iterator[None]:
    """The root logger, with its handlers and level as they were afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def log_file(tmp_path: Path, root_logger: None) -> Path:
    """Where the log goes."""
    path = tmp_path / "log"
    logs.to_file(path, verbose=False)
    return path


def say(text: str) -> None:
    logging.getLogger("fusefs.test").info("%s", text)


def test_nobody_else_reads_the_log(log_file: Path) -> None:
    assert stat.S_IMODE(log_file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "gone", [lambda path: path.rename(path.with_suffix(".1")), lambda path: path.unlink()], ids=["renamed", "removed"]
)
def test_a_log_that_was_renamed_or_removed_is_opened_anew(log_file: Path, gone: Callable[[Path], object]) -> None:
    say("before")
    gone(log_file)
    say("between")
    assert not log_file.exists()
    logs.reopen()
    say("after")
    assert "after" in log_file.read_text()
    assert "between" not in log_file.read_text()
    assert os.path.samestat(os.fstat(logs.descriptor()), log_file.stat())


def test_a_log_that_cannot_be_opened_anew_stays_as_it_is(log_file: Path) -> None:
    moved = log_file.with_suffix(".1")
    log_file.rename(moved)
    log_file.mkdir()
    with pytest.raises(IsADirectoryError):
        logs.reopen()
    say("still here")
    assert "still here" in moved.read_text()


def test_the_same_is_not_said_for_ever(log_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("fusefs.logs.time.monotonic", lambda: now)
    for number in range(1000):
        say(f"failure {number}")
    logging.getLogger("fusefs.test").info("another kind")
    assert len(log_file.read_text().splitlines()) == logs.BURST + 1
    now += logs.EVERY
    say("the next")
    say("one too many")
    last = log_file.read_text().splitlines()[-1]
    assert last.endswith(f"the next [{1000 - logs.BURST} more like this were not logged]")


def test_verbose_leaves_nothing_out(tmp_path: Path, root_logger: None) -> None:
    logs.to_file(tmp_path / "log", verbose=True)
    for number in range(3 * logs.BURST):
        say(str(number))
    assert len((tmp_path / "log").read_text().splitlines()) == 3 * logs.BURST
