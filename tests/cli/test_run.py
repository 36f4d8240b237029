"""`fusefs run`: the program has the terminal, the signals and the exit code, and no mount outlives it."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fusefs.daemon.background import wait_end
from tests.cli.conftest import FAKE_DEVICE, ORDINARY, crash
from tests.cli.test_output import Terminal, shell
from tests.marks import one_soon
from tests.patience import HANGS, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Shell

FUSEFS = (sys.executable, "-m", "fusefs")

SAYS_SIGNALS = """
import os, signal, sys
seen = []
for number in map(int, sys.argv[1].split(",")):
    signal.signal(number, lambda number, _: (seen.append(number), print("got", number, flush=True)))
signal.signal(signal.SIGUSR1, lambda *_: (print("in all", *seen, flush=True), os._exit(7)))
print("ready", flush=True)
if sys.argv[2:]:
    sys.stdin.readline()
    os.kill(0, int(sys.argv[2]))
while True:
    signal.pause()
"""
"""Tells each of the signals that its first argument names; by SIGUSR1 all of them, and ends with 7.

By a line it sends the signal of its second argument to its process group.
"""

READS_LATER = """
import sys
with open(sys.argv[1], "rb") as file:
    print("open", flush=True)
    sys.stdin.readline()
    sys.stdout.buffer.write(file.read())
"""
"""Opens a file, and reads it when it gets a line."""


@pytest.fixture(autouse=True)
def _places(fusefs: Shell) -> None:
    fusefs.env["TMPDIR"] = str(fusefs.folder("tmp"))


@pytest.fixture
def silent() -> Iterator[str]:
    """A model of a registry that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/n/m"


def left(fusefs: Shell) -> list[Path]:
    """What was left where temporary mount points are."""
    return list((fusefs.root / "tmp").iterdir())


def mounts(fusefs: Shell) -> list[dict[str, Any]]:
    """What `status` says of the mounts of this test; others come and go meanwhile."""
    done = subprocess.run(
        [*FUSEFS, "status", "--json"], env=fusefs.env, capture_output=True, text=True, timeout=HANGS, check=False
    )
    return [one for one in json.loads(done.stdout)["mounts"] if one["mountpoint"].startswith(str(fusefs.root))]


def mounted(fusefs: Shell) -> bool:
    return f" {fusefs.root}/" in Path("/proc/self/mountinfo").read_text()


@contextlib.contextmanager
def started(fusefs: Shell, *args: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """`fusefs run` with pipes to its program, killed in the end."""
    process = subprocess.Popen(
        [*FUSEFS, "run", *args],
        env=fusefs.env,
        cwd=fusefs.root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode()


@contextlib.contextmanager
def standing_still(pid: int) -> Iterator[None]:
    """What a process is sent meanwhile it takes only afterwards, when others have taken theirs."""
    os.kill(pid, signal.SIGSTOP)
    eventually("it stands still", lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    yield
    os.kill(pid, signal.SIGCONT)


# ---- the program


def test_a_program_reads_the_model_and_nothing_is_left_of_the_mount(
    fusefs: Shell, model: str, content: dict[str, bytes]
) -> None:
    script = 'cat "$FUSEFS_MODEL/config.json"; test "$1" = "$FUSEFS_MODEL/sub" && cmp "$1/weights.bin" "$2"; exit $?'
    (fusefs.root / "same").write_bytes(content["sub/weights.bin"])
    done = fusefs("run", model, "--", "sh", "-c", script, "sh", "{}/sub", fusefs.root / "same")
    assert (done.stdout, done.stderr) == (content["config.json"].decode(), "")
    assert left(fusefs) == []
    assert not mounted(fusefs)
    assert list((fusefs.root / "runtime/fusefs").iterdir()) == [], "the daemon has ended"


@pytest.mark.parametrize(("script", "code"), one_soon([("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)]))
def test_the_exit_code_of_the_program_is_ours(fusefs: Shell, model: str, script: str, code: int) -> None:
    done = fusefs("run", model, "--", "sh", "-c", script, code=code)
    assert (done.stdout, done.stderr) == ("", "")
    assert left(fusefs) == []


def test_status_shows_the_mount_by_the_name_of_its_model(fusefs: Shell, model: str) -> None:
    done = fusefs("run", model, "--", *FUSEFS, "status", "{}", "--json")
    (mount,) = json.loads(done.stdout)["mounts"]
    assert mount["sources"] == [f"{model}:latest"]
    place = Path(mount["mountpoint"])
    assert (place.name, place.parent.parent) == ("tiny", fusefs.root / "tmp")


@pytest.mark.slow
def test_runs_of_one_model_share_a_log(fusefs: Shell, model: str) -> None:
    for _ in range(2):
        fusefs("run", model, "--", "true")
    (log,) = (fusefs.root / "state/fusefs").glob("*.log")
    assert log.read_text().count("Unmounted ") == 2


@pytest.mark.slow
def test_p9_runs_side_by_side_share_the_cache_and_a_later_one_is_warm(
    fusefs: Shell, model: str, content: dict[str, bytes]
) -> None:
    fetched = "import json, sys; print(json.load(sys.stdin)['mounts'][0]['counters']['bytes_fetched'])"
    script = f"""
        cmp "$FUSEFS_MODEL/sub/weights.bin" same && cat "$FUSEFS_MODEL/config.json" >/dev/null
        {" ".join(FUSEFS)} status "$FUSEFS_MODEL" --json | {sys.executable} -c "{fetched}"
    """
    (fusefs.root / "same").write_bytes(content["sub/weights.bin"])
    inner = [*FUSEFS, "run", model, "--", "sh", "-c", script]
    both = fusefs("run", model, "--", "sh", "-c", f'{script} "$@"', "sh", *inner).stdout.split()
    assert int(both[0]) >= len(content["sub/weights.bin"])
    assert both[1:] == ["0"]
    assert fusefs(*inner[3:]).stdout == "0\n"


def test_braces_are_the_path_and_doubled_ones_are_braces(fusefs: Shell, model: str) -> None:
    done = fusefs(
        "run", model, "--", "printf", "%s\\n", "--model={}/x", "{}:{}", '{"a": {{}}}', "{", "{ }", "$FUSEFS_MODEL"
    )
    place = done.stdout.split("/x\n")[0].removeprefix("--model=")
    assert place.startswith(f"{fusefs.root}/tmp/fusefs-")
    assert done.stdout.splitlines()[1:] == [f"{place}:{place}", '{"a": {}}', "{", "{ }", "$FUSEFS_MODEL"]


@pytest.mark.slow
def test_options_of_the_program_are_not_ours(fusefs: Shell, model: str) -> None:
    assert fusefs("run", model, "--", "echo", "--help", "--", "-v", "--at").stdout == "--help -- -v --at\n"
    line = fusefs.fails("run", f"{model}-not-there", "--", "echo", "-v")
    assert "not found" in line


@pytest.mark.slow
def test_several_models_are_a_folder_each(fusefs: Shell, model: str) -> None:
    folder = fusefs.folder("other")
    (folder / "x.bin").write_bytes(b"x")
    done = fusefs("run", model, "./other", "--", "sh", "-c", 'cd {} && find . -type f | sort && basename "$PWD"')
    assert done.stdout.splitlines() == [
        "./other/latest/x.bin",
        "./tiny/latest/config.json",
        "./tiny/latest/empty",
        "./tiny/latest/sub/weights.bin",
        "models",
    ]


def test_a_place_of_ones_own_and_the_options_of_a_mount(fusefs: Shell, model: str) -> None:
    mnt = fusefs.folder("mnt")
    done = fusefs("run", model, "--at", "mnt", "--layout", "ollama", "--", "sh", "-c", "echo $OLLAMA_MODELS; ls {}")
    assert done.stdout.splitlines() == [str(mnt), "blobs", "manifests"]
    assert list(mnt.iterdir()) == []
    assert left(fusefs) == []


@pytest.mark.slow
def test_the_program_has_the_descriptors_and_limits_that_we_were_given(fusefs: Shell, model: str) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    command = [*FUSEFS, "run", model, "--", "sh", "-c", "ulimit -Sn; cat <&5; readlink /proc/self/fd/*"]
    done = subprocess.run(
        ["prlimit", f"--nofile=512:{hard}", "bash", "-c", 'exec 5< <(echo five); exec "$@"', "bash", *command],
        env=fusefs.env,
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
    limit, five, *open_ones = done.stdout.splitlines()
    assert (limit, five) == ("512", "five"), done.stderr
    assert not [one for one in open_ones if "pidfd" in one or "fusefs" in one]


@pytest.mark.slow
def test_a_program_in_a_pipeline_ends_with_its_reader(fusefs: Shell, model: str) -> None:
    done = shell(
        fusefs, f"echo text | fusefs run {model} -- cat; fusefs run {model} -- yes | head -n1; echo $PIPESTATUS"
    )
    assert done.stdout.split() == [b"text", b"y", str(128 + signal.SIGPIPE).encode()]
    assert done.stderr == b""


# ---- what goes wrong before it starts


def test_a_model_that_cannot_be_mounted_is_one_line_and_nothing_runs(fusefs: Shell, model: str) -> None:
    line = fusefs.fails("run", model.replace("tiny", "huge"), "--", "touch", fusefs.root / "ran")
    assert "not found" in line
    assert not (fusefs.root / "ran").exists()
    assert left(fusefs) == []


@pytest.mark.parametrize(
    ("words", "code", "says"),
    one_soon(
        [
            (["no-such-program"], 127, "no-such-program: no such program"),
            (["/etc/passwd"], 126, "/etc/passwd: cannot be run"),
            (["{}/config.json"], 126, "cannot be run (Permission denied)"),
            (["{}/not-there"], 127, "no such program"),
        ]
    ),
)
def test_a_program_that_cannot_be_run_is_one_line_and_what_a_shell_exits_with(
    fusefs: Shell, model: str, words: list[str], code: int, says: str
) -> None:
    assert says in fusefs.fails("run", model, "--", *words, code=code)
    assert left(fusefs) == []
    assert not mounted(fusefs)


@pytest.mark.parametrize(
    ("args", "says"),
    one_soon(
        [
            (["m", "llama-cli", "-m", "{}"], "Missing '--' before the COMMAND"),
            (["m"], "Missing '--' before the COMMAND"),
            (["m", "--"], "Missing COMMAND behind '--'"),
            (["--", "true"], "Missing argument 'SOURCE...'"),
            (["m", "--replace", "--", "true"], "--replace takes the place of a mount at --at DIR"),
            (["m", "--foreground", "--", "true"], "No such option"),
            (["m", "--include", "", "--", "true"], "invalid pattern"),
            (["m", "--layout", "ollama", "--include", "a", "--", "true"], "leave one out"),
        ]
    ),
)
def test_wrong_usage_says_what_is_missing(fusefs: Shell, args: list[str], says: str) -> None:
    assert says in fusefs.fails("run", *args, code=2)
    assert left(fusefs) == []


@pytest.mark.slow
def test_the_models_of_a_host_are_named_on_stderr(fusefs: Shell, model: str) -> None:
    done = fusefs("run", model.removesuffix("/local/tiny"), "--", "true", code=2)
    assert done.stdout == ""
    assert "its one model is" in done.stderr


# ---- signals


@pytest.mark.parametrize("number", one_soon([signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT]))
def test_a_signal_to_us_alone_is_the_programs(fusefs: Shell, model: str, number: signal.Signals) -> None:
    with started(fusefs, model, "--", sys.executable, "-c", SAYS_SIGNALS, str(int(number))) as process:
        assert line_of(process) == "ready\n"
        process.send_signal(number)
        assert line_of(process) == f"got {int(number)}\n"
        process.send_signal(signal.SIGUSR1)
        assert line_of(process) == f"in all {int(number)}\n"
        assert process.wait(HANGS) == 7
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert left(fusefs) == []


def test_a_program_that_a_signal_ends_is_128_more_and_the_mount_ends_with_it(fusefs: Shell, model: str) -> None:
    with started(fusefs, model, "--", "sh", "-c", "echo ready; exec sleep 600") as process:
        assert line_of(process) == "ready\n"
        process.terminate()
        assert process.wait(HANGS) == 128 + signal.SIGTERM
    assert left(fusefs) == []
    assert not mounted(fusefs)


def test_the_program_has_the_terminal_and_ctrl_c_is_told_it_once(fusefs: Shell, model: str) -> None:
    with Terminal(fusefs, "run", model, "--", sys.executable, "-c", SAYS_SIGNALS, str(int(signal.SIGINT))) as terminal:
        terminal.until(rb"ready")
        with standing_still(terminal.process.pid):
            terminal.type(b"\x03")
            terminal.until(rb"got 2\b")
        # Taken after the SIGINT that we have: the lowest number comes first.
        terminal.process.send_signal(signal.SIGUSR1)
        assert terminal.end() == 7
    assert b"in all 2\r\n" in terminal.seen
    assert left(fusefs) == []


@pytest.mark.slow
def test_a_program_that_signals_its_whole_group_is_not_told_again(fusefs: Shell, model: str) -> None:
    number = str(int(signal.SIGHUP))
    with Terminal(fusefs, "run", model, "--", sys.executable, "-c", SAYS_SIGNALS, number, number) as terminal:
        terminal.until(rb"ready")
        with standing_still(terminal.process.pid):
            terminal.type(b"\n")
            terminal.until(rb"got 1\b")
        terminal.process.send_signal(signal.SIGUSR1)
        assert terminal.end() == 7
    assert b"in all 1\r\n" in terminal.seen


@pytest.mark.slow
def test_what_stops_the_program_stops_us_and_fg_goes_on_with_both(fusefs: Shell, model: str) -> None:
    """In an interactive shell that we run ourselves, so that this is shown to work as well."""
    inner = f"""{" ".join(FUSEFS)} run {model} -- sh -c 'echo be"gun"; read line; echo "got <$line>"'\n"""
    with Terminal(fusefs, "run", model, "--", "bash", "--norc", "-i") as terminal:
        terminal.type(inner.encode())
        terminal.until(rb"begun")
        terminal.type(b"\x1a")
        terminal.until(rb"Stopped")
        terminal.type(b"echo shell-$((1 + 1))\n")
        terminal.until(rb"shell-2")
        terminal.type(b"fg\n")
        terminal.type(b"words\n")
        terminal.until(rb"got <words>")
        terminal.type(b"exit 5\n")
        assert terminal.end() == 5
    assert left(fusefs) == []


@pytest.mark.slow
def test_a_program_that_was_killed_leaves_the_terminal_as_it_was(fusefs: Shell, model: str) -> None:
    killed = "stty -echo -icanon; kill -9 $$"
    script = f'{" ".join(FUSEFS)} run {model} -- sh -c "$0"; echo "ended with $?"; stty -a'
    with Terminal(fusefs, "run", model, "--", "sh", "-c", script, killed) as terminal:
        assert terminal.end() == 0
    assert b"ended with 137" in terminal.seen
    assert {b"echo", b"icanon"} <= set(terminal.seen.split())


@pytest.mark.slow
def test_ctrl_c_before_the_program_starts_ends_it_all(fusefs: Shell, silent: str) -> None:
    with started(fusefs, silent, "--", "touch", fusefs.root / "ran") as process:
        eventually("there is a daemon", lambda: bool(left(fusefs)) and bool(daemons(process.pid)))
        process.send_signal(signal.SIGINT)
        assert process.wait(HANGS) == 130
    assert left(fusefs) == []
    assert not (fusefs.root / "ran").exists()


# ---- the mount ends


def test_p11_after_kill_9_of_run_the_mount_goes_and_its_last_user_reads_on(
    fusefs: Shell, model: str, content: dict[str, bytes]
) -> None:
    with started(fusefs, model, "--", sys.executable, "-c", READS_LATER, "{}/sub/weights.bin") as process:
        assert line_of(process) == "open\n"
        (mount,) = mounts(fusefs)
        daemon = os.pidfd_open(mount["pid"])
        crash(process.pid)
        eventually("nobody finds the mount", lambda: not mounted(fusefs))
        eventually("its place is gone", lambda: left(fusefs) == [])
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.read() == content["sub/weights.bin"]
        assert wait_end(daemon, HANGS)
        os.close(daemon)


@pytest.mark.slow
def test_p11_after_kill_9_of_run_before_the_mount_was_made_nothing_is_left(fusefs: Shell, silent: str) -> None:
    with started(fusefs, silent, "--", "true") as process:
        eventually("there is a daemon", lambda: bool(daemons(process.pid)))
        (daemon,) = daemons(process.pid)
        pidfd = os.pidfd_open(daemon)
        crash(process.pid)
        assert wait_end(pidfd, HANGS)
        os.close(pidfd)
    assert left(fusefs) == []


def daemons(pid: int) -> list[int]:
    """The children that lead a session: there are others for a moment, as trio looks for a library by `ldconfig`."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(int(child)) == int(child):
                found.append(int(child))
    return found


@pytest.mark.slow
def test_p11_what_a_program_leaves_behind_reads_on_and_that_is_said(
    fusefs: Shell, model: str, content: dict[str, bytes]
) -> None:
    fifo, copy = fusefs.root / "go", fusefs.root / "copy"
    os.mkfifo(fifo)
    child = f'exec 3< "$FUSEFS_MODEL/sub/weights.bin"; echo > {fusefs.root}/opened; read go < {fifo}; cat <&3 > {copy}'
    script = f"({child}) > /dev/null 2>&1 & until test -e {fusefs.root}/opened; do sleep 0.01; done; exit 3"
    done = fusefs("run", model, "--", "sh", "-c", script, code=3)
    assert done.stderr.count("\n") == 1
    assert "is still used by a process that COMMAND has left" in done.stderr
    assert left(fusefs) == []
    assert not mounted(fusefs)
    fifo.write_text("go\n")
    eventually("it has read on", lambda: copy.exists() and copy.read_bytes() == content["sub/weights.bin"])
    eventually("the daemon has ended", lambda: list((fusefs.root / "runtime/fusefs").iterdir()) == [])


@pytest.mark.slow
def test_p11_a_mount_whose_daemon_was_killed_is_taken_away(fusefs: Shell, model: str) -> None:
    with started(fusefs, model, "--", sys.executable, "-c", READS_LATER, "{}/config.json") as process:
        assert line_of(process) == "open\n"
        (mount,) = mounts(fusefs)
        os.kill(mount["pid"], signal.SIGKILL)
        eventually("it is dead", lambda: mounts(fusefs)[0]["state"] == "dead")
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.wait(HANGS) == 1, "its read failed"
    assert left(fusefs) == []
    assert not mounted(fusefs)


@pytest.mark.slow
def test_a_mount_that_somebody_else_has_ended_is_no_error(fusefs: Shell, model: str) -> None:
    done = fusefs("run", model, "--", *FUSEFS, "umount", "{}")
    assert (done.stdout, done.stderr) == ("", "")
    assert left(fusefs) == []


@pytest.mark.slow
def test_a_successor_at_the_same_place_is_left_alone(fusefs: Shell, model: str) -> None:
    mnt = fusefs.folder("mnt")
    fusefs("run", model, "--at", "mnt", "--", *FUSEFS, "mount", "--replace", model, "{}")
    assert (mnt / "config.json").exists()
    fusefs("umount", mnt)


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_an_ordinary_user_runs_a_program_on_a_model(fusefs: Shell, model: str, content: dict[str, bytes]) -> None:
    for path in (fusefs.root, *fusefs.root.iterdir()):
        os.chown(path, 65534, 65534)
    prefix = ("unshare", "-m", "sh", "-c", FAKE_DEVICE.format(mode="666"), "sh", *ORDINARY)
    fusefs.env.pop("TMPDIR")  # pytest's folders are closed to others, and so is a mount point in them
    done = fusefs("run", model, "--", "sh", "-c", "cat {}/config.json; echo {}", prefix=prefix)
    place = done.stdout.removeprefix(content["config.json"].decode()).strip()
    assert place.startswith("/tmp/fusefs-")
    assert not Path(place).parent.exists()
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_p11_after_kill_9_of_run_an_ordinary_user_has_no_mount_either(
    fusefs: Shell, model: str, content: dict[str, bytes]
) -> None:
    for path in (fusefs.root, *fusefs.root.iterdir()):
        os.chown(path, 65534, 65534)
    fusefs.env.pop("TMPDIR")
    program = """
        exec 3< {}/config.json
        echo {} > place
        kill -9 $PPID
        while test -e {}; do sleep 0.1; done
        cat <&3 > said
        mv said over
    """
    command = f"{' '.join(FUSEFS)} run {model} -- sh -c '{program}'"
    then = 'until test -e over; do sleep 0.1; done; cat over; grep -c "$(cat place)" /proc/self/mounts'
    prefix = ("unshare", "-m", "sh", "-c", FAKE_DEVICE.format(mode="666"), "sh", *ORDINARY)
    done = subprocess.run(
        [*prefix, "sh", "-c", f"{command}; {then}"],
        env=fusefs.env,
        cwd=fusefs.root,
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
    assert done.stdout == content["config.json"].decode() + "0\n"
    assert not Path((fusefs.root / "place").read_text().strip()).parent.exists()
