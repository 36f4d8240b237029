"""A name server that says nothing: real daemons in a network and a mount namespace of their own.

`/etc/resolv.conf` names a server on loopback that takes questions and never answers; `/etc/hosts` knows the registry
until a test takes it away.  The registry restarts then, so that no connection is left and its name has to be asked for.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.components import FUSEFS, Process
from tests.patience import HANGS, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.programs.world import World

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root for namespaces")

TIMEOUT = 2.0

_STAGE = """
ip link set lo up
mount --make-rprivate /
mount --bind "$1/resolv.conf" /etc/resolv.conf
mount --bind "$1/hosts" /etc/hosts
exec "$2" -c "$3"
"""

# Past the page cache: the kernel asks a second time when its read-ahead has failed.
_READ = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
try:
    os.preadv(fd, [mmap.mmap(-1, 4096)], 0)
except OSError as exc:
    print(exc.strerror)
"""

_SILENT = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind(("127.0.0.1", 53))
    print("silent", flush=True)
    while True:
        server.recv(512)
        print("asked", flush=True)
"""


class Stage:
    """A mounted model, whose registry's name nobody knows any more.

    Attributes:
        file: in the mount, seen from outside; nothing of it has been fetched.
        daemon: of the mount, in the foreground.
        server: of names.
    """

    def __init__(self, file: Path, daemon: Process, server: Process) -> None:
        self.file = file
        self.daemon = daemon
        self.server = server

    def read(self) -> subprocess.Popen[str]:
        """Read a byte in another process, which prints what became of it."""
        return subprocess.Popen([sys.executable, "-c", _READ, self.file], stdout=subprocess.PIPE, text=True)


@contextmanager
def staged(world: World, root: Path) -> Iterator[Stage]:
    (root / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:5\n")
    (root / "hosts").write_text("127.0.0.1 localhost registry.test\n")
    (root / "models/tiny").mkdir(parents=True)
    (root / "models/tiny/weights.bin").write_bytes(os.urandom(300_000))
    (root / "mnt").mkdir()
    with ExitStack() as stack:
        script = ("sh", "-ec", _STAGE, "sh", str(root), sys.executable, _SILENT)
        server = stack.enter_context(Process(["unshare", "--mount", "--net", *script]))
        server.wait_for_line("silent")
        inside: list[str | Path] = ["nsenter", f"--target={server.pid}", "--mount", "--net", f"--wd={Path.cwd()}"]
        serve: list[str | Path] = ["serve", root / "models", "--listen", "127.0.0.1:8080", "--host", "registry.test"]
        registry = Process([*inside, *FUSEFS, *serve], env=world.env)
        stack.enter_context(registry)
        registry.wait_for_line("http://127.0.0.1:8080")
        name = "http://registry.test:8080/local/tiny"
        mount: list[str | Path] = [*FUSEFS, "mount", "-f", name, root / "mnt", "--timeout", str(TIMEOUT)]
        daemon = stack.enter_context(Process([*inside, *mount], env=world.env))
        file = Path(f"/proc/{server.pid}/root{root}/mnt/weights.bin")
        eventually("mounted", file.exists)
        (root / "hosts").write_text("127.0.0.1 localhost\n")
        registry.stop()
        yield Stage(file, daemon, server)


@pytest.mark.slow
def test_p6_a_read_ends_in_time_when_no_name_is_resolved(
    world: World, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with staged(world, tmp_path) as stage:
        assert stage.read().communicate(timeout=HANGS)[0] == "Input/output error\n"
        assert "asked\n" in stage.server.output
    record_property("faults.rounds", 1)
    record_property("faults.injected", 1)


def test_p11_sigterm_ends_the_daemon_while_a_name_is_not_resolved(
    world: World, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with staged(world, tmp_path) as stage:
        reader = stage.read()
        stage.server.wait_for_line("asked")
        assert stage.daemon.stop(signum=signal.SIGTERM, timeout=HANGS) == 0
        assert reader.communicate(timeout=HANGS)[0]
    record_property("faults.rounds", 1)
    record_property("faults.injected", 1)
