"""The terminal side: closed, full, narrow, of an old encoding, interrupted.  It may not take the work with it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING, Self

import pytest

from tests.faulty_registry import FaultyRegistry
from tests.world import some_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Shell

FUSEFS = f"{sys.executable} -m fusefs"

ENCODINGS = [
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]

SHOW_CURSOR, HIDE_CURSOR = b"\x1b[?25h", b"\x1b[?25l"


def shell(fusefs: Shell, script: str) -> subprocess.CompletedProcess[bytes]:
    """Run a script of bash, in which `fusefs` is the command."""
    return subprocess.run(
        ["bash", "-c", f'fusefs() {{ {FUSEFS} "$@"; }}\n{script}'],
        env=fusefs.env,
        cwd=fusefs.root,
        capture_output=True,
        timeout=60,
        check=False,
    )


class Terminal:
    """A command on a terminal of its own.

    Attributes:
        seen: every byte that came.
    """

    def __init__(self, fusefs: Shell, *args: str | Path, columns: int = 80, env: dict[str, str] | None = None) -> None:
        self.seen = b""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        clean = {name: value for name, value in fusefs.env.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fusefs", *args],
            env={**clean, "TERM": "xterm-256color", **(env or {})},
            cwd=fusefs.root,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            # A session of its own with the terminal as its own, so that Ctrl-C is a signal.
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    def until(self, pattern: bytes, timeout: float = 30) -> None:
        """Read until the regular expression is found."""
        end = time.monotonic() + timeout
        while not re.search(pattern, self.seen):
            assert time.monotonic() < end, self.seen
            assert self._read(0.5), self.seen

    def type(self, data: bytes) -> None:
        """As a person does."""
        os.write(self._master, data)

    def end(self) -> int:
        """Read what comes until the command ends; its exit code."""
        while self._read(30):
            pass
        return self.process.wait(10)

    def _read(self, timeout: float) -> bool:
        if not select.select([self._master], [], [], timeout)[0]:
            return self.process.poll() is None
        try:
            more = os.read(self._master, 65536)
        except OSError as exc:
            if exc.errno != errno.EIO:
                raise
            return False
        self.seen += more
        return bool(more)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)


def screen_of(data: bytes, columns: int, rows: int) -> list[str]:
    """What stands on a terminal after these bytes: as much of one as rich and we use."""
    lines: list[list[str]] = [[]]
    row = column = 0
    for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\s\S]", data.decode()):
        if token == "\r":
            column = 0
        elif token == "\n":
            row += 1
        elif token.startswith("\x1b["):
            if token.endswith("A"):
                row = max(0, row - int(token[2:-1] or 1))
            elif token.endswith("K"):
                lines[row] = [] if token == "\x1b[2K" else lines[row][:column]
        else:
            if column >= columns:
                row, column = row + 1, 0
            while len(lines) <= row:
                lines.append([])
            lines[row] += [" "] * (column + 1 - len(lines[row]))
            lines[row][column] = token
            column += 1
        while len(lines) <= row:
            lines.append([])
    assert len(lines) <= rows, "nothing scrolled"
    return ["".join(line).rstrip() for line in lines]


# ---- streams that are closed or full


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&- 2>&- <&-", ">&-", "2>&-", "<&-", ">&- 2>&-"])
def test_closed_streams_are_nobody_who_listens(
    fusefs: Shell, model: str, content: dict[str, bytes], closed: str
) -> None:
    fusefs.folder("mnt")
    shown = ["status mnt", "status mnt --json"]
    commands = [f"pull {model}", "ls", "gc", "verify", f"mount {model} mnt", *shown]
    for command in commands:
        done = shell(fusefs, f"fusefs {command} {closed}")
        assert (done.returncode, done.stderr) == (0, b""), command
    assert (fusefs.root / "mnt/config.json").read_bytes() == content["config.json"]
    pid = json.loads(fusefs("status", "mnt", "--json").stdout)["mounts"][0]["pid"]
    assert all(os.path.exists(f"/proc/{pid}/fd/{number}") for number in range(3))
    fusefs("umount", "mnt")


def test_the_first_files_that_are_opened_are_not_taken_for_the_closed_streams(fusefs: Shell) -> None:
    (fusefs.root / "file").write_bytes(b"x" * 10_000)
    assert shell(fusefs, "fusefs index file >&- 2>&- <&-").returncode == 0
    assert (fusefs.root / "file").read_bytes() == b"x" * 10_000


@pytest.mark.slow
@pytest.mark.parametrize("command", ["ls", "ls --json", "verify", "index file", "pull MODEL", "--help"])
def test_a_full_device_is_named_as_the_output_that_it_is(fusefs: Shell, model: str, command: str) -> None:
    fusefs("pull", model)
    (fusefs.root / "file").write_bytes(b"x" * 10_000)
    done = shell(fusefs, f"fusefs {command.replace('MODEL', model)} > /dev/full")
    assert done.returncode == 1
    assert done.stderr == b"fusefs: error: standard output: No space left on device\n"


@pytest.mark.slow
def test_a_full_stderr_does_not_change_the_exit_code(fusefs: Shell) -> None:
    assert shell(fusefs, "fusefs mont 2> /dev/full").returncode == 2
    assert shell(fusefs, "fusefs umount nowhere 2> /dev/full").returncode == 1


@pytest.mark.parametrize("command", ["index file --chunk-size 16", "--help", "mount --help"])
def test_a_reader_that_has_seen_enough_ends_it_quietly(fusefs: Shell, command: str) -> None:
    (fusefs.root / "file").write_bytes(b"x" * 200_000)
    done = shell(fusefs, f"fusefs {command} | true; echo ${{PIPESTATUS[0]}}")
    assert done.stderr == b""
    assert done.stdout in (b"141\n", b"0\n")


# ---- encodings


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS, ids=["latin-1", "ascii", "posix"])
def test_drawings_fall_back_to_what_the_encoding_has(fusefs: Shell, model: str, encoding: dict[str, str]) -> None:
    mnt = fusefs.folder("mnt-é")
    fusefs("mount", model, mnt)
    assert (mnt / "config.json").read_bytes()
    fusefs.env |= encoding
    charset = "latin-1" if "latin-1" in encoding.values() else "ascii"
    done = shell(fusefs, "fusefs status mnt-*")
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode(charset)
    assert "* " in text
    assert "|####" in text
    assert ("mnt-é" if charset == "latin-1" else "mnt-?") in text
    exact = json.loads(shell(fusefs, "fusefs status mnt-* --json").stdout.decode(charset))["mounts"][0]
    assert exact["mountpoint"] == str(mnt)
    with Terminal(fusefs, "pull", model, env=encoding) as terminal:
        assert terminal.end() == 0
    terminal.seen.decode(charset)
    assert terminal.seen.rfind(SHOW_CURSOR) > terminal.seen.rfind(HIDE_CURSOR)
    with Terminal(fusefs, "status", mnt, "--watch", env=encoding) as terminal:
        terminal.until(rb"sealed")
        terminal.type(b"\x03")
        assert terminal.end() == 0
    assert terminal.seen.rfind(SHOW_CURSOR) > terminal.seen.rfind(HIDE_CURSOR)
    assert fusefs("ls").stderr == ""
    fusefs.env["LC_ALL"] = "C.UTF-8"
    fusefs("umount", mnt)


@pytest.mark.slow
def test_a_mount_point_that_is_no_text_is_exact_in_json_and_shown(fusefs: Shell, model: str) -> None:
    mnt = fusefs.root / os.fsdecode(b"mnt\xff\x1b[2J")
    mnt.mkdir()
    # In a mount namespace of its own: who else reads the list of mounts may expect text.
    script = f"{FUSEFS} mount {model} mnt* && {FUSEFS} status mnt* --json && {FUSEFS} status mnt*; {FUSEFS} umount mnt*"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        env=fusefs.env,
        cwd=fusefs.root,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    document, *shown = done.stdout.decode().splitlines()
    report = json.loads(document)["mounts"][0]
    assert (report["state"], report["mountpoint"]) == ("up", str(mnt))
    assert "mnt\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}[2J" in shown[0]


# ---- on a terminal


@pytest.mark.slow
def test_ctrl_c_leaves_a_clean_screen_and_says_what_is_kept(fusefs: Shell) -> None:
    data = [some_bytes(1 << 20, seed=1), some_bytes(1 << 20, seed=2)]
    with FaultyRegistry() as registry:
        model = registry.add_model("library/m:latest", files={"a.bin": data[0], "b.bin": data[1]})
        registry.fault("silence-before", model.blobs["b.bin"].digest.hex, times=None)
        with Terminal(fusefs, "pull", str(model.name)) as terminal:
            terminal.until(rb"a\.bin .*sealed")
            terminal.type(b"\x03")
            assert terminal.end() == 130
            registry.release()
    assert terminal.seen.rfind(SHOW_CURSOR) > terminal.seen.rfind(HIDE_CURSOR)
    screen = screen_of(terminal.seen, 80, 24)
    rows = [line.split()[0] for line in screen if line]
    assert [rows.count(name) for name in ("a.bin", "b.bin", "config.json")] == [1, 1, 1], screen

    assert screen[-2] == "fusefs: interrupted; 1.0 MiB kept; run again to go on"


@pytest.mark.slow
def test_sigterm_ends_a_watch_and_shows_the_cursor(fusefs: Shell, model: str) -> None:
    mnt = fusefs.folder("mnt")
    fusefs("mount", model, mnt)
    with Terminal(fusefs, "status", mnt, "--watch") as terminal:
        terminal.until(rb"weights\.bin")
        terminal.process.terminate()
        assert terminal.end() == 0
    assert terminal.seen.rfind(SHOW_CURSOR) > terminal.seen.rfind(HIDE_CURSOR)
    fusefs("umount", mnt)


@pytest.mark.slow
@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"NO_COLOR": "1"}], ids=["dumb", "no colour"])
def test_a_dumb_terminal_gets_no_escapes_and_no_color_no_colours(
    fusefs: Shell, model: str, env: dict[str, str]
) -> None:
    mnt = fusefs.folder("mnt")
    fusefs("mount", model, mnt)
    for command in (["pull", model], ["status", mnt], ["ls"], ["verify"]):
        with Terminal(fusefs, *command, env=env) as terminal:
            assert terminal.end() == 0
        if "TERM" in env:
            assert b"\x1b" not in terminal.seen, command
        else:
            assert not re.search(rb"\x1b\[(\d+;)*(3[0-8]|9[0-7])(;\d+)*m", terminal.seen), command
    fusefs("umount", mnt)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [40, 60])
def test_on_a_narrow_terminal_whole_columns_go_and_nothing_is_cut(fusefs: Shell, model: str, columns: int) -> None:
    mnt = fusefs.folder("m")
    fusefs("mount", model, mnt)
    assert (mnt / "sub/weights.bin").read_bytes()
    for command, words in (
        (["pull", model], ["sealed", "100%"]),
        (["status", mnt], ["sealed", "100%", "ights.bin"]),
        (["ls"], ["100%", "MODEL", "HERE"]),
    ):
        with Terminal(fusefs, *command, columns=columns) as terminal:
            assert terminal.end() == 0
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.seen.decode())
        for word in words:
            assert word in text, (command, text)
        table = [line for line in text.replace("\r", "\n").split("\n") if "%" in line or "HERE" in line]
        assert max(map(len, table)) <= columns, (command, table)
    fusefs("umount", mnt)
