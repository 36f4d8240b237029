"""The real command in a process of its own, with every folder it uses below the test's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusefs.daemon.background import wait_end
from tests.components import fusefs_serve

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]

ORDINARY = (
    # Nobody, but able to read this interpreter wherever it is installed: that is not what is tested.
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)
"""Runs what follows as an ordinary user."""


FAKE_DEVICE = (
    # In a mount namespace of its own; the machine's /dev/fuse stays as it is.
    "/bin/mount -t tmpfs none /mnt && /bin/mknod -m {mode} /mnt/fuse c 10 229 && "
    '/bin/mount --bind /mnt/fuse /dev/fuse && exec "$@"'
)
"""Shell: run the rest with a /dev/fuse of this mode, in a mount namespace of its own."""


@dataclass
class Shell:
    """Runs `fusefs` below `root`, and unmounts what it left mounted.

    Attributes:
        root: an empty folder.
        env: the environment of every command.
    """

    root: Path
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        proxies = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
        self.env = {name: value for name, value in os.environ.items() if name.lower() not in proxies}
        self.env |= {"HOME": str(self.root / "home"), "PYTHONPATH": str(REPOSITORY), "LC_ALL": "C.UTF-8"}
        for name in ("CACHE", "STATE", "RUNTIME", "DATA", "CONFIG"):
            suffix = "DIR" if name == "RUNTIME" else "HOME"
            self.env[f"XDG_{name}_{suffix}"] = str(self.root / name.lower())
            (self.root / name.lower()).mkdir(mode=0o700)

    def __call__(
        self, *args: str | Path, code: int = 0, prefix: tuple[str, ...] = (), timeout: float = 40
    ) -> subprocess.CompletedProcess[str]:
        """Run one command, which must end with `code`."""
        done = subprocess.run(
            [*prefix, sys.executable, "-m", "fusefs", *args],
            env=self.env,
            cwd=self.root,
            timeout=timeout,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == code, f"{args} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    def fails(self, *args: str | Path, code: int = 1, prefix: tuple[str, ...] = ()) -> str:
        """Run a command that must fail with exactly one line on stderr and nothing on stdout; give the line's text."""
        done = self(*args, code=code, prefix=prefix)
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith("fusefs: error: ")
        return done.stderr.removeprefix("fusefs: error: ").removesuffix("\n")

    def folder(self, name: str) -> Path:
        """A new empty folder."""
        path = self.root / name
        path.mkdir()
        return path


@pytest.fixture
def fusefs(tmp_path: Path) -> Iterator[Shell]:
    """The command."""
    yield Shell(tmp_path)
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        if (where := line.split(" ")[4]).startswith(str(tmp_path)):
            subprocess.run(["umount", "--lazy", where], check=False, timeout=10)


@pytest.fixture(scope="session")
def content() -> dict[str, bytes]:
    """The files of the model that `model` serves."""
    return {"config.json": b'{"a": 1}', "sub/weights.bin": os.urandom(300_000), "empty": b""}


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, content: dict[str, bytes]) -> Iterator[str]:
    """The name of a small model that a real `fusefs serve` has."""
    root = tmp_path_factory.mktemp("models")
    for path, data in content.items():
        (root / "tiny" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "tiny" / path).write_bytes(data)
    with fusefs_serve(root, "--chunk-size", "4KiB") as address:
        yield f"http://{address}/local/tiny"


def crash(pid: int) -> None:
    """Kill -9 and wait until the process is gone."""
    fd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        assert wait_end(fd, 10)
    finally:
        os.close(fd)
