"""The command line as a person has it: in an environment of its own, with mounts that end with the test."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.components import FUSEFS
from tests.conftest import fusefs_mounts
from tests.patience import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REPOSITORY = Path(__file__).parents[2]


def is_running(pid: int) -> bool:
    """False when the process has ended, also while it waits for init to take note of that."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def run(
    *command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout: float = 60
) -> str:
    """Run a program that must succeed and return what it wrote to stdout."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env,
        timeout=timeout,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, (
        f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    )
    return done.stdout


def shell(script: str, cwd: Path, timeout: float = 60) -> str:
    """Run a line of shell in a folder, with names sorted by byte."""
    env = {**os.environ, "LC_ALL": "C.UTF-8"}
    return run("bash", "-euo", "pipefail", "-c", script, cwd=cwd, env=env, timeout=timeout)


def ollama_manifests(root: Path) -> dict[tuple[str, ...], dict[str, Any]]:
    """The manifests of an OLLAMA_MODELS directory by path, after a check of all names and of what every blob holds."""
    for blob in (root / "blobs").iterdir():
        assert re.fullmatch("sha256-[0-9a-f]{64}", blob.name)
        assert blob.name == f"sha256-{hashlib.sha256(blob.read_bytes()).hexdigest()}"
    paths = [path for path in (root / "manifests").rglob("*") if not path.is_dir() or not any(path.iterdir())]
    assert paths
    assert all(path.is_file() for path in paths), "no folder is empty"
    return {path.relative_to(root / "manifests").parts: json.loads(path.read_bytes()) for path in paths}


@dataclass
class Mounted:
    """A live mount.

    Attributes:
        path: the mount point.
        cache: the cache directory behind it.
        world: where it was made.
    """

    path: Path
    cache: Path
    world: World

    def status(self) -> dict[str, Any]:
        """What `fusefs status --json` says of this mount."""
        mounts = json.loads(self.world.fusefs("status", self.path, "--json").stdout)["mounts"]
        assert len(mounts) == 1
        status: dict[str, Any] = mounts[0]
        return status

    def counter(self, name: str) -> int:
        """One of the counters."""
        value: int = self.status()["counters"][name]
        return value

    def file(self, path: str) -> dict[str, Any]:
        """What status says of one file."""
        (found,) = [file for file in self.status()["files"] if file["path"] == path]
        assert isinstance(found, dict)
        return found

    def wait_sealed(self, path: str = "") -> None:
        """Wait until a file, or every file, is proved whole: reads may end before the whole blob's hash is compared."""
        eventually(
            "sealed",
            lambda: all(file["state"] == "sealed" for file in self.status()["files"] if path in ("", file["path"])),
        )


class World:
    """Runs `fusefs` with its home, runtime and cache folders under `root`, so that nothing of this machine matters."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._mounts = 0
        runtime = root / "run"
        runtime.mkdir(mode=0o700)
        proxies = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
        self.env = {name: value for name, value in os.environ.items() if name.lower() not in proxies}
        self.env |= {
            "HOME": str(root),
            "XDG_RUNTIME_DIR": str(runtime),
            "XDG_CACHE_HOME": str(root / "xdg-cache"),
            "XDG_STATE_HOME": str(root / "xdg-state"),
            "PYTHONPATH": str(REPOSITORY),
        }

    def fusefs(
        self,
        *args: str | Path,
        code: int | None = 0,
        env: Mapping[str, str] | None = None,
        prefix: tuple[str, ...] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Run one command, by way of the program `prefix`; it must end with `code`, if that is not None."""
        done = subprocess.run(
            [*prefix, *FUSEFS, *args],
            env={**self.env, **(env or {})},
            timeout=60,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert code in (None, done.returncode), (
            f"fusefs {args} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        )
        return done

    @contextmanager
    def mount(
        self,
        *sources: str,
        cache: Path | None = None,
        options: tuple[str | Path, ...] = (),
        env: Mapping[str, str] | None = None,
        logs: str | None = None,
        prefix: tuple[str, ...] = (),
    ) -> Iterator[Mounted]:
        """Mount with the real command, and unmount with it.

        What the daemon logs at WARNING or above fails the test, unless `logs` announces it (a regular expression);
        what is announced must come.
        """
        self._mounts += 1
        mountpoint = self.root / f"mnt{self._mounts}"
        mountpoint.mkdir()
        cache = cache or self.root / f"cache{self._mounts}"
        log = self.root / f"log{self._mounts}"
        self.fusefs(
            "mount", *sources, mountpoint, "--cache-dir", cache, "--log-file", log, *options, env=env, prefix=prefix
        )
        mounted = Mounted(mountpoint, cache, self)
        try:
            pid = mounted.status()["pid"]
            yield mounted
            self.fusefs("umount", mountpoint)
            eventually("the daemon ends", lambda: not is_running(pid))
            assert str(mountpoint) not in fusefs_mounts()
        finally:
            if str(mountpoint) in fusefs_mounts():
                subprocess.run(["fusermount3", "-uz", mountpoint], timeout=20, check=False, capture_output=True)
        lines = log.read_text().splitlines() if log.exists() else []
        alarms = [line for line in lines if re.search(r"\b(WARNING|ERROR|CRITICAL)\b|Traceback", line)]
        unannounced = [line for line in alarms if logs is None or not re.search(logs, line)]
        assert not unannounced, "\n".join(lines[-60:])
        assert bool(alarms) == bool(logs), f"announced, but not logged: {logs}"
