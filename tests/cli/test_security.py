"""Who can get at what: the cache, the daemon's memory, and what was secret."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusefs.daemon.background import wait_end
from tests.cli.ordinary import UID, Ordinary, ordinary_user
from tests.marks import one_soon

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Shell

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")


@pytest.fixture
def user() -> Iterator[Ordinary]:
    """An ordinary user."""
    with ordinary_user() as made:
        yield made


def limits(pid: str) -> str:
    return f"grep NoNewPrivs /proc/{pid}/status; grep core /proc/{pid}/limits"


PID = """fusefs status --json mnt | sed 's/.*"pid":\\([0-9]*\\).*/\\1/'"""


def test_an_ordinary_user_without_any_capability_mounts_reads_and_unmounts(
    user: Ordinary, model: str, content: dict[str, bytes]
) -> None:
    done = user(
        f"fusefs mount {model} mnt; cat mnt/config.json; fusefs umount mnt; grep -c {user.root} /proc/mounts || true"
    )
    assert done.stdout == content["config.json"].decode() + "0\n"
    assert done.stderr == ""
    made = [*(user.root / ".cache/fusefs").rglob("*"), user.root / ".cache/fusefs"]
    assert len(made) > 5
    for path in made:
        assert not stat.S_IMODE(path.lstat().st_mode) & 0o077, path
        assert path.lstat().st_uid == UID


@pytest.mark.slow
def test_an_ordinary_user_copies_a_mount_changes_and_removes_the_copy_and_cannot_write_to_the_mount(
    user: Ordinary, model: str, content: dict[str, bytes]
) -> None:
    """The modes go along with a copy: 0444 and 0555 would make it one that its owner cannot remove."""
    done = user(f"""
        fusefs mount {model} mnt
        cp -r mnt copy; cp -a mnt exact
        echo more >> copy/config.json; touch copy/sub/new
        for copy in copy exact; do rm -rf $copy; test ! -e $copy; done
        for what in 'echo x > mnt/config.json' 'echo x > mnt/new' 'rm mnt/config.json' 'mkdir mnt/a' 'chmod 777 mnt/sub'
        do sh -c "$what" 2>&1 && exit 1 || true; done
        stat -c '%a %n' mnt mnt/config.json mnt/sub
        fusefs umount mnt
    """)
    lines = done.stdout.splitlines()
    assert lines[-3:] == ["755 mnt", "644 mnt/config.json", "755 mnt/sub"]
    assert len(lines) == 5 + 3
    for line in lines[:5]:
        assert "Read-only file system" in line


@pytest.mark.slow
def test_p11_the_daemon_of_an_ordinary_user_takes_its_mount_away_by_itself(user: Ordinary, model: str) -> None:
    """It needs fusermount3 for that, with root's rights: what the daemon gives up must not be in the way."""
    script = f"""
        fusefs mount {model} mnt
        pid=$({PID})
        exec 3< mnt/config.json  # in use, so that nobody but the daemon can end it in good order
        kill -TERM $pid
        i=0; while kill -0 $pid 2>/dev/null && [ $i -lt 200 ]; do sleep 0.05; i=$((i + 1)); done
        grep -c {user.root} /proc/mounts || true
    """
    assert user(script).stdout == "0\n"


@pytest.mark.slow
def test_nobody_looks_into_the_daemon_of_an_ordinary_user_not_even_himself(user: Ordinary, model: str) -> None:
    script = f"""
        fusefs mount {model} mnt
        pid=$({PID})
        cat /proc/$pid/environ > copy 2> why || true
        cat why; wc -c < copy
        {limits("$pid")}
        fusefs umount mnt
    """
    said = user(script).stdout
    assert "Permission denied\n0\n" in said
    assert "NoNewPrivs:\t0" in said
    assert "Max core file size        0                    0" in said


@pytest.mark.slow
def test_what_a_daemon_of_root_starts_gains_nothing_and_it_dumps_no_core(fusefs: Shell, model: str) -> None:
    mnt = fusefs.folder("mnt")
    fusefs("mount", model, mnt)
    pid = json.loads(fusefs("status", mnt, "--json").stdout)["mounts"][0]["pid"]
    assert "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()
    assert "Max core file size        0                    0" in Path(f"/proc/{pid}/limits").read_text()
    fusefs("umount", mnt)
    assert str(mnt) not in Path("/proc/mounts").read_text()


def capabilities(task: Path) -> dict[str, int]:
    lines = (task / "status").read_text().splitlines()
    return {name: int(value, 16) for name, _, value in (line.partition(":") for line in lines) if name[:3] == "Cap"}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["umount in use", "umount", "SIGTERM", "the system's umount"])
def test_p11_no_thread_of_a_daemon_of_root_has_more_than_two_capabilities_and_every_way_to_unmount_works(
    fusefs: Shell, model: str, content: dict[str, bytes], way: str
) -> None:
    """cap_dac_read_search and cap_sys_admin, and its status says so."""
    mnt = fusefs.folder("mnt")
    fusefs("mount", model, mnt)
    report = json.loads(fusefs("status", mnt, "--json").stdout)["mounts"][0]
    pid = report["pid"]
    assert report["capabilities"] == ["cap_dac_read_search", "cap_sys_admin"]
    assert report["no_new_privileges"] is True
    assert (mnt / "config.json").read_bytes() == content["config.json"]
    few = 1 << 2 | 1 << 21
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    assert len(tasks) > 1
    for task in tasks:
        found = capabilities(task)
        assert not (found["CapEff"] | found["CapPrm"] | found["CapBnd"]) & ~few
        assert found["CapInh"] == found["CapAmb"] == 0
    daemon = os.pidfd_open(pid)
    try:
        match way:
            case "SIGTERM":
                os.kill(pid, signal.SIGTERM)
            case "the system's umount":
                subprocess.run(["umount", mnt], check=True)
            case "umount in use":
                with open(mnt / "config.json", "rb"):
                    fusefs("umount", mnt)
            case _:
                fusefs("umount", mnt)
        assert wait_end(daemon, 15)
    finally:
        os.close(daemon)
    assert str(mnt) not in Path("/proc/mounts").read_text()


@pytest.mark.slow
def test_the_daemon_of_an_ordinary_user_has_no_capability_and_says_so(user: Ordinary, model: str) -> None:
    said = user(f"fusefs mount {model} mnt; fusefs status --json mnt; fusefs umount mnt").stdout
    (report,) = json.loads(said)["mounts"]
    assert (report["capabilities"], report["no_new_privileges"]) == ([], False)


@pytest.mark.slow
@pytest.mark.about("wire")
def test_reads_of_an_ordinary_user_s_mount_are_answered_by_threads_too(
    user: Ordinary, model: str, content: dict[str, bytes]
) -> None:
    """fusermount3 makes the mount and hands the device over."""
    look = "cat mnt/config.json; cat /proc/mounts >&2; fusefs status --json mnt; fusefs umount mnt"
    done = user(f"fusefs mount {model} mnt; {look}")
    assert done.stdout.startswith(content["config.json"].decode())
    (report,) = json.loads(done.stdout[len(content["config.json"]) :])["mounts"]
    assert report["wire"]["why_not"] == ""
    assert report["wire"]["threads"] >= 1
    (line,) = [line for line in done.stderr.splitlines() if f" {user.root}/mnt " in line]
    assert {"ro", "nosuid", "nodev", f"user_id={UID}", "default_permissions"} <= set(line.split()[3].split(","))
    assert line.startswith(f"{model}:latest ")


@pytest.mark.slow
def test_a_daemon_of_root_serves_a_user_s_model_below_the_user_s_folder_that_is_closed_to_others(
    fusefs: Shell, user: Ordinary, model: str, content: dict[str, bytes]
) -> None:
    """What cap_dac_read_search is for: root is not the owner of the store, and of nothing on the way to mount point."""
    cache, mnt = user.root / "models", user.root / "mnt"
    user(f"fusefs pull {model} --cache-dir {cache}")
    user.root.chmod(0o700)
    closed = "http://127.0.0.1:9/local/tiny"
    shelf = cache / "manifests"
    (host,) = shelf.iterdir()
    host.rename(shelf / "127.0.0.1:9")
    fusefs("mount", closed, mnt, "--store", cache, "--timeout", "1s")
    try:
        assert {path: (mnt / path).read_bytes() for path in content} == content
        assert next(path for path in cache.rglob("sha256*") if path.is_file()).stat().st_uid == UID
    finally:
        fusefs("umount", mnt)


@pytest.mark.parametrize("command", one_soon(["mount", "pull"]))
def test_p10_a_cache_that_everybody_may_write_to_is_refused_in_one_line(
    fusefs: Shell, model: str, command: str
) -> None:
    cache = fusefs.folder("cache-of-all")
    (cache / "blobs").mkdir()
    cache.chmod(0o1777)
    line = fusefs.fails(command, model, *([fusefs.folder("mnt")] if command == "mount" else []), "--cache-dir", cache)
    assert f"chmod -R go-w {cache}" in line
    assert "--cache-dir" in line


def test_p10_root_does_not_use_the_cache_of_a_user(fusefs: Shell, model: str) -> None:
    cache = fusefs.folder("cache-of-a-user")
    os.chown(cache, UID, UID)
    line = fusefs.fails("pull", model, "--cache-dir", cache)
    assert f"belongs to user {UID}" in line


@pytest.mark.slow
def test_with_allow_other_others_follow_links_to_sealed_files_and_see_nothing_else_of_the_cache(
    fusefs: Shell, user: Ordinary, model: str, content: dict[str, bytes]
) -> None:
    mnt = user.root / "shown"
    mnt.mkdir(mode=0o755)
    # Not below a folder of that user, who could put another cache in its place: such a one is refused.
    with tempfile.TemporaryDirectory(prefix="fusefs-shared-", dir="/tmp") as place:
        os.chmod(place, 0o755)
        cache = Path(place) / "cache"
        cache.mkdir(mode=0o700)
        fusefs("pull", model, "--cache-dir", cache)
        fusefs("mount", model, mnt, "--cache-dir", cache, "--allow-other", "--sealed", "symlink")
        try:
            assert (mnt / "config.json").is_symlink()
            said = user(f"cat {mnt}/config.json; ls {cache} {cache}/blobs {cache}/partial 2>&1 || true").stdout
        finally:
            fusefs("umount", mnt)
    assert said.startswith(content["config.json"].decode())
    assert said.count("Permission denied") == 3


@pytest.mark.parametrize("option", one_soon(["source", "mirror"]))
def test_p10_an_address_holds_no_secret(fusefs: Shell, model: str, option: str) -> None:
    """So none gets into the arguments of the daemon, /proc/mounts, its status or its log."""
    secret = "hunter2"
    with_secret = model.replace("http://", f"http://user:{secret}@")
    mnt = fusefs.folder("mnt")
    if option == "source":
        fusefs.fails("mount", with_secret, mnt, code=2)
    else:
        fusefs.fails("mount", model, mnt, "--mirror", with_secret.partition("/local")[0], code=2)
    assert str(mnt) not in Path("/proc/mounts").read_text()
