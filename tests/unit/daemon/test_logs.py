"""The log file of a daemon, and how often it says the same."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusefs.daemon import logs
from fusefs.daemon.control import mount_id
from fusefs.errors import MountError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import RawIOBase


@pytest.fixture
def root_logger() -> Iterator[None]:
    """The root logger, with its handlers and level, and the libraries' levels, as they were afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    libraries = [(logger, logger.level) for logger in map(logging.getLogger, logs.LIBRARIES)]
    yield
    for logger, before in libraries:
        logger.setLevel(before)
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


def fill(file: RawIOBase) -> None:
    while True:
        file.write(b"x" * 4096)


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
    monkeypatch.setattr("fusefs.daemon.logs.time.monotonic", lambda: now)
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


def test_p10_a_log_that_others_could_read_is_private_from_now_on(tmp_path: Path, root_logger: None) -> None:
    path = tmp_path / "log"
    path.touch()
    path.chmod(0o644)
    logs.to_file(path, verbose=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to], ids=["symbolic", "hard"])
def test_p10_a_link_to_another_file_is_no_log(tmp_path: Path, link: Callable[[Path, Path], None]) -> None:
    victim = tmp_path / "victim"
    victim.write_text("before")
    link(tmp_path / "log", victim)
    with pytest.raises(MountError, match="link"):
        logs.chosen_log(tmp_path / "log")
    assert victim.read_text() == "before"


def test_p10_a_link_in_place_of_the_log_is_not_followed_when_it_is_opened_anew(log_file: Path) -> None:
    victim = log_file.with_name("victim")
    log_file.rename(log_file.with_suffix(".1"))
    log_file.symlink_to(victim)
    with pytest.raises(PermissionError, match="symbolic link"):
        logs.reopen()
    assert not victim.exists()


def test_p10_a_log_in_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(MountError, match="others may write to the folder"):
        logs.chosen_log(folder / "log")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to give a folder away")
def test_p10_root_with_the_home_of_a_user_logs_to_no_file_that_this_user_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, victim, runtime = tmp_path / "home", tmp_path / "victim", tmp_path / "run"
    runtime.mkdir(mode=0o700)
    folder = home / ".local/state/fusefs"
    folder.mkdir(parents=True)
    for path in (home, home / ".local", home / ".local/state", folder):
        os.chown(path, 64321, 64321)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    (folder / f"{mount_id(Path('/mnt/x'))}.log").symlink_to(victim)
    chosen = logs.default_log(Path("/mnt/x"))
    assert chosen is not None
    assert chosen.parent == runtime / "fusefs"
    assert not victim.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root for a disk of its own")
def test_p8_a_log_on_a_full_disk_is_silent_and_goes_on_when_there_is_room(
    tmp_path: Path, root_logger: None, capfd: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", disk], check=True)
    try:
        logs.to_file(disk / "log", verbose=True)
        say("first")
        with open(disk / "rest", "wb", buffering=0) as rest, pytest.raises(OSError, match="No space"):
            fill(rest)
        for number in range(200):
            say(f"{number} {'y' * 100}")
        assert "No space left" in logs.trouble()
        (disk / "rest").unlink()
        say("room again")
        assert logs.trouble() == ""
        *_, note, last = (disk / "log").read_text().splitlines()
        assert "lines before this one were lost: log file" in note
        assert last.endswith("room again")
        assert capfd.readouterr() == ("", "")
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
