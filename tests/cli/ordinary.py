"""An ordinary user: no capability at all, nothing of root's to read, and a /dev/fuse and a fusermount3 like anybody's.

The interpreter and the code may lie where only root may enter, so they are shown to that user by bind mounts, in a
mount namespace of the command's own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from tests.cli.conftest import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

UID = 64321
"""Nobody has it, so nothing on this machine is his."""

_STAGE = """
mount -t tmpfs -o mode=755 none /mnt
mkdir /mnt/code /mnt/packages /mnt/base
mount --bind "$1" /mnt/code; mount --bind "$2" /mnt/packages; mount --bind "$3" /mnt/base
mknod -m 666 /mnt/fuse c 10 229
mount --bind /mnt/fuse /dev/fuse
{ cat /etc/passwd; echo "ordinary:x:$4:$4::/:/bin/sh"; } > /mnt/passwd
mount --bind /mnt/passwd /etc/passwd
shift 3
exec setpriv --reuid="$1" --regid="$1" --clear-groups --inh-caps=-all --bounding-set=+all sh -c "$2"
"""


class Ordinary:
    """Runs shell scripts as that user, below `root`, where `fusefs` is the command.

    Attributes:
        root: a folder of his own that everybody may enter.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, script: str, *, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a script, which must end with `code`."""
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        prologue = f'fusefs() {{ /mnt/base/bin/{version} -m fusefs "$@"; }}\nset -e\ncd {self.root}\n'
        folders = REPOSITORY, Path(trio.__file__).parents[1], sys.base_prefix  # where our packages really lie
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-ec", _STAGE, "sh", *folders, str(UID), prologue + script],
            env={
                "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
                "HOME": str(self.root),
                "XDG_RUNTIME_DIR": str(self.root / "run"),
                "LC_ALL": "C.UTF-8",
                "PYTHONHOME": "/mnt/base",
                "LD_LIBRARY_PATH": "/mnt/base/lib",
                "PYTHONPATH": "/mnt/code:/mnt/packages",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, f"{script}\n{done.stdout}\n{done.stderr}"
        return done


@contextmanager
def ordinary_user() -> Iterator[Ordinary]:
    """The user, with a home, a mount point `mnt` and a folder `run` in it."""
    root = Path(tempfile.mkdtemp(prefix="fusefs-ordinary-"))
    try:
        for path in (root, root / "mnt", root / "run"):
            path.mkdir(mode=0o755, exist_ok=True)
            path.chmod(0o755)
            os.chown(path, UID, UID)
        (root / "run").chmod(0o700)
        yield Ordinary(root)
    finally:
        shutil.rmtree(root)
