"""A user without an entry in the password file and without HOME: what a container with an arbitrary uid has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import FAKE_DEVICE, Shell
from tests.components import Process
from tests.marks import one_soon

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")

NOBODY = (
    # The capability is for this interpreter, wherever it is installed: that is not what is tested.
    *("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)

HOMES = ["", "/", "/nowhere/at/all", "relative", "unreadable"]


@pytest.fixture
def homeless(fusefs: Shell) -> Shell:
    """The command, without anything that says where this user's files lie, in a folder that it may write to."""
    for name in ("HOME", *(name for name in fusefs.env if name.startswith("XDG_"))):
        del fusefs.env[name]
    fusefs.root.chmod(0o755)
    for above in fusefs.root.parents:
        if above.stat().st_uid == 0 and above.is_relative_to("/tmp") and above != Path("/tmp"):
            above.chmod(0o755)
    os.chown(fusefs.root, 12345, 12345)
    return fusefs


@pytest.mark.parametrize("home", one_soon(HOMES))
def test_who_has_no_home_can_do_everything_with_a_cache_that_is_named(homeless: Shell, model: str, home: str) -> None:
    if home == "unreadable":
        home = str(homeless.folder("locked"))
        os.chmod(home, 0)
    if home:
        homeless.env["HOME"] = home
    cache = ("--cache-dir", homeless.root / "d")
    assert "sealed" in homeless("pull", model, *cache, prefix=NOBODY).stdout
    for command in (["ls"], ["verify"], ["gc"], ["pin", model], ["unpin", model], ["rm", model]):
        done = homeless(*command, *cache, prefix=NOBODY)
        assert done.stderr == ""
    assert not (homeless.root / "~").exists()


@pytest.mark.slow
def test_a_home_that_is_somebody_else_s_has_no_credentials_for_us_and_that_is_no_warning(
    homeless: Shell, model: str
) -> None:
    home = homeless.folder("locked")
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text("{}")
    home.chmod(0)
    homeless.env["HOME"] = str(home)
    plain = NOBODY[:4]  # without the capability that lets the other tests find the interpreter
    if subprocess.run([*plain, sys.executable, "-c", ""], check=False, capture_output=True).returncode:
        pytest.skip("this interpreter lies where other users do not get to")
    done = homeless("pull", model, "-v", "--cache-dir", homeless.root / "d", prefix=plain)
    assert "cannot be read" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", [["pull", "m"], ["ls"], ["gc"], ["verify"], ["pin", "m"], ["unpin", "m"]])
def test_a_default_that_is_needed_and_missing_is_one_line_that_names_the_option(
    homeless: Shell, command: list[str]
) -> None:
    line = homeless.fails(*command, prefix=NOBODY)
    assert "no home directory" in line
    assert "--cache-dir" in line
    assert "FUSEFS_CACHE_DIR" in line


@pytest.mark.slow
def test_what_fusermount3_refuses_such_a_user_says_what_is_missing(homeless: Shell, model: str) -> None:
    mnt = homeless.folder("mnt")
    os.chown(mnt, 12345, 12345)
    prefix = ("unshare", "-m", "sh", "-c", FAKE_DEVICE.format(mode="666"), "sh", *NOBODY)
    line = homeless.fails("mount", model, mnt, "--cache-dir", homeless.root / "d", prefix=prefix)
    assert "could not determine username; it wants a line for this uid in /etc/passwd" in line


@pytest.mark.slow
def test_root_without_home_can_mount(homeless: Shell, model: str, content: dict[str, bytes]) -> None:
    homeless.env["HOME"] = "/proc/nowhere"
    os.chown(homeless.root, 0, 0)
    mnt = homeless.folder("mnt")
    homeless("mount", model, mnt, "--cache-dir", homeless.root / "d")
    assert (mnt / "config.json").read_bytes() == content["config.json"]
    homeless("umount", mnt)


@pytest.mark.slow
def test_who_has_no_home_can_serve_and_nothing_is_kept(homeless: Shell, tmp_path: Path) -> None:
    (tmp_path / "models" / "m").mkdir(parents=True)
    (tmp_path / "models" / "m" / "f").write_bytes(b"x")
    command = [*NOBODY, sys.executable, "-m", "fusefs", "serve", str(tmp_path / "models"), "--listen", "127.0.0.1:0"]
    with Process(command, env=homeless.env) as process:
        process.wait_for_line("^http://")
        assert process.stop(signum=signal.SIGINT) in (0, 130)
    assert process.output[0].startswith("http://"), process.output
    assert not [line for line in process.output if "warning" in line], process.output
