"""Strange disks: file systems that have less than a cache would like, really mounted.

What each of them has none of: bindfs shows whatever mode it is told and ignores or refuses chmod, as SMB and FAT do;
ntfs-3g has no modes unless asked; exFAT has no modes, holes, colons, links or attributes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DISKS = ("bindfs that ignores chmod", "bindfs that refuses chmod", "ntfs-3g", "exfat-fuse")

_IMAGE = 48 << 20


@contextmanager
def disk(kind: str, root: Path, *options: str) -> Iterator[Path]:
    """A mounted file system of this kind below the empty folder `root`, everything in it 0777; gone afterwards.

    `options` are more of the driver's own.
    """
    if os.getuid():
        pytest.skip("needs root to mount a disk")
    where = root / "disk"
    where.mkdir()
    with ExitStack() as stack:
        match kind:
            case "ntfs-3g":
                image = _image(root)
                _run("mkntfs", "-F", "-Q", str(image))
                _run("ntfs-3g", str(image), str(where))
            case "exfat-fuse":
                if not os.path.exists("/dev/loop-control") and "FUSEFS_REQUIRE_MOUNT" not in os.environ:
                    pytest.skip("needs a loop device")
                image = _image(root)
                _run("mkfs.exfat", str(image))
                loop = _run("losetup", "--find", "--show", str(image)).strip()
                stack.callback(_run, "losetup", "--detach", loop)
                _run("mount.exfat-fuse", loop, str(where))
            case _:
                below = root / "below"
                below.mkdir()
                chmod = "--chmod-ignore" if "ignores" in kind else "--chmod-deny"
                _run("bindfs", "-p", "0777", chmod, *options, str(below), str(where))
        stack.callback(_run, "umount", "--lazy", str(where))
        yield where


def _image(root: Path) -> Path:
    image = root / "image"
    with image.open("wb") as file:
        file.truncate(_IMAGE)
    return image


def _run(*command: str) -> str:
    """Run a program that must be there: `scripts/setup` installs all of these."""
    program = shutil.which(command[0], path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert program, f"{command[0]} is not installed; run scripts/setup"
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout
