"""Which mount is at a path: real mounts, for the kernel gives the numbers."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from fusefs.fuse.identity import Identity, identity
from fusefs.fuse.mountpoint import mounted_at
from fusefs.fuse.wire.attach import detach

if TYPE_CHECKING:
    from pathlib import Path


def test_p11_a_mount_that_has_its_predecessors_number_is_left_alone(tmp_path: Path) -> None:
    """Two by turns until the kernel gives a number again, which it does at once unless others mount meanwhile."""
    assert identity(tmp_path) is None
    seen: set[Identity] = set()
    try:
        for _ in range(50):
            subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], check=True)
            made = identity(tmp_path)
            assert made is not None
            for older in seen:
                detach(tmp_path, older)
                assert mounted_at(tmp_path) is not None
            if made.minor in {older.minor for older in seen}:
                break
            seen.add(made)
            subprocess.run(["umount", tmp_path], check=True)
        else:
            raise AssertionError("no number was given twice")
        detach(tmp_path, made)
        assert mounted_at(tmp_path) is None
    finally:
        subprocess.run(["umount", "-q", tmp_path], check=False)
